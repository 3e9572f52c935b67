"""The view of a span: its facts, and short forms of its input and output."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from conduit_lab.core import views
from conduit_lab.core.text import one_line
from conduit_lab.core.trace import span_facts
from conduit_lab.core.trace.described import described
from conduit_lab.core.trace.self_time import self_seconds
from conduit_lab.core.views import figures

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span

MAX_PREVIEW = 200  # characters of a value
_PREVIEW_ITEMS = 8


def span_view(span: Span) -> views.View:
    """Return the view of a span. It only reads recorded values."""
    facts = [span.kind, span_facts.time_text(span), *span_facts.marks(span)]
    rows = [
        ("self time", figures.seconds(self_seconds(span)) if span.children else ""),
        ("device", span_facts.device(span)),
        ("rows", "" if (rows := span_facts.rows(span)) is None else figures.count(rows)),
        ("remark", span_facts.remarks(span.attributes)),
        ("input", _shown(span_facts.input_text(span), span.input, "span.input")),
        ("output", _shown(span_facts.output_text(span), span.output, "span.output")),
        ("error", f"✕ {error}" if (error := span_facts.error_text(span)) else ""),
    ]
    table = views.Table(("property", "value"), [row for row in rows if row[1]], wide=("value",))
    return views.View("Span", span.name, facts, [table])


def span_line(span: Span) -> str:
    """Return a span as one line, for its repr: `Span('topic', predict, 0.210 ms, …)`."""
    parts = [repr(span.name), span.kind, span_facts.time_text(span), *span_facts.marks(span)]
    flow = [span_facts.input_text(span), span_facts.output_text(span)]
    if any(flow):
        parts.append(" → ".join(text or "None" for text in flow))
    if error := span_facts.error_text(span):
        parts.append(f"✕ {error}")
    return f"Span({', '.join(parts)})"


def _shown(description: str, value: Any, whole: str) -> str:
    preview = _preview(value)
    if preview in ("", description):
        return description
    more = f" all of it: {whole}" if preview.endswith("…") else ""
    return f"{description}: {preview}{more}"


def _preview(value: Any) -> str:
    """Return the beginning of a value of a known type, or "" for any other."""
    if isinstance(value, str):
        return one_line(value, MAX_PREVIEW)
    if type(value) is np.ndarray and value.size and value.dtype.kind in "fiub":
        first = ", ".join(described(item) for item in value.flat[:_PREVIEW_ITEMS].tolist())
        return first + (", …" if value.size > _PREVIEW_ITEMS else "")
    if isinstance(value, dict):
        items = (f"{key}: {_preview(item) or described(item)}" for key, item in value.items())
        return _joined(items, len(value))
    if type(value) in (list, tuple):
        items = (_preview(item) or described(item) for item in value)
        return _joined(items, len(value))
    return ""


def _joined(items: Iterable[str], count: int) -> str:
    """Return the first items on one line, with an ellipsis if there are more."""
    line = one_line(", ".join(islice(items, _PREVIEW_ITEMS)), MAX_PREVIEW)
    return line if count <= _PREVIEW_ITEMS or line.endswith("…") else f"{line}, …"
