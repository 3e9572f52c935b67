"""The facts of ONNX graphs in an export, and onnx omitted unless something else needs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path, PurePath

import numpy as np
import pytest

from conduit_lab.export.requirements import requirements
from conduit_lab.runtime.checks.graph_reader import RECORD
from tests.export.session import Session
from tests.runtime import graphs

WEIGHT = np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32)
CELLS = (
    "import numpy as np",
    "model = lab.load_model('models/linear.onnx')",
    """
    @lab.post('/run')
    def run(x: list[float]):
        return model(np.array(x, np.float32)).tolist()
    """,
)
CALL = "run([1, 2, 3, 4])"
# in a process of the exported folder without onnx, where many calls come at once
CALLS_AT_ONCE = """
import asyncio, json, sys
sys.modules["onnx"] = None
import app, numpy as np
app.app.open_resources()
rows = np.random.default_rng(1).standard_normal((20, 4)).astype(np.float32)

async def all_rows():
    return await asyncio.gather(*(app.model.acall(row) for row in rows))

for _ in range(12):
    answers = asyncio.run(all_rows())
before = app.model.shared.calls
answers = asyncio.run(all_rows())
print(json.dumps({"runs": app.model.shared.calls - before, "answers": np.array(answers).tolist()}))
"""


@pytest.fixture
def project(session: Session) -> Session:
    graphs.linear(session.root / "models" / "linear.onnx", WEIGHT)
    return session


def pins(folder: Path) -> set[str]:
    lines = (folder / "requirements.txt").read_text("utf-8").splitlines()
    return {line.partition("==")[0] for line in lines if "==" in line}


def test_an_app_with_a_graph_is_proved_without_onnx(project: Session) -> None:
    folder = project.run(*CELLS, CALL).export(replay=True).folder
    assert {"onnxruntime", "protobuf"} <= pins(folder)
    assert not {"onnx", "ml-dtypes"} & pins(folder)
    done = subprocess.run(
        [sys.executable, "-c", CALLS_AT_ONCE],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(next((folder / "lib").glob("*.whl")))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not done.returncode, done.stderr
    told = json.loads(done.stdout)
    rows = np.random.default_rng(1).standard_normal((20, 4)).astype(np.float32)
    assert told["runs"] == 1  # its rows are known to be independent
    np.testing.assert_allclose(told["answers"], rows @ WEIGHT, rtol=1e-5)


def test_the_rows_of_a_model_that_is_loaded_in_each_call_are_recorded(project: Session) -> None:
    cell = """
    @lab.post('/run')
    def run(x: list[float]):
        return lab.load_model('models/linear.onnx')(np.array(x, np.float32)).tolist()
    """
    folder = project.run(CELLS[0], cell, CALL).export().folder
    facts = next(iter(json.loads((folder / RECORD).read_text("utf-8"))["graphs"].values()))
    assert any(name.startswith("rows ") for name in facts)


def test_an_app_that_reads_a_graph_itself_keeps_onnx(project: Session) -> None:
    cell = """
    @lab.post('/opset')
    def opset(x: int):
        return x + __import__('onnx').defs.onnx_opset_version()
    """
    folder = project.run(*CELLS, CALL, cell, "opset(1)").export(replay=True).folder
    assert {"onnx", "ml-dtypes"} <= pins(folder)


@pytest.mark.long
def test_an_app_that_prefers_onnx_and_does_without_keeps_it(project: Session) -> None:
    cell = """
    @lab.post('/has')
    def has(x: int):
        try:
            __import__('onnx')
        except ImportError:
            return x
        return x
    """
    folder = project.run(*CELLS, CALL, cell, "has(1)").export(replay=True).folder
    assert "onnx" in pins(folder)


def test_an_export_without_a_proof_keeps_onnx(project: Session) -> None:
    folder = project.run(*CELLS, CALL).export().folder
    assert {"onnx", "onnxruntime"} <= pins(folder)
    assert json.loads((folder / RECORD).read_text("utf-8"))["graphs"]


def test_an_app_without_a_graph_has_no_record(session: Session) -> None:
    folder = session.run("@lab.post('/a')\ndef a(n: int):\n    return n", "a(1)").export().folder
    assert not (folder / RECORD).exists()
    assert not {"onnx", "onnxruntime"} & pins(folder)


@pytest.mark.parametrize(
    ("names", "limit"), [(["model.onnx", "tokenizer.json"], 200e6), ([], 110e6)]
)
def test_the_required_packages_are_small(names: list[str], limit: float) -> None:
    text = requirements("w.whl", (), [PurePath(name) for name in names], reads_graphs=False)
    pinned = [line.partition("==")[0] for line in text.splitlines() if "==" in line]
    assert sum(map(_installed_bytes, pinned)) < limit


def _installed_bytes(name: str) -> int:
    """Return the bytes of an installed distribution, without the files that Python compiles."""
    files = (Path(str(file.locate())) for file in metadata.files(name) or ())
    return sum(each.stat().st_size for each in files if each.suffix != ".pyc" and each.is_file())


def test_weights_of_a_safetensors_file_have_their_types() -> None:
    text = requirements("w.whl", (), [PurePath("models/2_Dense/model.safetensors")])
    assert {"safetensors", "ml-dtypes"} <= {line.partition("==")[0] for line in text.split("\n")}
