"""SessionCache: one shared session per content, and a budget that evicts idle sessions."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.errors import DeviceError, ModelLoadError
from conduit_lab.runtime.sessions.cache import SessionCache, sessions
from conduit_lab.runtime.sessions.memory import memory_bytes
from conduit_lab.runtime.sessions.session import Options
from tests.runtime import graphs

X = {"input": np.ones((1, 3), np.float32)}


@pytest.fixture
def cache() -> SessionCache:
    return SessionCache(2**30)


def linear(path: Path, value: float = 1.0, wide: int = 2) -> Path:
    return graphs.linear(path, np.full((3, wide), value))


# Sharing


def test_one_content_is_one_session(cache: SessionCache, tmp_path: Path) -> None:
    path = linear(tmp_path / "a.onnx")
    copy = Path(shutil.copy(path, tmp_path / "copy.onnx"))
    first = cache.open(path)
    assert all(cache.open(same) is first for same in (path, copy))
    assert (first.loads, first.hits, len(list(cache))) == (1, 2, 1)
    assert cache.size == path.stat().st_size


def test_auto_shares_the_session_of_the_chosen_device(cache: SessionCache, tmp_path: Path) -> None:
    path = linear(tmp_path / "a.onnx")
    assert cache.open(path, Options("cpu", fallback=True)) is cache.open(path, Options("auto"))


@pytest.mark.parametrize(
    "options", [Options(threads=1), Options(graph_level="basic"), Options(timeout=3)]
)
def test_other_options_are_another_session(
    cache: SessionCache, tmp_path: Path, options: Options
) -> None:
    path = linear(tmp_path / "a.onnx")
    assert cache.open(path, options) is not cache.open(path)


def test_only_requests_that_find_a_loaded_session_are_hits(
    cache: SessionCache, tmp_path: Path
) -> None:
    path = linear(tmp_path / "a.onnx")
    shared = cache.open(path)
    shared.close()
    cache.open(path)
    assert (shared.loads, shared.hits) == (2, 0)


def test_npz_sessions_are_shared_too(cache: SessionCache, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", W0=np.ones((3, 2), np.float32), b0=np.zeros(2, np.float32))
    assert cache.open(tmp_path / "a.npz") is cache.open(tmp_path / "a.npz")
    assert cache.open(tmp_path / "a.npz").run(X)[0].tolist() == [[3, 3]]


def test_concurrent_opens_load_a_file_once(cache: SessionCache, tmp_path: Path) -> None:
    path = linear(tmp_path / "a.onnx")
    gate = threading.Barrier(8)

    def ask(_: int) -> object:
        gate.wait()
        return cache.open(path)

    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(ask, range(8)))
    assert len(set(map(id, opened))) == 1
    assert cache.open(path).loads == 1


def test_an_unreferenced_session_is_freed(cache: SessionCache, tmp_path: Path) -> None:
    path = linear(tmp_path / "a.onnx")
    shared = cache.open(path)
    session = weakref.ref(shared._engine)
    del shared
    assert session() is None
    assert list(cache) == []


@pytest.mark.parametrize("name", ["gone.onnx", "gone.npz"])
def test_a_file_that_cannot_be_opened_leaves_nothing_behind(
    cache: SessionCache, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ModelLoadError, match=f"no model file at .*{name}"):
        cache.open(tmp_path / name)
    with pytest.raises(DeviceError):
        cache.open(linear(tmp_path / "a.onnx"), Options("abacus"))
    gc.collect()
    assert list(cache) == []


# The budget


def test_the_least_recently_used_session_is_evicted_and_opened_again(tmp_path: Path) -> None:
    paths = [linear(tmp_path / f"{i}.onnx", i) for i in range(3)]
    cache = SessionCache(2 * paths[0].stat().st_size)
    first, second = (cache.open(path) for path in paths[:2])
    first.run(X)
    third = cache.open(paths[2])
    assert [shared.loaded for shared in (first, second, third)] == [True, False, True]
    assert (cache.evictions, second.state) == (1, "evicted")
    assert second.run(X)[0].tolist() == [[3, 3]]
    assert [shared.loaded for shared in (first, second, third)] == [False, True, True]
    assert second.loads == 2


def test_the_device_of_an_evicted_session_is_known_again_once_it_is_opened(
    cache: SessionCache, tmp_path: Path
) -> None:
    shared = cache.open(linear(tmp_path / "a.onnx"))
    shared.close()
    assert (shared.state, shared.device, shared.loaded) == ("evicted", "cpu", True)


def test_a_running_session_is_not_evicted(tmp_path: Path) -> None:
    endless = graphs.endless(tmp_path / "endless.onnx")
    other = linear(tmp_path / "a.onnx")
    cache = SessionCache(1)
    running = cache.open(endless, Options(timeout=1.0))
    thread = threading.Thread(target=_run_until_cut, args=(running,))
    thread.start()
    while not running.running:
        pass
    cache.open(other)
    assert running.loaded
    thread.join()
    cache.trim()
    assert not running.loaded


def test_a_held_session_is_not_evicted(tmp_path: Path) -> None:
    cache = SessionCache(1)
    shared = cache.open(linear(tmp_path / "a.onnx"))
    with shared.hold():
        cache.trim()
        assert shared.loaded
    cache.trim()
    assert not shared.loaded


def test_loading_a_session_counts_as_its_use(cache: SessionCache, tmp_path: Path) -> None:
    first, second = (cache.open(linear(tmp_path / f"{i}.onnx", i)) for i in (1, 2))
    first.close()
    second.run(X)
    first.load()
    cache.budget = first.size
    assert [first.loaded, second.loaded] == [True, False]


def test_the_default_budget_is_half_of_the_memory() -> None:
    assert SessionCache().budget == memory_bytes() // 2


def _run_until_cut(shared: object) -> None:
    with pytest.raises(TimeoutError):
        shared.run({"x": np.zeros(1, np.float32)})  # type: ignore[attr-defined]


def test_a_smaller_budget_takes_effect_at_once(tmp_path: Path) -> None:
    cache = SessionCache()
    held = [cache.open(linear(tmp_path / f"{i}.onnx", i)) for i in range(3)]
    assert cache.budget > 2**28  # half of the machine's memory
    cache.budget = held[0].size
    assert [shared.loaded for shared in held] == [False, False, True]
    with pytest.raises(ValueError, match="positive"):
        cache.budget = 0


def test_answers_are_right_while_models_evict_each_other(tmp_path: Path) -> None:
    cache = SessionCache(1)
    held = [cache.open(linear(tmp_path / f"{i}.onnx", i)) for i in range(3)]

    def ask(number: int) -> None:
        x = np.full((1, 3), number, np.float32)
        assert held[number % 3].run({"input": x})[0].tolist() == [[3.0 * number * (number % 3)] * 2]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(120)))
    assert sum(shared.calls for shared in held) == 120
    cache.trim()  # the last sessions ran concurrently, so none was evicted
    assert cache.evictions >= 3


def test_a_file_with_another_model_is_not_opened_again(cache: SessionCache, tmp_path: Path) -> None:
    path = linear(tmp_path / "a.onnx")
    shared = cache.open(path)
    shared.close()
    linear(path, 1, wide=5)
    with pytest.raises(ModelLoadError, match=r"a\.onnx has become another model"):
        shared.run(X)


def test_statistics_count_calls_and_samples(cache: SessionCache, tmp_path: Path) -> None:
    shared = cache.open(linear(tmp_path / "a.onnx"))
    assert shared.statistics() == "none yet"
    shared.run(X)
    shared.run({"input": np.ones((4, 3), np.float32)}, 4)
    assert (shared.calls, shared.rows, shared.running) == (2, 5, 0)
    assert shared.statistics().startswith("2 calls, 5 samples, ")


def test_an_internal_run_is_not_counted(cache: SessionCache, tmp_path: Path) -> None:
    shared = cache.open(linear(tmp_path / "a.onnx"))
    shared.run(X, count=False)
    assert (shared.calls, shared.rows, shared.seconds) == (0, 0, 0.0)


# Fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_opens_its_own_session(tmp_path: Path) -> None:
    shared = sessions.open(linear(tmp_path / "a.onnx"))
    shared.run(X)
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork of a threaded process
        child = fork.Process(target=lambda: answers.put((shared.loaded, shared.run(X)[0].tolist())))
        child.start()
    child.join(60)
    assert child.exitcode == 0
    assert answers.get() == (False, [[3, 3]])
    assert shared.run(X)[0].tolist() == [[3, 3]]
