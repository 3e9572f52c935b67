"""Modules loaded by an app: each part of the package on first use, not earlier.

Times are measured in `benchmarks/imports.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# loaded where a served app needs them
SERVED = ("starlette", "uvicorn", "http.client", "email", "python_multipart")
TYPED = ("pydantic", "pydantic_core", "typing_extensions")
MODELS = ("onnxruntime", "onnx", "tokenizers", "jinja2", "safetensors")
STORES = ("sqlite3", "numkong", "conduit_lab.vectors.store")
SHOWN = ("IPython", "ipywidgets", "anywidget", "pandas")
ROOMS = ("conduit_lab.client", "conduit_lab.export.writer")
OTHERS = ("httpx", "statistics", "importlib.metadata", "multiprocessing")
LATER = (*SERVED, *TYPED, *MODELS, *STORES, *SHOWN, *ROOMS, *OTHERS)

UNTYPED = """
import asyncio
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from conduit_lab import App, ArrayShape
from tests.serving.asgi import ask

app = App("untyped", root=".")

@app.post("/double")
def double(body):
    return {"doubled": [2 * n for n in body["values"]]}

@app.post("/sum")
def total(rows: Annotated[npt.NDArray[np.float32], ArrayShape("n", 2)], scale=1):
    return rows.sum(0) * scale

@app.get("/echo")
def echo(text):
    return text

def answer(*args, **options):
    start, body = asyncio.run(ask(app, *args, **options))
    return start["status"], body["body"]

assert answer("/double", b'{"values": [1, 2]}') == (200, b'{"doubled":[2,4]}')
assert answer("/sum", b'{"rows": [[1, 2], [3, 4]], "scale": 2}') == (200, b"[8.0,12.0]")
assert answer("/echo", method="GET", query=b"text=hello") == (200, b'"hello"')
assert answer("/sum", b'{"rows": "text"}')[0] == 400
assert double({"values": [3]}) == {"doubled": [6]}
"""


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Return which of the modules are loaded after the code has run in a fresh process."""
    program = f"import sys\n{code}\nprint(*(n for n in {names!r} if n in sys.modules))"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", ["App", "Lab"])
def test_an_app_loads_what_it_serves_when_it_serves_it(name: str) -> None:
    code = f"from conduit_lab import {name}; {name}('a', root='.')"
    assert loaded(code, LATER) == []


def test_an_app_shows_nothing_until_it_is_shown() -> None:
    shown = ("conduit_lab.core.views.view", "conduit_lab.core.views.pieces", "html.entities")
    code = "from conduit_lab import App; app = App('a', root='.')"
    assert loaded(code, shown) == []
    assert loaded(f"{code}; repr(app)", shown) == list(shown)


def test_untyped_endpoints_answer_without_pydantic() -> None:
    assert loaded(UNTYPED, ("pydantic", "pydantic_core", "onnxruntime", *STORES[1:])) == []


def test_a_typed_parameter_loads_pydantic() -> None:
    typed = "from conduit_lab import App\napp = App('a', root='.')\n"
    typed += "@app.post('/f')\ndef f(text: str): return text"
    assert loaded(typed, ("pydantic", "starlette.routing")) == ["pydantic"]


def test_lab_loads_uvicorn_to_serve_and_the_export_to_export() -> None:
    late = ("uvicorn", "conduit_lab.export.writer")
    code = "from conduit_lab import Lab\nlab = Lab('a', root='.')\n"
    assert loaded(f"{code}lab.serve(port=0).stop()", late) == ["uvicorn"]
