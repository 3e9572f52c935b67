"""begin_stream: the stream of one call of a stream endpoint, for a client that reads it now."""

from __future__ import annotations

from typing import Any

import anyio.to_thread

from conduit_lab.core.streams.backpressure import awaiting_reader
from conduit_lab.core.streams.loop import ProducingHere
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.call import Call
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.faces import transport


async def begin_stream(app: EndpointHost, endpoint: Endpoint[..., Any], call: Call) -> Stream[Any]:
    """Start the stream of a call: an async generator on the running loop, a handler on a thread.

    Until its client reads it, its producer waits with a full log. It is cancelled where the start
    is: nobody will read it then.
    """
    with awaiting_reader(transport.SEND_SECONDS):
        if endpoint.starts_at_once:
            with ProducingHere():
                stream: Stream[Any] = endpoint.invoke(call)
            return stream
        started: list[Stream[Any]] = []
        abandoned: list[bool] = []

        def start() -> None:
            started.append(endpoint.invoke(call))
            if abandoned:
                started[0].cancel()

        try:
            await anyio.to_thread.run_sync(start, abandon_on_cancel=app.limits.deadline is not None)
        except BaseException:
            abandoned.append(True)
            for stream in started:
                stream.cancel()
            raise
        return started[0]
