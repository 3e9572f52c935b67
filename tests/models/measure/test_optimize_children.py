"""optimize in child processes, as for users: a crash of onnxruntime is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab.core.errors import OptimizeError
from conduit_lab.models.measure import optimize as module
from conduit_lab.models.measure.optimize import optimize
from conduit_lab.models.model import Model
from conduit_lab.runtime.measuring.timing import Turns
from tests.models.measure.test_optimize import WIDE, draw, names
from tests.runtime import graphs


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Fake the ratio of the new time to the old: the list's only item."""
    share = [0.5]
    monkeypatch.setattr(
        module, "in_turn", lambda before, after: Turns(1e-3, share[0] * 1e-3, share[0])
    )
    return share


def turned(path: Path) -> Path:
    """Write a graph that crashes onnxruntime in float16 with all optimizers."""
    return graphs.save(
        path,
        [
            graphs.node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            graphs.node("MatMul", ["t", "W"], ["m"]),
            graphs.node("Transpose", ["m"], ["y"], perm=[1, 0, 2]),
        ],
        [graphs.value("x", ["batch", 5, WIDE])],
        [graphs.value("y", ["batch", 5, WIDE])],
        [graphs.constant("W", draw(WIDE, WIDE))],
    )


def test_a_graph_that_would_be_fatal_in_float16_is_made_float16(tmp_path: Path) -> None:
    got = optimize(turned(tmp_path / "a.onnx"), "fp16", samples=draw(2, 5, WIDE))
    assert got.difference.relative < 0.01
    assert names(tmp_path) == ["a.onnx", "a_fp16.onnx"]


def test_a_conversion_that_ends_its_process_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hooks").mkdir()
    hook = "from conduit_lab.runtime.checks import optimizers; optimizers.unsafe = lambda model: ()"
    (tmp_path / "hooks" / "sitecustomize.py").write_text(hook)
    monkeypatch.syspath_prepend(tmp_path / "hooks")
    (tmp_path / "models").mkdir()
    source = turned(tmp_path / "models" / "a.onnx")
    with pytest.raises(
        OptimizeError, match=r"a\.onnx cannot be converted to fp16: it ended the process .*SIGSEGV"
    ):
        optimize(Model(source).open(), "fp16", samples=draw(2, 5, WIDE))
    assert names(tmp_path / "models") == ["a.onnx"]
