"""The response to a call: its encoded value, and headers about the call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from starlette.types import Receive, Scope, Send

from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.serving import codec
from conduit_lab.serving.answer import RawHeaders, record_headers
from conduit_lab.serving.faces.array_answer import array_bytes, array_type_for, is_inline
from conduit_lab.serving.gate.context import context_of
from conduit_lab.serving.gate.departure import while_connected
from conduit_lab.serving.gate.direct_request import JSON_LINE, answer_whole
from conduit_lab.serving.gate.request_cycle import head_lines
from conduit_lab.serving.handler_threads import HandlerThreads
from conduit_lab.serving.server_state import ServerState

_JSON = (b"content-type", b"application/json")
_VARY = (b"vary", b"accept")


async def send_value(
    threads: HandlerThreads,
    value: Any,
    small: bool,
    record: CallRecord,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Send the value of a call, encoded on a thread unless it is `small`.

    It is sent as JSON, or as array bytes if the client accepts them.
    """
    context = context_of(scope)
    encode: Callable[[Any], bytes] = codec.dumps
    about: RawHeaders = [_JSON]
    if type(value) is np.ndarray:
        kind = array_type_for(value, context.headers)
        if kind is not None:
            encode, small = partial(array_bytes, content_type=kind), is_inline(value)
            about = [(b"content-type", kind.encode()), _VARY]
    body = encode(value) if small else await while_connected(receive, threads.run(encode, value))
    more: RawHeaders = []
    if record.fallbacks or record.on_cpu:
        more = call_headers(record, context.server)
    cycle = context.cycle
    if cycle is not None and context.start_scope is None and not cycle.flow.write_paused:
        lines = JSON_LINE if about[0] is _JSON else head_lines(about).lines
        answer_whole(cycle, context, body, head_lines(more).lines if more else b"", about=lines)
        return
    headers = [*about, (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def call_headers(record: CallRecord, server: ServerState) -> RawHeaders:
    """Return the fallback and device headers of a call, and count its fallbacks."""
    server.fallbacks += bool(record.fallbacks)
    return record_headers(record)
