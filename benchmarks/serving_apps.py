"""The servers measured by `benchmarks/serving.py`, each in a process: `NAME PORT FOLDER`.

Our server, a constant as a raw ASGI app and as a Starlette route, and FastAPI with onnxruntime,
both used as documented. `FOLDER` holds the models.
"""

# The checks run without the peers.
# mypy: ignore-errors
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from numpy.typing import NDArray

MODELS = ("mlp.onnx", "mlp.npz")
WIDTH = 64
RAW = "application/octet-stream"
NUMPY = "application/x-npy"


def ours(folder: Path) -> Any:
    """Serve both models, with `ml_endpoint` and with handlers, and a constant."""
    from conduit_lab import App

    app = App("serving", root=folder)
    for name in MODELS:
        kind = name.partition(".")[2]
        model = app.load_model(name)
        app.ml_endpoint(f"/{kind}/endpoint", model=model)(_same)
        app.ml_endpoint(f"/{kind}/typed", model=model)(_array)
        app.post(f"/{kind}/async")(_awaiting(model))
        app.post(f"/{kind}/sync")(_calling(model))

    async def constant() -> Any:
        return {"constant": 1}

    def sync_constant() -> Any:
        return {"constant": 1}

    app.get("/constant")(constant)
    app.get("/sync-constant")(sync_constant)
    return app


def _same(body: Any) -> Any:
    return body


def _array(features: NDArray[np.float32]) -> Any:
    return features


def _awaiting(model: Any) -> Any:
    async def awaiting(body: Any) -> Any:
        return await model.acall(body)

    return awaiting


def _calling(model: Any) -> Any:
    def calling(body: Any) -> Any:
        return model.predict(body)

    return calling


def starlette(folder: Path) -> Any:
    """Answer a constant from a Starlette route; the body is read but not parsed."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def constant(request: Any) -> Any:
        await request.body()
        return JSONResponse({"constant": 1})

    return Starlette(routes=[Route("/constant", constant, methods=["GET", "POST"])])


def raw(folder: Path) -> Any:
    """Answer a constant, or raw float32 with onnxruntime at `/onnx`, from a raw ASGI app."""
    constant = json.dumps({"constant": 1}).encode()
    session = _session(folder)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for answer in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{answer}.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        kind, answer = b"application/json", constant
        if scope["path"] == "/onnx":
            kind, rows = RAW.encode(), np.frombuffer(body, np.float32).reshape(-1, WIDTH)
            answer = session.run(None, {"input": rows})[0].tobytes()
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def _session(folder: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # its threads would spin, at twice the cost
    return onnxruntime.InferenceSession(
        str(folder / "mlp.onnx"), options, providers=["CPUExecutionProvider"]
    )


def fastapi(folder: Path) -> Any:
    """Serve an onnxruntime session with FastAPI, with an async and a sync handler."""
    from fastapi import FastAPI, Request

    app = FastAPI()
    session = _session(folder)

    def predict(array: np.ndarray) -> list[Any]:
        return session.run(None, {"input": array})[0].tolist()

    @app.post("/async")
    async def awaited(features: list[float]) -> Any:
        return predict(np.array([features], np.float32))[0]

    @app.post("/sync")
    def called(features: list[float]) -> Any:
        return predict(np.array([features], np.float32))[0]

    @app.post("/batch")
    async def batch(features: list[list[float]]) -> Any:
        return predict(np.array(features, np.float32))

    @app.post("/raw")
    async def raw_batch(request: Request) -> Any:
        body = await request.body()
        return predict(np.frombuffer(body, np.float32).reshape(-1, WIDTH))

    return app


def main(name: str, port: str, folder: str) -> None:
    """Serve one of them on a port until the process is terminated."""
    app = globals()[name](Path(folder))
    options: Any = {"http": "httptools"}
    if name == "ours":  # as `conduit-lab serve` does
        from conduit_lab.serving.gate.http_protocol import BoundedHttp
        from conduit_lab.serving.life import ALONE_VARIABLE

        os.environ[ALONE_VARIABLE] = "1"
        options = {"http": BoundedHttp}
    options |= {"port": int(port), "log_level": "warning", "access_log": False, "loop": "uvloop"}
    uvicorn.run(app, lifespan="on", ws="none", **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
