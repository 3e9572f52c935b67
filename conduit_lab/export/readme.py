"""The README of an exported folder: how to run, test, deploy and call the app."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata

from conduit_lab.export.assets import LARGE_STORE_ENTRIES
from conduit_lab.export.deployment.container import STRIP
from conduit_lab.export.deployment.deployment import Deployment
from conduit_lab.export.requirements import CODES
from conduit_lab.export.templates import harmless_line
from conduit_lab.serving.app import App
from conduit_lab.serving.recorded import Example
from conduit_lab.serving.tool import MCP_PATH, TOOL_METHOD

_MAX_SHOWN_BODY_CHARACTERS = 300


def readme(app: App, examples: Sequence[Example], deployment: Deployment) -> str:
    """Return the text of `README.md`, whose commands are to be run in the folder."""
    name = deployment.label
    stores = _STORES if deployment.stores else ""
    stores += _growing() if deployment.stores and not deployment.codes else ""
    codes = _CODES if deployment.codes else ""
    gpu = deployment.onnxruntime
    gpus = "" if gpu is None else _GPU.format(name=name, version=gpu)
    remote = _REMOTE.format(names=", ".join(deployment.remote)) if deployment.remote else ""
    return f"""# {harmless_line(app.name)}

Exported by conduit_lab. It needs Python {deployment.python} or newer; in this folder, run:

```sh
python3 -m venv .venv
.venv/bin/pip install --no-deps --requirement requirements.txt
.venv/bin/conduit-lab serve . --port 8000
```
{codes}
It listens on 127.0.0.1; `.venv/bin/uvicorn app:app` works too. To accept other machines
(`--host 0.0.0.0`), it needs a key: `.venv/bin/conduit-lab key NAME` creates one and prints the line
to add to the environment.

## Test

`.venv/bin/conduit-lab check .` starts it in a fresh process and compares its answers with those
in `examples.jsonl`. After `.venv/bin/pip install pytest`, `.venv/bin/python -m pytest` does the
same. `proof.svg` shows the proof, if the export had one.

## Deploy

`.venv/bin/conduit-lab lock .` adds the hashes of all packages to `requirements.txt`, from the index
that pip is configured to use; from then on pip installs nothing else, here and in the image.

Write the line that `.venv/bin/conduit-lab key NAME` prints into a file `.env`, without its quotes;
images never contain that file.

A container, alone or behind a proxy that limits slow clients and connections per client:

```sh
docker build --tag {name} .
docker run --rm --publish 127.0.0.1:8000:8000 --env-file .env {name}
docker compose up --build
```

Kubernetes, once its nodes can pull the image:

```sh
kubectl create secret generic {name} --from-env-file .env
kubectl apply --filename k8s.yaml
```

Ray Serve, after `.venv/bin/pip install "ray[serve]"`:

```sh
.venv/bin/serve run serve.yaml
```

{remote}{gpus}{stores}## Requests

{_requests(examples)}
"""


_GPU = """For NVIDIA GPUs, add one argument each:

```sh
docker build --build-arg RUNTIME=gpu --tag {name} .  # then: docker run --gpus all, as above
GPU=1 docker compose up --build
kubectl set resources deployment {name} --limits nvidia.com/gpu=1  # with that image
```

For Ray Serve, set `gpus: 1` in `serve.yaml`, run `.venv/bin/pip uninstall onnxruntime`, then
`.venv/bin/pip install "onnxruntime-gpu[cuda,cudnn]=={version}"`.

"""

_CODES = f"""
Searches use numkong, whose debug symbols take 41 MB. To remove them, as the Dockerfile does:
`{STRIP.format(environment=".venv")}`.
"""

_GROWING = """If a store grows beyond {entries:,} entries, add the line
`{pin}` to `requirements.txt`: a search of 50,000 then takes a quarter of the time, with the same
results.

"""

_BODY = (
    "sed -n {line}p examples.jsonl | .venv/bin/python -c "
    "'import json, sys; print(json.dumps(json.load(sys.stdin)[\"payload\"]))' \\\n  | "
)

_REMOTE = """Models with `remote=True` have replicas of their own, set in `serve.yaml`: {names}.

"""

_STORES = """Each replica has its own copy of the stores in `indexes/`: other
replicas do not see its writes. Keep a store with several writers on a server:
`vector_store(…, url=…)`.

"""


def _growing() -> str:
    """Return the paragraph about stores that become large; "" if numkong is not installed."""
    try:
        pin = f"{CODES}=={metadata.version(CODES)}"
    except metadata.PackageNotFoundError:
        return ""
    return _GROWING.format(entries=LARGE_STORE_ENTRIES, pin=pin)


def _requests(examples: Sequence[Example]) -> str:
    """Return a request for each endpoint: its last example, a line of `examples.jsonl`."""
    last = {(each.method, each.path): (line, each) for line, each in enumerate(examples, 1)}
    shown = [_curl(line, each) for line, each in last.values() if each.method != TOOL_METHOD]
    requests = "\n\n".join(f"```sh\n{curl}\n```" for curl in shown)
    if tools := [each.path for _, each in last.values() if each.method == TOOL_METHOD]:
        requests += (
            f"\n\nAgents call {', '.join(map(harmless_line, tools))} over MCP, at `{MCP_PATH}`."
        )
    return requests


def _curl(line: int, example: Example) -> str:
    url = f"'http://127.0.0.1:8000{example.target}'"
    if example.method == "GET":
        return f"curl {url}"
    body = json.dumps(example.payload, ensure_ascii=False).replace("'", "'\\''")
    before, data = "", f"-d '{body}'"
    if len(body) > _MAX_SHOWN_BODY_CHARACTERS:
        before, data = _BODY.format(line=line), "-d @-"
    flag = "-N " if example.shape == "stream" else ""
    return f"{before}curl {flag}{url} -H 'content-type: application/json' {data}"
