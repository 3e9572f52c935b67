"""Tally: counts and fallbacks of a call that is not traced."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar

from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.core.trace.span import current
from conduit_lab.core.trace.stage_statistics import StageStatistics

_Result = TypeVar("_Result")


class Tally:
    """An outermost call without spans: its stages are counted but not timed.

    `stage` is the name of the running stage. `record` has the fallbacks and devices, as for a
    traced call, and `values` holds `run.values`, None until first used.
    """

    __slots__ = ("ended", "name", "record", "shared", "stage", "statistics")

    def __init__(self, name: str, statistics: StageStatistics) -> None:
        self.name = self.stage = name
        self.statistics = statistics
        self.record = CallRecord()
        self.shared: dict[str, Any] | None = None
        self.ended = False

    def call(self, name: str, function: Callable[[Any], _Result], value: Any) -> _Result:
        """Count a call of stage `name`, and make it."""
        self.statistics.count(name)
        outer, self.stage = self.stage, name
        try:
            return function(value)
        except BaseException:
            self.statistics.count_error(name)
            raise
        finally:
            self.stage = outer

    async def acall(
        self, name: str, function: Callable[[Any], Coroutine[Any, Any, _Result]], value: Any
    ) -> _Result:
        """Count a call of stage `name`, and await it."""
        self.statistics.count(name)
        outer, self.stage = self.stage, name
        try:
            return await function(value)
        except BaseException:
            self.statistics.count_error(name)
            raise
        finally:
            self.stage = outer

    def counted(self, name: str) -> CountedBlock:
        """Return a context manager that counts as one call of stage `name`; yields None."""
        return CountedBlock(self.statistics, name)


class CountedBlock:
    """A block that counts as a call of a stage."""

    __slots__ = ("_name", "_statistics")

    def __init__(self, statistics: StageStatistics, name: str) -> None:
        self._statistics = statistics
        self._name = name

    def __enter__(self) -> None:
        self._statistics.count(self._name)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        if error is not None:
            self._statistics.count_error(self._name)


_tally: ContextVar[Tally | None] = ContextVar("conduit_lab_tally", default=None)

# Inside a traced call, an enclosing tally counts nothing: check for a span first.
tallying = _tally.get
begin_tally = _tally.set
end_tally = _tally.reset


def is_observed() -> bool:
    """Return whether a call here is traced or counted."""
    return current() is not None or tallying() is not None
