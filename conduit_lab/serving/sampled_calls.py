"""SampledCalls: served calls, with a root span or only counted, according to `App(trace=)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from time import perf_counter
from typing import Any

from conduit_lab.core.paths import enter_root, leave_root
from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.core.trace.root_span import record_failure
from conduit_lab.core.trace.span import Span
from conduit_lab.core.trace.tally import Tally, begin_tally, end_tally
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.trace_sampling import TraceSampler


class SampledCalls(ABC):
    """The calls of one `name`, which is also their row in the app's statistics.

    `begin` returns the root span of a call, not yet entered. A failed call has a span in any mode.
    """

    __slots__ = ("_begin", "_sampler", "app", "name")

    def __init__(self, app: EndpointHost, name: str, begin: Callable[[Any], Span]) -> None:
        self.name = name
        self.app = app
        self._begin = begin
        self._sampler = TraceSampler()

    async def run(self, *call: Any) -> Any:
        """Run one call under the app's root."""
        app = self.app
        root = enter_root(app.root)
        try:
            if self._sampler.takes(app.trace, observed=bool(app.observers)):
                with self._begin(call[0]) as span:
                    return await self._work(span.record, *call)
            begun = perf_counter()
            tally = Tally(self.name, app.statistics)
            token = begin_tally(tally)
            try:
                result = await self._work(tally.record, *call)
            except BaseException as error:
                end_tally(token)
                self.record_failure(call[0], begun, error)
                raise
            finally:
                tally.ended = True
            end_tally(token)
            app.statistics.count(self.name)
            return result
        finally:
            leave_root(root)

    def skips_trace(self) -> bool:
        """Return whether the next call is not traced, and count it if so; `run` counts others."""
        return self._sampler.skips(self.app.trace, observed=bool(self.app.observers))

    def record_failure(self, call: Any, begun: float, error: BaseException) -> None:
        """Record a root span for a failed call that had none."""
        record_failure(self._begin(call), begun, error)

    @abstractmethod
    async def _work(self, record: CallRecord, *call: Any) -> Any:
        """Run the call and fill in its `record`."""
