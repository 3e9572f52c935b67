"""The deadline for an answer to start."""

from __future__ import annotations

import anyio
from starlette.types import ASGIApp, Receive, Scope

from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.context import RequestContext


async def start_within(
    seconds: float, router: ASGIApp, scope: Scope, receive: Receive, context: RequestContext
) -> None:
    """Run `router` on a request; raise a 504 where the answer has not started within `seconds`.

    A coroutine on the event loop is cancelled. A thread is abandoned: it ends by itself, and its
    result is dropped. An answer that has started may take any time.
    """
    try:
        with anyio.move_on_after(seconds) as context.start_scope:
            await router(scope, receive, context.send)
            return
    finally:
        context.start_scope = None
    raise HttpError(
        504, "deadline_exceeded", f"the answer did not start within {seconds:g} s: try again later"
    )
