"""The JSON form and the table of a trace: facts about its spans, with values only described."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from conduit_lab.core.text import clip
from conduit_lab.core.trace import span_facts
from conduit_lab.core.trace.hints import hints
from conduit_lab.core.trace.self_time import elapsed, self_seconds

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span

MAX_JSON_BYTES = 64 * 2**10
MAX_TEXT = 200  # characters of a name, a remark or an error

_ROOM_BYTES = 4 * 2**10  # reserved for facts outside the spans


def span_records(root: Span) -> Iterator[dict[str, Any]]:
    """Yield the facts of each span; times are in seconds, `start` relative to the root."""
    path: list[str] = []
    for depth, span in root.walk():
        path[depth:] = [span.name]
        yield {
            "path": "/".join(path),
            "depth": depth,
            "name": span.name,
            "kind": span.kind,
            "start": span.start - root.start,
            "duration": elapsed(span),
            "self": self_seconds(span),
            "device": span_facts.device(span),
            "rows": span_facts.rows(span),
            "input": span_facts.input_text(span),
            "output": span_facts.output_text(span),
            "cached": bool(span.attributes.get("cached")),
            "kept": bool(span.attributes.get("kept")),
            "remark": span_facts.remarks(span.attributes),
            "error": span_facts.error_text(span),
            "ended": span.ended,
        }


def trace_json(root: Span) -> str:
    """Return the trace as JSON of at most 64 KiB; `more_spans` counts the omitted ones."""
    size = _ROOM_BYTES
    spans: list[dict[str, Any]] = []
    for record in span_records(root):
        del record["path"]
        known = {key: value for key, value in record.items() if value is not False}
        kept = {key: _plain(value) for key, value in known.items() if value not in ("", None)}
        size += len(json.dumps(kept)) + 2
        if size > MAX_JSON_BYTES:
            break
        spans.append(kept)
    whole = {
        "name": clip(root.name, MAX_TEXT),
        "seconds": elapsed(root),
        "more_spans": root.record.spans - len(spans),
        "hints": [clip(sentence, 2 * MAX_TEXT) for sentence in hints(root)[:5]],
        "spans": spans,
    }
    return json.dumps(whole, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int) else clip(str(value), MAX_TEXT)
