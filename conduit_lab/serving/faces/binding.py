"""Large bodies: bound to a function's arguments on a thread, so that the event loop stays free."""

from __future__ import annotations

import gc

import anyio.to_thread
from starlette.types import Scope

from conduit_lab.core.errors import InputError
from conduit_lab.serving.call import Call
from conduit_lab.serving.signature import Signature

INLINE_BODY_BYTES = 2**16  # parsed and checked on the event loop


async def bind_on_thread(signature: Signature, scope: Scope, body: bytes) -> Call:
    """Return the call for a request with a large body."""
    return await anyio.to_thread.run_sync(_bind, signature, scope, body)


def _bind(signature: Signature, scope: Scope, body: bytes) -> Call:
    """Bind while the garbage collector pauses.

    Each of its passes over the new values, which have no cycles, would hold the GIL for seconds.
    Where they do not fit, they are freed before it resumes.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        try:
            return signature.from_http(scope, body)
        except InputError as error:
            problem = str(error)
        raise InputError(problem)
    finally:
        if collecting:
            gc.enable()
