"""A crash of the child that converts or first opens a file is raised as an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import MissingExtra, ModelInputError, ModelLoadError, OptimizeError
from conduit_lab.runtime.rewriting import child
from conduit_lab.runtime.sessions.session import Options, Session
from tests.runtime import graphs
from tests.runtime.checks.test_optimizers import product

WEIGHT = np.random.default_rng(0).standard_normal((32, 32), np.float32)
X = {"input": np.ones((1, 32), np.float32)}

Hook = Callable[[str], None]


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hook:
    """Return a function that makes each child run code at its start."""
    folder = tmp_path / "hooks"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(code: str) -> None:
        (folder / "sitecustomize.py").write_text(textwrap.dedent(code))

    return write


def dies(place: str, by: str = "SIGSEGV") -> str:
    """Return code that makes a call of `place` kill the process."""
    module, name = place.rsplit(":", 1)
    return f"""
        import os, signal
        import {module} as module
        module.{name} = lambda *_, **__: os.kill(os.getpid(), signal.{by})
    """


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return graphs.linear(tmp_path / "models" / "a.onnx", WEIGHT)


def convert(source: Path, kind: str = "fp16", **rest: Any) -> Path:
    target = source.with_name("made.onnx")
    child.convert_in_child(
        source,
        target,
        kind,
        rest.get("options", Options()),
        rest.get("scales"),
        rest.get("sample", X),
    )
    return target


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_converted_in_the_child(source: Path) -> None:
    made = Session(convert(source, "int8", scales=[X, X]))
    np.testing.assert_allclose(made.run(X)[0], Session(source).run(X)[0], atol=0.5)
    assert names(source.parent) == ["a.onnx", "made.onnx"]


def test_text_and_numbers_reach_the_child(tmp_path: Path) -> None:
    path = graphs.save(
        tmp_path / "a.onnx",
        [
            graphs.node("Identity", ["text"], ["same"]),
            graphs.node("MatMul", ["x", "W"], ["output"]),
        ],
        [graphs.value("text", ["n"], "str"), graphs.value("x", ["n", 32])],
        [graphs.value("same", ["n"], "str"), graphs.value("output", ["n", 32])],
        [graphs.constant("W", WEIGHT)],
    )
    convert(path, sample={"text": np.array(["ä", ""], object), "x": np.ones((2, 32), np.float32)})


@pytest.mark.parametrize(
    ("place", "by", "words"),
    [
        (
            "conduit_lab.runtime.rewriting.quantize:_converted",
            "SIGSEGV",
            r"in which it was converted \(SIGSEGV\)",
        ),
        (
            "conduit_lab.runtime.rewriting.child:Session",
            "SIGABRT",
            r"in which it was opened \(SIGABRT\)",
        ),
        (
            "conduit_lab.runtime.sessions.session:Session.run",
            "SIGKILL",
            r"in which it was run \(SIGKILL, .* memory runs out\)",
        ),
    ],
)
def test_a_killed_child_is_an_error_with_the_signal(
    source: Path, hook: Hook, place: str, by: str, words: str
) -> None:
    hook(dies(place, by))
    with pytest.raises(
        OptimizeError, match=rf"a\.onnx cannot be converted to fp16: it ended the process .*{words}"
    ):
        convert(source)
    assert names(source.parent) == ["a.onnx"]


def test_a_crash_of_onnxruntime_ends_only_the_child(tmp_path: Path, hook: Hook) -> None:
    hook("from conduit_lab.runtime.checks import optimizers; optimizers.unsafe = lambda model: ()")
    path = product(tmp_path / "half.onnx", [(1, 0, 2)])
    with pytest.raises(
        ModelLoadError, match=r"half\.onnx cannot be loaded: it ended the process .*SIGSEGV"
    ):
        child.try_opening(path, Options())
    assert Session(path).run({"x": np.ones((4, 4, 4), np.float16)})[0].shape == (4, 4, 4)


def test_an_error_of_the_child_is_raised(source: Path) -> None:
    with pytest.raises(ModelInputError, match="the graph refused its input"):
        convert(source, sample={"input": np.ones((1, 5), np.float32)})
    assert names(source.parent) == ["a.onnx"]


def test_a_missing_package_of_the_child_is_named(source: Path, hook: Hook) -> None:
    hook("import sys; sys.modules['onnxruntime.quantization.matmul_nbits_quantizer'] = None")
    with pytest.raises(
        MissingExtra, match=r"int4 needs onnx_ir, which is not installed: pip install"
    ):
        convert(source, "int4")


def test_a_foreign_error_of_the_child_is_reported(source: Path, hook: Hook) -> None:
    hook(
        """
        import conduit_lab.runtime.rewriting.child as module
        def fails(*_): raise ZeroDivisionError("no way")
        module.Session = fails
        """
    )
    with pytest.raises(
        OptimizeError, match=r"it failed when it was opened \(ZeroDivisionError: no way\)"
    ):
        convert(source)


def test_a_refused_file_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no model")
    child.try_opening(tmp_path / "a.onnx", Options())


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
def test_an_interrupt_ends_the_child_too(source: Path, hook: Hook, tmp_path: Path) -> None:
    hook(
        f"""
        import os, sys, time
        from pathlib import Path
        if any("child import run_request" in argument for argument in sys.orig_argv):
            Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
            time.sleep(60)
        """
    )
    code = f"""
        from pathlib import Path
        from conduit_lab.runtime.rewriting import child
        from conduit_lab.runtime.sessions.session import Options
        child.try_opening(Path({str(source)!r}), Options())
    """
    asking = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        pid = tmp_path / "pid"
        while not (pid.exists() and pid.read_text()):
            assert asking.poll() is None
        asking.send_signal(signal.SIGINT)  # only to the parent, as Jupyter may do
        assert asking.wait(30) != 0
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)
    finally:
        asking.kill()
        asking.wait()


def test_an_interrupt_ends_the_child_and_leaves_no_file(
    source: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook(
        """
        import sys, tempfile, time
        if any("run_request" in argument for argument in sys.orig_argv):
            tempfile.mkdtemp()
            time.sleep(600)
        """
    )
    started: list[subprocess.Popen[bytes]] = []

    def interrupted(process: subprocess.Popen[bytes], *_: Any) -> Any:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(source)
    assert started[0].returncode == -signal.SIGKILL
    assert list(source.parent.iterdir()) == [source]
