"""StreamPlan: start the stream of a stream endpoint's call for a waiting client."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from starlette.types import Receive

from conduit_lab.core.paths import enter_root, leave_root
from conduit_lab.core.streams.backpressure import awaiting_reader
from conduit_lab.core.streams.loop import ProducingHere
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.core.trace.root_span import record_failure
from conduit_lab.core.trace.span import Span, current
from conduit_lab.core.trace.tally import Tally, begin_tally, end_tally, tallying
from conduit_lab.serving.call import Call
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.faces import transport
from conduit_lab.serving.paced_calls import PacedCalls
from conduit_lab.serving.trace_sampling import TraceSampler


async def begin_stream(
    app: EndpointHost, endpoint: Endpoint[..., Any], call: Call, size: int, receive: Receive
) -> tuple[Stream[Any], CallRecord]:
    """Start the stream of a call; return it with its call record.

    `size` is the request size in bytes.
    """
    if endpoint.plan is None:
        endpoint.plan = StreamPlan(app, endpoint)
    plan: StreamPlan = endpoint.plan
    return await plan.start(call, size, receive)


class StreamPlan:
    """Starts the streams of one endpoint: generators directly, other handlers like value handlers.

    An async generator runs on the running loop. `App(trace=)` selects the traced streams; inside a
    protocol's call a stream joins that trace, or is counted with it. Until the client reads, the
    producer waits once the log is full. Cancelling the start cancels the stream.
    """

    __slots__ = ("_app", "_endpoint", "_paced", "_sampler")

    def __init__(self, app: EndpointHost, endpoint: Endpoint[..., Any]) -> None:
        self._app = app
        self._endpoint = endpoint
        self._paced = PacedCalls(app.handler_threads)
        self._sampler = TraceSampler()

    async def start(
        self, call: Call, size: int, receive: Receive
    ) -> tuple[Stream[Any], CallRecord]:
        """Start the stream of a call; return it with its call record."""
        app, outer = self._app, tallying()
        if current() is not None or (
            outer is None and self._sampler.takes(app.trace, observed=bool(app.observers))
        ):
            stream = await self._begun(self._endpoint.invoke, call, size, receive)
            span: Span = call.span  # type: ignore[assignment]  # `invoke` sets it
            return stream, span.record
        counted = _Counted(app, self._endpoint, call, outer)
        token = begin_tally(counted.tally)
        try:
            stream = await self._begun(self._open, call, size, receive)
        except BaseException as error:
            end_tally(token)
            counted.end(error)
            raise
        end_tally(token)
        stream.on_end(lambda ended: counted.end(ended.error))
        return stream, counted.tally.record

    async def _begun(self, start: Any, call: Call, size: int, receive: Receive) -> Stream[Any]:
        endpoint = self._endpoint
        with awaiting_reader(transport.SEND_SECONDS):
            if endpoint.starts_at_once:
                with ProducingHere():
                    stream: Stream[Any] = start(call)
                return stream
            return await self._paced.run(endpoint.name, size, receive, start, call)

    def _open(self, call: Call) -> Stream[Any]:
        root = enter_root(self._app.root)
        try:
            return self._endpoint.open_stream(call)
        finally:
            leave_root(root)


class _Counted:
    """A stream without a span: counted at its end, with a span only if it fails.

    Inside an untraced protocol call it is counted with that call, which has the span on failure.
    """

    __slots__ = ("_app", "_begun", "_call", "_endpoint", "_is_outermost", "tally")

    def __init__(
        self, app: EndpointHost, endpoint: Endpoint[..., Any], call: Call, outer: Tally | None
    ) -> None:
        self._app = app
        self._endpoint = endpoint
        self._call = call
        self._begun = perf_counter()
        self._is_outermost = outer is None
        self.tally = Tally(endpoint.name, app.statistics) if outer is None else outer

    def end(self, error: BaseException | None) -> None:
        """Count the finished stream."""
        if self._is_outermost:
            self.tally.ended = True
            if error is not None:
                record_failure(self._endpoint.begin(self._call), self._begun, error)
                return
        statistics = self._app.statistics
        statistics.count(self._endpoint.name)
        if error is not None:
            statistics.count_error(self._endpoint.name)
