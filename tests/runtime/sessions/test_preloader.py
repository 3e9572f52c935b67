"""Preloader: the evicted model that usually follows in a pipeline is loaded early."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from conduit_lab.core.trace import recorder
from conduit_lab.runtime.sessions.cache import SessionCache, Shared
from tests.runtime import graphs

X = {"input": np.ones((1, 3), np.float32)}


@pytest.fixture
def cache() -> SessionCache:
    return SessionCache(2**30)


@pytest.fixture
def models(cache: SessionCache, tmp_path: Path) -> list[Shared]:
    return [cache.open(graphs.linear(tmp_path / f"{i}.onnx", np.full((3, 2), i))) for i in range(4)]


def call(pipeline: str, *used: Shared) -> None:
    """Use the models in this order in one call of a pipeline."""
    with recorder.record(pipeline):
        for shared in used:
            with recorder.span(shared.path.stem, "predict"):
                shared.run(X)


def is_loaded(shared: Shared) -> bool:
    """Wait until another thread has loaded a model."""
    ends = monotonic() + 10
    while not shared.loaded and monotonic() < ends:
        sleep(0.001)
    return shared.loaded


def test_the_successor_is_loaded_while_its_predecessor_runs(
    cache: SessionCache, models: list[Shared]
) -> None:
    a, b, c, _ = models
    for _ in range(3):
        call("p", a, b, c)
    b.close()
    call("p", a)
    assert is_loaded(b)
    assert (cache.preloader.preloads, b.loads) == (1, 2)


def test_the_first_model_of_the_next_call_follows_the_last(models: list[Shared]) -> None:
    a, b, _, _ = models
    for _ in range(3):
        call("p", a, b)
    a.close()
    call("p", b)
    assert is_loaded(a)


def test_each_pipeline_has_its_own_successors(cache: SessionCache, models: list[Shared]) -> None:
    a, b, c, _ = models
    for _ in range(3):
        call("p", a, b)
        call("q", a, c)
    b.close()
    c.close()
    call("q", a)
    assert is_loaded(c)
    assert not b.loaded


def test_an_uncertain_successor_is_not_loaded(cache: SessionCache, models: list[Shared]) -> None:
    a, b, c, d = models
    for follower in (b, c, d):
        call("p", a, follower)
    for shared in (b, c, d):
        shared.close()
    call("p", a)
    assert cache.preloader.preloads == 0


def test_a_successor_of_half_of_the_calls_is_not_loaded(
    cache: SessionCache, models: list[Shared]
) -> None:
    a, b, c, _ = models
    for follower in (b, c):
        call("p", a, follower)
        call("p", follower)  # so a follows neither
    b.close()
    c.close()
    call("p", a)
    assert cache.preloader.preloads == 0


def test_an_evicted_successor_is_loaded_once_per_eviction(
    cache: SessionCache, models: list[Shared], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, _, _ = models
    for _ in range(3):
        call("p", a, b)
    free = threading.Event()
    load = b.load

    def wait_and_load() -> None:
        free.wait(10)
        load()

    monkeypatch.setattr(b, "load", wait_and_load)
    b.close()
    call("p", a)
    call("p", a)
    assert cache.preloader.preloads == 1
    free.set()
    assert is_loaded(b)
    ends = monotonic() + 10
    while cache.preloader._loading and monotonic() < ends:
        sleep(0.001)
    b.close()
    call("p", a)
    assert is_loaded(b)
    assert cache.preloader.preloads == 2


def test_calls_outside_of_a_pipeline_do_not_count(
    cache: SessionCache, models: list[Shared]
) -> None:
    a, b, _, _ = models
    for _ in range(5):
        a.run(X)
        b.run(X)
    b.close()
    a.run(X)
    assert cache.preloader.preloads == 0


def test_successive_runs_of_one_model_are_one_use(models: list[Shared]) -> None:
    a, b, _, _ = models
    for _ in range(3):
        call("p", a, a, a, a, b)
    b.close()
    call("p", a)
    assert is_loaded(b)


def test_a_failed_preload_is_logged(models: list[Shared], caplog: pytest.LogCaptureFixture) -> None:
    a, b, _, _ = models
    for _ in range(3):
        call("p", a, b)
    b.close()
    b.path.write_bytes(b"broken")
    with caplog.at_level(logging.WARNING, "conduit_lab"):
        call("p", a)
        ends = monotonic() + 10
        while "preload" not in caplog.text and monotonic() < ends:
            sleep(0.001)
    assert "preload" in caplog.text
    assert not b.loaded
