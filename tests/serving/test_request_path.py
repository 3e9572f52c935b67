"""The request path is short: the package's own Python calls for one small request."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import conduit_lab
from conduit_lab import App, Lab
from tests.serving.asgi import ask

PACKAGE = str(Path(conduit_lab.__file__).parent)
WARM_CALLS = 20  # until the handler runs on the event loop, and calls are sampled


class Calls:
    """Counts the calls of functions of the package, each resumption of a coroutine included."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            self.counts[code.co_qualname] += 1

    async def of_one_request(
        self, app: App, path: str = "/next", body: bytes = b'{"n": 1}'
    ) -> Counter[str]:
        """Return the calls of one request, once others have warmed the app up."""
        threading.setprofile(self)  # for the worker thread, which the first request starts
        sys.setprofile(self)
        try:
            async with app.lifespan() as state:
                for _ in range(WARM_CALLS):
                    await ask(app, path, body, state=state)
                self.counts.clear()
                start, answer = await ask(app, path, body, state=state)
                counts = self.counts.copy()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        assert start["status"] == 200, answer
        return counts


@pytest.mark.parametrize(("kind", "limit"), [(App, 36), (Lab, 51)])
def test_an_untyped_endpoint_takes_few_calls(kind: type[App], limit: int, tmp_path: Path) -> None:
    app = kind("desk", root=tmp_path)

    @app.post("/next")
    def following(body):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return body["n"] + 1

    counts = asyncio.run(Calls().of_one_request(app))
    assert counts.total() <= limit, counts


def test_a_model_endpoint_takes_few_calls(tmp_path: Path, weights: Path) -> None:
    app = App("desk", root=tmp_path)
    app.ml_endpoint("/model", model=weights)(lambda body: body)
    counts = min(  # a busy machine may make a batch long, which then runs on a thread
        (asyncio.run(Calls().of_one_request(app, "/model", b"[1.5, 2.5]")) for _ in range(5)),
        key=Counter.total,
    )
    assert counts["Span.__init__"] == counts["Arguments.check"] == 0
    assert counts.total() <= 71, counts
