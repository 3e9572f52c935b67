"""ServedCalls: the calls of one protocol route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from conduit_lab.core.streams.ownership import CallScope
from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.core.trace.root_span import begin_call
from conduit_lab.core.trace.span import Span
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.sampled_calls import SampledCalls

_Result = TypeVar("_Result")

Work = Callable[[CallRecord], Awaitable[_Result]]


class ServedCalls(SampledCalls):
    """The calls of one route, each a function of its call record.

    Endpoints and stages used by a call are its children in the trace. Streams and generations that
    it started end if it fails.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        async def run(self, work: Work[_Result]) -> _Result:
            """Await `work` with the call's record."""

    def __init__(self, app: EndpointHost, name: str) -> None:
        def begin(work: Any) -> Span:
            return begin_call(name, None, app.values, app.observers, app.statistics)

        super().__init__(app, name, begin)

    async def _work(self, record: CallRecord, *call: Any) -> Any:
        (work,) = call
        with CallScope():
            return await work(record)
