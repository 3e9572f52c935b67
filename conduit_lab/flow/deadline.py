"""Calls with a deadline, from a thread and from an event loop."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import Future
from typing import Any

import anyio
import anyio.to_thread

from conduit_lab.core.errors import DeadlineExceeded
from conduit_lab.core.stage import Function, Stage


def call_within(stage: Stage, value: Any, seconds: float | None) -> Any:
    """Return `stage(value)`, or raise `DeadlineExceeded` once it took `seconds`.

    The stage runs on a thread of its own, which ends when the stage does.
    """
    if seconds is None:
        return stage(value)
    future: Future[Any] = Future()

    def call() -> None:
        try:
            future.set_result(context.run(stage, value))
        except BaseException as error:
            future.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=call, name=f"deadline of {stage.name}", daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError:
        if future.done():  # the stage's own
            raise
        raise _exceeded(stage, seconds) from None


async def acall_within(stage: Stage, value: Any, seconds: float | None) -> Any:
    """Await `stage.acall(value)`, or raise `DeadlineExceeded` once it took `seconds`."""
    if seconds is None:
        return await stage.acall(value)
    takes_thread = type(stage).arun is Stage.arun
    if isinstance(stage, Function):
        takes_thread = not stage._is_async
    with anyio.move_on_after(seconds):
        if takes_thread:
            return await anyio.to_thread.run_sync(stage, value, abandon_on_cancel=True)
        return await stage.acall(value)
    raise _exceeded(stage, seconds)


def _exceeded(stage: Stage, seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"{stage.name!r} gave no answer within {seconds:g} s")
