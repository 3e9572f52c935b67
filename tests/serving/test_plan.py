"""Plan: where a handler runs, and which calls share a batch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest

from conduit_lab import App
from conduit_lab.serving.handler_pace import FIRST_SHORT_CALLS, LONG_CALL_SECONDS
from tests.serving.asgi import ask

WARM_CALLS = 20 * FIRST_SHORT_CALLS  # a busy machine may delay some of them


class Places:
    """Records the thread of each call, and whether it sees an event loop."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.loops = 0

    def note(self) -> None:
        self.threads.append(threading.get_ident())
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self.loops += 1

    @property
    def on_loop(self) -> bool:
        """Whether the last call ran on the thread that asks."""
        return self.threads[-1] == threading.get_ident()


async def until_on_loop(app: App, places: Places, path: str, body: bytes) -> None:
    """Ask until a call runs on the loop's thread."""
    for _ in range(WARM_CALLS):
        await ask(app, path, body)
        if places.on_loop:
            return
    pytest.fail("no call ran on the event loop")


def test_a_short_handler_moves_to_the_loop_and_sees_none(app: App) -> None:
    places = Places()

    @app.post("/short")
    def short(body: Any) -> int:
        places.note()
        return len(body)

    async def main() -> None:
        for _ in range(FIRST_SHORT_CALLS):
            await ask(app, "/short", b"[1]")
            assert not places.on_loop
        await until_on_loop(app, places, "/short", b"[1]")
        await ask(app, "/short", b"[%s1]" % (b"1," * 100))
        assert not places.on_loop  # not measured yet
        assert asyncio.get_running_loop().is_running()

    asyncio.run(main())
    assert places.loops == 0


def test_a_handler_that_waits_stays_on_threads(app: App) -> None:
    places = Places()

    @app.post("/waits")
    def waits(body: Any) -> None:
        places.note()
        sleep(0.002)

    async def main() -> None:
        for _ in range(3 * FIRST_SHORT_CALLS):
            await ask(app, "/waits", b"1")
            assert not places.on_loop

    asyncio.run(main())


def test_after_one_long_call_a_handler_stays_on_threads(app: App) -> None:
    places = Places()

    @app.post("/sometimes")
    def sometimes(body: Any) -> None:
        places.note()
        if body == 2:
            sleep(1.5 * LONG_CALL_SECONDS)

    async def main() -> None:
        await until_on_loop(app, places, "/sometimes", b"1")
        await ask(app, "/sometimes", b"2")
        for _ in range(3 * FIRST_SHORT_CALLS):
            await ask(app, "/sometimes", b"1")
            assert not places.on_loop

    asyncio.run(main())


def test_a_new_endpoint_leaves_the_measures_of_others(app: App) -> None:
    places = Places()

    @app.post("/short")
    def short(body: Any) -> None:
        places.note()

    async def main() -> None:
        await until_on_loop(app, places, "/short", b"1")
        app.get("/other")(lambda: 1)
        await ask(app, "/short", b"1")
        assert places.on_loop

    asyncio.run(main())


def test_a_handler_may_run_a_loop_of_its_own(app: App) -> None:
    places = Places()

    @app.post("/loop")
    def looping(body: Any) -> int:
        places.note()

        async def three() -> int:
            return 3

        return asyncio.run(three()) if body else 0

    async def main() -> None:
        await until_on_loop(app, places, "/loop", b"0")
        messages = await ask(app, "/loop", b"1")
        assert places.on_loop
        assert messages[1]["body"] == b"3"
        assert asyncio.get_running_loop().is_running()

    asyncio.run(main())


def test_endless_recursion_names_the_endpoint_on_the_loop_too(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    places = Places()

    @app.post("/deep")
    def deep(body: Any) -> Any:
        places.note()

        def again() -> Any:
            return again()

        return again() if body else 0

    async def main() -> None:
        await until_on_loop(app, places, "/deep", b"0")
        assert (await ask(app, "/deep", b"1"))[0]["status"] == 500

    asyncio.run(main())
    assert "deep() calls itself without an end" in caplog.text


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: [model]])
def test_model_endpoints_of_one_moment_share_a_run(
    app: App, weights: Path, wrap: Callable[[Any], Any]
) -> None:
    model = app.load_model(weights).open()
    if isinstance(wrap(model), list):
        app.ml_ensemble("/up", models=[model])(lambda predictions: predictions[0])
    else:
        app.ml_endpoint("/up", model=model)(lambda body: body)

    async def main() -> None:
        for _ in range(30):  # measures the runs, and tries that rows are independent
            await asyncio.gather(*(ask(app, "/up", b"[1.5, %d]" % n) for n in range(8)))
        runs, rows = model.shared.calls, model.shared.rows
        answers = await asyncio.gather(*(ask(app, "/up", b"[1.5, -%d]" % n) for n in range(8)))
        labels = [b'"label":"up"' in messages[1]["body"] for messages in answers]
        assert labels == [n < 2 for n in range(8)]
        assert model.shared.rows - rows == 8
        assert model.shared.calls - runs < 8

    asyncio.run(main())


def test_arrays_of_a_large_answer_are_whole(app: App) -> None:
    app.get("/large")(lambda: np.arange(100_000))
    messages = asyncio.run(ask(app, "/large", method="GET"))
    assert messages[1]["body"].startswith(b"[0,1,2,")
    assert messages[1]["body"].count(b",") == 99_999
