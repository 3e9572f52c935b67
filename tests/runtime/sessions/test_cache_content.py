"""A session holds the bytes that its key names, even if the files change."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from conduit_lab.core.errors import ModelLoadError, ModelRunError
from conduit_lab.runtime.sessions import npz
from conduit_lab.runtime.sessions.cache import SessionCache, Shared, sessions
from conduit_lab.runtime.sessions.session import Options, Session
from tests.runtime import graphs
from tests.runtime.fake_device import plug_in

X = {"input": np.ones((1, 3), np.float32)}


@pytest.fixture
def cache() -> SessionCache:
    return SessionCache(2**30)


def plain(path: Path, value: float) -> Path:
    path.parent.mkdir(exist_ok=True)
    return graphs.linear(path, np.full((3, 2), value))


def dense(path: Path, value: float) -> Path:
    path = path.with_suffix(".npz")
    path.parent.mkdir(exist_ok=True)
    np.savez(path, W0=np.full((3, 2), value, np.float32))
    return path


def external(path: Path, value: float) -> Path:
    """Write a model whose bytes are the same for every value: the weights lie beside it."""
    path.parent.mkdir(exist_ok=True)
    (path.parent / "weights.bin").write_bytes(np.full((3, 2), value, np.float32).tobytes())
    return graphs.with_external_data(path, "weights.bin")


Make = Callable[[Path, float], Path]
kinds = pytest.mark.parametrize("make", [plain, dense, external])


def answer(shared: Shared) -> float:
    return float(shared.run(X)[0][0, 0]) / 3


def twins(cache: SessionCache, folder: Path, make: Make) -> Shared:
    """Return the session that two files share."""
    first, second = (cache.open(make(folder / name / "m.onnx", 2)) for name in "ab")
    assert first is second
    return first


# Files with the same content


@kinds
@pytest.mark.parametrize("first", [True, False])
def test_a_session_survives_the_replacement_of_one_of_two_files(
    cache: SessionCache, tmp_path: Path, make: Make, first: bool
) -> None:
    shared = twins(cache, tmp_path, make)
    make(tmp_path / ("a" if first else "b") / "m.onnx", 5)
    shared.close()
    assert answer(shared) == 2
    assert answer(cache.open(shared.path)) == 2


@kinds
@pytest.mark.parametrize("first", [True, False])
def test_a_session_survives_the_deletion_of_one_of_two_files(
    cache: SessionCache, tmp_path: Path, make: Make, first: bool
) -> None:
    shared = twins(cache, tmp_path, make)
    shutil.rmtree(tmp_path / ("a" if first else "b"))
    shared.close()
    assert answer(shared) == 2


def test_the_path_is_the_last_opened_file(cache: SessionCache, tmp_path: Path) -> None:
    first = plain(tmp_path / "a.onnx", 2)
    shared = cache.open(first)
    second = plain(tmp_path / "b.onnx", 2)
    plain(first, 5)
    assert cache.open(second) is shared
    assert shared.path == second


def test_the_most_recently_used_file_is_opened_again(cache: SessionCache, tmp_path: Path) -> None:
    first, second = (plain(tmp_path / f"{name}.onnx", 2) for name in "ab")
    for path in (first, second, first):
        shared = cache.open(path)
    shared.close()
    shared.run(X)
    assert shared.path == first


@kinds
def test_a_restored_file_is_opened_again(cache: SessionCache, tmp_path: Path, make: Make) -> None:
    path = make(tmp_path / "m.onnx", 2)
    shared = cache.open(path)
    shared.close()
    make(path, 5)
    with pytest.raises(ModelLoadError):
        shared.run(X)
    make(path, 2)
    assert answer(shared) == 2


# Changes to one file


@kinds
def test_a_replaced_file_is_refused_and_opens_as_another_session(
    cache: SessionCache, tmp_path: Path, make: Make
) -> None:
    path = make(tmp_path / "m.onnx", 2)
    shared = cache.open(path)
    shared.close()
    make(path, 5)
    with pytest.raises(
        ModelLoadError, match=rf"{path.name} has become another model .*load_model\("
    ):
        shared.run(X)
    assert answer(cache.open(path)) == 5


@kinds
def test_a_change_that_keeps_size_and_time_is_refused(
    cache: SessionCache, tmp_path: Path, make: Make
) -> None:
    path = make(tmp_path / "m.onnx", 2)
    shared = cache.open(path)
    shared.close()
    times = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    make(path, 5)
    for file, time in times.items():
        os.utime(file, ns=(time, time))
    with pytest.raises(ModelLoadError, match="has become another model"):
        shared.run(X)


@kinds
def test_a_missing_file_is_named(cache: SessionCache, tmp_path: Path, make: Make) -> None:
    path = make(tmp_path / "m.onnx", 2)
    shared = cache.open(path)
    shared.close()
    path.unlink()
    with pytest.raises(ModelLoadError, match=rf"{path.name} is gone since it was loaded"):
        shared.run(X)


@kinds
def test_a_truncated_file_is_refused(cache: SessionCache, tmp_path: Path, make: Make) -> None:
    path = make(tmp_path / "m.onnx", 2)
    shared = cache.open(path)
    shared.close()
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ModelLoadError, match="has become another model"):
        shared.run(X)


def test_missing_external_data_is_refused(cache: SessionCache, tmp_path: Path) -> None:
    shared = cache.open(external(tmp_path / "m.onnx", 2))
    shared.close()
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelLoadError, match="has become another model"):
        shared.run(X)


def test_a_link_with_a_new_target_is_refused(cache: SessionCache, tmp_path: Path) -> None:
    link = tmp_path / "link.onnx"
    link.symlink_to(plain(tmp_path / "two.onnx", 2))
    shared = cache.open(link)
    link.unlink()
    link.symlink_to(plain(tmp_path / "five.onnx", 5))
    shared.close()
    with pytest.raises(ModelLoadError, match=r"link\.onnx has become another model"):
        shared.run(X)
    assert answer(cache.open(link)) == 5


@kinds
@pytest.mark.parametrize("times", [1, 2])
def test_a_file_replaced_while_it_is_opened_has_the_key_of_the_opened_content(
    cache: SessionCache, tmp_path: Path, make: Make, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "m.onnx", 2)
    values = iter([5.0, 7.0][:times])

    def replacing(open_it: Callable[..., Any]) -> Callable[..., Any]:
        def opened(*given: Any) -> Any:
            for value in values:
                make(path, value)
                break
            return open_it(*given)

        return opened

    monkeypatch.setattr(Session, "_create", replacing(Session._create))
    monkeypatch.setattr(npz, "_read", replacing(npz._read))
    shared = cache.open(path)
    last = 7 if times == 2 else 5
    assert answer(shared) == last
    monkeypatch.undo()
    assert cache.open(path) is shared  # the key belongs to the last content


# Loaded sessions are independent of their files


def test_writing_to_external_data_does_not_change_a_loaded_session(
    cache: SessionCache, tmp_path: Path
) -> None:
    wide = 4096  # more than one page of memory
    weights = tmp_path / "weights.bin"
    weights.write_bytes(np.full((3, wide), 2, np.float32).tobytes())
    tensor = onnx_tensor((3, wide))
    path = graphs.save(
        tmp_path / "m.onnx",
        [
            # a table is not repacked: the session would read the file
            graphs.node("Gather", ["W", "ids"], ["rows"])
        ],
        [graphs.value("ids", ["n"], "int64")],
        [graphs.value("rows", ["n", wide])],
        [tensor],
    )
    shared = cache.open(path)
    with weights.open("r+b") as file:
        file.write(np.full((3, wide), 5, np.float32).tobytes())
    assert shared.run({"ids": np.array([1])})[0].tolist() == [[2.0] * wide]
    assert cache.open(path).run({"ids": np.array([1])})[0].tolist() == [[5.0] * wide]


def onnx_tensor(shape: tuple[int, int]) -> Any:
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def test_truncating_external_data_does_not_end_the_process(tmp_path: Path) -> None:
    code = f"""
        import numpy as np
        from pathlib import Path
        from conduit_lab.runtime.sessions.session import Session
        from tests.runtime import graphs
        from tests.runtime.sessions.test_cache_content import onnx_tensor
        folder = Path({str(tmp_path)!r})
        (folder / "weights.bin").write_bytes(np.ones((64, 4096), np.float32).tobytes())
        session = Session(graphs.save(
            folder / "m.onnx",
            [graphs.node("Gather", ["W", "ids"], ["rows"])],
            [graphs.value("ids", ["n"], "int64")],
            [graphs.value("rows", ["n", 4096])],
            [onnx_tensor((64, 4096))],
        ))
        (folder / "weights.bin").write_bytes(b"")
        print(session.run({{"ids": np.array([63])}})[0].sum())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)]),
        },
    )
    assert (done.returncode, done.stdout) == (0, "4096.0\n"), done.stderr


def test_the_cpu_does_not_stand_in_with_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = plug_in(monkeypatch)
    path = plain(tmp_path / "m.onnx", 2)
    session = Session(path, Options("cuda", fallback=True))
    fake.lost = True
    plain(path, 5)
    with pytest.raises(
        ModelRunError, match=r"m\.onnx failed on cuda .*the file has changed since it was loaded"
    ):
        session.run(X)
    path.unlink()
    with pytest.raises(ModelRunError, match=r"m\.onnx failed on cuda .*no model file at"):
        session.run(X)
    plain(path, 2)
    assert session.run(X)[0].tolist() == [[6, 6]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("make", [plain, external])
def test_a_forked_child_opens_the_unchanged_file(tmp_path: Path, make: Make) -> None:
    shared = twins(sessions, tmp_path, make)
    make(tmp_path / "b" / "m.onnx", 5)
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork of a threaded process
        child = fork.Process(target=lambda: answers.put(answer(shared)))
        child.start()
    child.join(60)
    assert child.exitcode == 0
    assert answers.get() == 2
