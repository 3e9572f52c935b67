"""Facts of a span for display: its device, rows, input and output, remarks and error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from conduit_lab.core.text import first_line
from conduit_lab.core.trace.attributes import Attributes
from conduit_lab.core.trace.described import described
from conduit_lab.core.trace.self_time import elapsed
from conduit_lab.core.views import figures

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span

DROPPED = "dropped"
RUNNING = "● running"


def time_text(span: Span) -> str:
    """Return the span's duration with its unit, up to now if it is still running."""
    return figures.seconds(elapsed(span))


def device(span: Span) -> str:
    """Return the device that ran the span: the recorded one, or else its model's; opens nothing."""
    recorded = span.attributes.get("device")
    if recorded is not None:
        return recorded
    state = getattr(getattr(span.target, "held", None), "state", "")
    return "" if state == "evicted" else str(state)


def rows(span: Span) -> int | None:
    """Return the batch size: the recorded one, or else the length of the input or output batch."""
    recorded = span.attributes.get("rows")
    if recorded is not None or span.kind not in ("predict", "encode"):
        return recorded
    if isinstance(span.input, list) or (isinstance(span.output, list)):
        return len(span.output if isinstance(span.output, list) else span.input)
    of_rows = isinstance(span.output, Sequence) and hasattr(span.output, "labels")
    return len(span.output) if of_rows else None


def input_text(span: Span) -> str:
    """Describe the input, also if it was dropped; "" if it was not retained."""
    return _value_text(span, span.input, 0)


def output_text(span: Span) -> str:
    """Describe the output, also if it was dropped; "" if it was not retained."""
    return _value_text(span, span.output, 1)


def _value_text(span: Span, value: Any, place: int) -> str:
    if span.forgotten:
        shapes = getattr(span, "shapes", None)
        return f"{shapes[place]}, {DROPPED}" if shapes else DROPPED
    return "" if value is None else described(value)


def marks(span: Span) -> list[str]:
    """Return the notable states of a span, one word each."""
    states = [key for key in ("cached", "kept") if span.attributes.get(key)]
    return states if span.ended else [*states, RUNNING]


def error_text(span: Span) -> str:
    """Return the type and first line of the span's error, or ""."""
    if span.error is None:
        return ""
    kind, line = type(span.error).__name__, first_line(span.error)
    return kind if line == kind else f"{kind}: {line}"


def remarks(attributes: Attributes) -> str:
    """Return a span's attributes as one line."""
    parts: list[Any] = []
    if reason := attributes.get("device_fallback"):
        parts.append(f"cpu: {reason}")
    if stage := attributes.get("fallback"):
        parts.append(f"answered by {stage}")
    parts += [attributes[key] for key in ("usage", "plan", "detail") if key in attributes]
    return " · ".join(map(str, parts))
