"""Model servers with worker processes, measured by `benchmarks/serving.py`: `NAME PORT FOLDER`.

LitServe and BentoML with onnxruntime, used as documented, with one server process and one worker.
They listen only on 127.0.0.1. `FOLDER` holds the model.
"""

# The checks run without the peers.
# mypy: ignore-errors
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

# environment variables, for the workers, which import this module again
NAME, FOLDER = "SERVING_NAME", "SERVING_FOLDER"
if __name__ == "__main__":
    os.environ[NAME], os.environ[FOLDER] = sys.argv[1], sys.argv[3]


def session() -> Any:
    """Return the model, with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(Path(os.environ[FOLDER]) / "mlp.onnx"), options, providers=["CPUExecutionProvider"]
    )


if os.environ.get(NAME) == "litserve":
    import litserve
    from fastapi import Request

    class Mlp(litserve.LitAPI):
        """The API that LitServe's worker runs."""

        def setup(self, device: Any) -> None:
            """Open the model."""
            self.session = session()

        def decode_request(self, request: Request) -> Any:
            """Return the input of a request."""
            return np.array([request["features"]], np.float32)

        def predict(self, x: Any) -> Any:
            """Return the output of the model."""
            return self.session.run(None, {"input": x})[0]

        def encode_response(self, output: Any) -> Any:
            """Return the answer."""
            return output[0].tolist()


elif os.environ.get(NAME) == "bentoml":
    import bentoml

    @bentoml.service(workers=1, logging={"access": {"enabled": False}})
    class Mlp:
        """The service that BentoML's worker runs."""

        def __init__(self) -> None:
            self.session = session()

        @bentoml.api
        def predict(self, features: list[float]) -> list[float]:
            """Return the answer to one sample."""
            array = np.array([features], np.float32)
            return self.session.run(None, {"input": array})[0][0].tolist()


def main(name: str, port: int) -> None:
    """Serve POST /predict until the process is ended."""
    if name == "litserve":
        server = litserve.LitServer(Mlp(), accelerator="cpu")
        server.run(
            host="127.0.0.1",
            port=port,
            num_api_servers=1,
            log_level="warning",
            generate_client_file=False,
        )
        return
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    here = Path(__file__)
    command = [sys.executable, "-m", "bentoml", "serve", f"{here.stem}:Mlp", "--quiet"]
    command += ["--working-dir", str(here.parent), "--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, command)  # in place of this process


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
