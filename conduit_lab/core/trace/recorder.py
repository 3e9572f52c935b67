"""Recording: stages that run inside a call become spans, and calls nest.

Unless a `record` block is active, nothing is recorded, at the cost of reading one context variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Unpack, cast

from conduit_lab.core.trace.attributes import Attributes
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.trace.root_span import begin_call as begin_call
from conduit_lab.core.trace.span import Kind, Observer, Span, current
from conduit_lab.core.trace.stage_statistics import StageStatistics
from conduit_lab.core.trace.tally import tallying
from conduit_lab.core.trace.trace import Trace

_NOTHING: AbstractContextManager[None] = nullcontext()


class record:
    """Record everything that runs inside the block, on this thread or task and those it starts.

    Returns the `Trace`. A nested block becomes a span of the outer one, with its own record.
    `values` retains the inputs and outputs (default: the newest 32 MiB of this trace alone),
    `observers` see each span, and `statistics` count them; all three come from the outermost block.
    """

    __slots__ = ("_root",)

    def __init__(
        self,
        name: str,
        target: Any = None,
        *,
        values: Values | None = None,
        observers: Sequence[Observer] = (),
        statistics: StageStatistics | None = None,
    ) -> None:
        kept = Values() if values is None else values
        self._root = begin_call(name, target, kept, observers, statistics)

    def __enter__(self) -> Trace:
        return Trace(self._root.__enter__())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        self._root.__exit__(kind, error, place)


def span(
    name: str,
    kind: Kind,
    target: Any = None,
    value: Any = None,
    **attributes: Unpack[Attributes],
) -> AbstractContextManager[Span | None]:
    """Return a context manager for a span under the current one; yields None if there is none."""
    parent = current()
    if parent is None:
        tally = tallying()
        return _NOTHING if tally is None else tally.counted(name)
    span = parent.child(name, kind, target, value)
    if attributes:
        span.annotate(**attributes)
    return span


def kept(name: str, kind: Kind, target: Any, value: Any, arguments: Any) -> Span | None:
    """Return a span with the output that a rerun keeps for this call; None if it has to run.

    `arguments` are those besides the value that affect the output.
    """
    here = current()
    if here is None or (replay := here.recording.replay) is None:
        return None
    return cast("Span | None", replay.kept(here, name, kind, target, value, arguments))


def count_stage(name: str) -> None:
    """Count a call of stage `name` inside a call that is not traced."""
    if (tally := tallying()) is not None:
        tally.statistics.count(name)


def annotate(**attributes: Unpack[Attributes]) -> None:
    """Set attributes of the current span, if there is one."""
    if (here := current()) is not None:
        here.annotate(**attributes)
    elif (tally := tallying()) is not None:
        tally.record.add(tally.stage, attributes)


def touch(**attributes: Unpack[Attributes]) -> None:
    """Add the attributes of a call without its own span to the record of the enclosing call."""
    if (here := current()) is not None:
        here.record.add(here.name, attributes)
