"""The deadline for a response to start."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import anyio

from conduit_lab.serving.errors import HttpError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from conduit_lab.serving.gate.context import RequestContext


async def start_within(
    seconds: float,
    face: ASGIApp,
    context: RequestContext,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Run `face` on a request; raise 504 if the response does not start within `seconds`.

    A coroutine on the event loop is cancelled. A thread is abandoned: it runs to its end and its
    result is dropped. A response that has started may take any time.
    """
    try:
        left = context.begun_at + seconds - monotonic()
        with anyio.move_on_after(left) as context.start_scope:
            await face(scope, receive, send)
            return
    finally:
        context.start_scope = None
    raise late_start(seconds)


def late_start(seconds: float) -> HttpError:
    """Return the 504 for a response that did not start within `seconds`."""
    return HttpError(
        504, "deadline_exceeded", f"the answer did not start within {seconds:g} s: try again later"
    )
