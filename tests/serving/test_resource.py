"""Resources: built once per process, closed in reverse, replaced with their cell."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from conduit_lab import App, Lab
from conduit_lab.core.errors import EndpointError
from conduit_lab.serving.resource import AppResource


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App("desk", root=tmp_path)
    yield app
    app.resources.close()


def test_it_is_built_at_the_first_call_and_kept(app: App) -> None:
    built = []

    @app.resource
    def pool() -> list[int]:
        """The pool."""
        built.append(1)
        return [len(built)]

    assert not built
    assert not pool.is_built
    assert pool() is pool()
    assert built == [1]
    assert pool.is_built
    assert (pool.__name__, pool.__doc__) == ("pool", "The pool.")


def test_threads_that_call_at_once_get_one_object(app: App) -> None:
    start, built = threading.Barrier(8), []

    @app.resource
    def pool() -> object:
        built.append(threading.get_ident())
        return object()

    def call() -> object:
        start.wait()
        return pool()

    with ThreadPoolExecutor(8) as threads:
        found = {id(each.result()) for each in [threads.submit(call) for _ in range(8)]}
    assert len(found) == len(built) == 1


def test_they_are_closed_in_reverse_order_when_the_app_stops(app: App) -> None:
    steps: list[str] = []

    def declare(name: str, *needs: AppResource[Any]) -> AppResource[Any]:
        def build() -> Iterator[str]:
            for each in needs:
                each()
            steps.append(f"open {name}")
            yield name
            steps.append(f"close {name}")

        build.__name__ = name
        return app.resource(build)

    settings = declare("settings")
    client = declare("client", settings)
    declare("unused")

    async def serve() -> None:
        async with app.lifespan():
            assert client() == "client"

    anyio.run(serve)
    assert steps == ["open settings", "open client", "close client", "close settings"]
    anyio.run(serve)
    assert steps == 2 * ["open settings", "open client", "close client", "close settings"]


def test_a_session_keeps_them_when_a_server_stops(tmp_path: Path) -> None:
    lab = Lab("desk", root=tmp_path)

    @lab.resource
    def pool() -> Iterator[int]:
        yield 1

    async def serve() -> None:
        async with lab.lifespan():
            pool()

    anyio.run(serve)
    assert pool.is_built
    lab.resources.close()
    assert not pool.is_built


def test_a_function_that_fails_is_tried_again(app: App) -> None:
    tries: list[int] = []

    @app.resource
    def pool() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("refused")
        return "pool"

    with pytest.raises(OSError, match="refused"):
        pool()
    assert not pool.is_built
    assert pool() == "pool"


def test_running_its_cell_again_closes_and_replaces_it(app: App) -> None:
    closed: list[int] = []

    def declare(number: int) -> AppResource[int]:
        @app.resource
        def pool() -> Iterator[int]:
            yield number
            closed.append(number)

        return pool

    first = declare(1)
    assert first() == 1
    second = declare(2)
    assert closed == [1]
    assert second() == 2
    app.resources.close()
    assert closed == [1, 2]


def test_one_that_fails_to_close_does_not_keep_the_others_open(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[str] = []

    @app.resource
    def first() -> Iterator[int]:
        yield 1
        closed.append("first")

    @app.resource
    def second() -> Iterator[int]:
        yield 2
        raise RuntimeError("no answer")

    @app.resource
    def third() -> Iterator[int]:
        yield 3
        yield 4

    for each in (first, second, third):
        each()
    app.resources.close()
    assert closed == ["first"]
    assert "resource second failed to close" in caplog.text
    assert "third expected one yield, got two" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_builds_its_own_and_leaves_the_parents_open(app: App) -> None:
    read, write = os.pipe()

    @app.resource
    def pool() -> Iterator[int]:
        yield os.getpid()
        os.write(write, b"c%d " % os.getpid())

    assert pool() == os.getpid()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os.write(write, b"%d " % pool())
            app.resources.close()
            os.write(write, b"%d " % pool.is_built)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode()
    assert text == f"{child} c{child} 0 "
    assert pool.is_built
    write = os.open(os.devnull, os.O_WRONLY)
    app.resources.close()
    os.close(write)


def test_it_shows_whether_it_is_built(app: App) -> None:
    @app.resource
    def pool() -> dict[str, str]:
        return {"<a>": "x" * 200}

    assert repr(pool) == "Resource 'pool' · not built"
    pool()
    assert repr(pool).startswith("Resource 'pool' · built: {'<a>': 'xxx")
    assert len(repr(pool)) < 100
    assert "<a>" not in pool._view().html()


async def _later() -> int:
    return 1


def _sized(size: int) -> int:
    return size


def _itself() -> int:
    return 1


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_later, "resource _later expected def, got async def"),
        (_sized, "resource _sized expected no parameters, got size: write def _sized\\(\\)"),
        (3, "resource expected a function, got int: put @lab.resource above a def"),
    ],
)
def test_functions_that_cannot_build_one_are_refused(app: App, function: Any, words: str) -> None:
    with pytest.raises(EndpointError, match=words):
        app.resource(function)


def test_one_that_needs_itself_is_refused(app: App) -> None:
    @app.resource
    def pool() -> Any:
        return pool()

    with pytest.raises(EndpointError, match="pool calls itself while being built"):
        pool()


def test_one_that_yields_nothing_is_refused(app: App) -> None:
    @app.resource
    def pool() -> Iterator[int]:
        yield from ()

    with pytest.raises(EndpointError, match="pool expected one yield, got none"):
        pool()
