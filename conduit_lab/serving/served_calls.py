"""ServedCalls: the calls of one route of a protocol, each with a span or counted without one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TypeVar

from conduit_lab.core.paths import enter_root, leave_root
from conduit_lab.core.streams.ownership import CallScope
from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.core.trace.root_span import begin_call, record_failure
from conduit_lab.core.trace.span import Span
from conduit_lab.core.trace.tally import Tally, begin_tally, end_tally
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.trace_sampling import TraceSampler

_Result = TypeVar("_Result")

Work = Callable[[CallRecord], Awaitable[_Result]]


class ServedCalls:
    """The calls of one route: each is a root span, or is counted, as `App(trace=)` says.

    `name` is that of the span and of the row in the app's statistics. Endpoints and stages that a
    call uses are below it. Streams and generations that it begins end where it fails.
    """

    __slots__ = ("_app", "_sampler", "name")

    def __init__(self, app: EndpointHost, name: str) -> None:
        self.name = name
        self._app = app
        self._sampler = TraceSampler()

    async def run(self, work: Work[_Result]) -> _Result:
        """Await `work` of the call's record."""
        app = self._app
        root = enter_root(app.root)
        try:
            if self._sampler.takes(app.trace, observed=bool(app.observers)):
                with self._begin() as span, CallScope():
                    return await work(span.record)
            return await self._run_counted(work)
        finally:
            leave_root(root)

    async def _run_counted(self, work: Work[_Result]) -> _Result:
        begun = perf_counter()
        tally = Tally(self.name, self._app.statistics)
        token = begin_tally(tally)
        try:
            with CallScope():
                result = await work(tally.record)
        except BaseException as error:
            end_tally(token)
            record_failure(self._begin(), begun, error)
            raise
        finally:
            tally.ended = True
        end_tally(token)
        self._app.statistics.count(self.name)
        return result

    def _begin(self) -> Span:
        app = self._app
        return begin_call(self.name, None, app.values, app.observers, app.statistics)
