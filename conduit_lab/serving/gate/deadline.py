"""The deadline for a response to start."""

from __future__ import annotations

import anyio
from starlette.types import ASGIApp, Receive, Scope

from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.context import RequestContext


async def start_within(
    seconds: float, router: ASGIApp, scope: Scope, receive: Receive, context: RequestContext
) -> None:
    """Run `router` on a request; raise 504 if the response does not start within `seconds`.

    A coroutine on the event loop is cancelled. A thread is abandoned: it runs to its end and its
    result is dropped. A response that has started may take any time.
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
