"""OpenTelemetry: export finished traces as OpenTelemetry spans for any collector.

Model calls follow the semantic conventions for generative AI,
https://github.com/open-telemetry/semantic-conventions-genai (in development, 2026). Values are not
exported.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from conduit_lab.core.errors import MissingExtra
from conduit_lab.core.text import first_line
from conduit_lab.core.trace import span_facts
from conduit_lab.core.version import __version__

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span
    from conduit_lab.core.trace.trace import Trace

PROVIDER = "conduit_lab"


class OpenTelemetryExporter:
    """Exports finished traces: `app.observers.append(OpenTelemetryExporter())`, or `export(trace)`.

    As an observer it exports each outermost call when it ends, on the thread that ends it; the
    spans become children of the current OpenTelemetry span. Pass a `tracer`, or set up
    OpenTelemetry's tracer provider as for any other library. Raises `MissingExtra` if OpenTelemetry
    is not installed.
    """

    def __init__(self, tracer: Any = None) -> None:
        self._api = _opentelemetry()
        self._tracer = tracer or self._api.get_tracer("conduit_lab", __version__)

    def span_started(self, span: Span) -> None:
        """Do nothing: a call is exported when it ends."""

    def span_ended(self, span: Span) -> None:
        """Export the call if `span` is its outermost span."""
        # a span may outlive its call and end later; only the outermost one starts at 0
        if span.recording.ended and span.start == 0.0:
            self._export(span)

    def export(self, trace: Trace) -> None:
        """Export a trace whose call has ended.

        Spans that are still running, or were dropped from the trace, are left out. Wall-clock times
        are derived from the monotonic clock and the current wall-clock time.
        """
        self._export(trace.root)

    def _export(self, root: Span) -> None:
        # if the wall clock was adjusted since the call, all its spans shift alike
        origin = time.time_ns() - _nanoseconds(perf_counter() - root.recording.origin)
        parents: list[Any] = []  # context of the last span at each depth
        for depth, span in root.walk():
            context = parents[min(depth, len(parents)) - 1] if depth and parents else None
            del parents[depth:]
            if not span.ended:
                parents.append(context)
                continue
            exported = self._tracer.start_span(
                _name(span),
                context=context,
                attributes=_attributes(span),
                start_time=origin + _nanoseconds(span.start),
            )
            if span.error is not None:
                status = self._api.Status(self._api.StatusCode.ERROR, first_line(span.error))
                exported.set_status(status)
            exported.end(origin + _nanoseconds(span.start + span.duration))
            parents.append(self._api.set_span_in_context(exported))


def _opentelemetry() -> Any:
    try:
        from opentelemetry import trace
    except ImportError:
        raise MissingExtra("opentelemetry-sdk", "otel", "OpenTelemetryExporter") from None
    return trace


def _nanoseconds(seconds: float) -> int:
    # rounded before it is added: floats have a resolution of 256 ns at today's times
    return round(seconds * 1e9)


def _operation(span: Span) -> str:
    """Return the operation's name in the conventions, or "" if it has none."""
    if span.kind == "generate":
        is_chat = isinstance(span.given, list) and all(isinstance(m, dict) for m in span.given)
        return "chat" if is_chat else "text_completion"
    return {"encode": "embeddings", "search": "retrieval"}.get(span.kind, "")


def _name(span: Span) -> str:
    operation = _operation(span)
    return f"{operation} {span.name}" if operation else span.name


def _attributes(span: Span) -> Mapping[str, str | int | float | bool | list[str]]:
    found: dict[str, Any] = {
        "conduit_lab.kind": span.kind,
        "conduit_lab.device": span_facts.device(span) or None,
        "conduit_lab.rows": span_facts.rows(span),
        "conduit_lab.remark": span_facts.remarks(span.attributes) or None,
        "conduit_lab.fallback": span.attributes.get("fallback"),
        "error.type": None if span.error is None else _qualified(type(span.error)),
    }
    found |= {f"conduit_lab.{mark}": True for mark in span_facts.marks(span)}
    if operation := _operation(span):
        found |= {"gen_ai.operation.name": operation, "gen_ai.provider.name": PROVIDER}
        place = "gen_ai.data_source.id" if operation == "retrieval" else "gen_ai.request.model"
        found[place] = span.name
    if operation == "embeddings":
        shape = getattr(span.output, "shape", None)
        found["gen_ai.embeddings.dimension.count"] = int(shape[-1]) if shape else None
    if (usage := span.attributes.get("usage")) is not None:
        reason = getattr(span.output, "finish_reason", None)
        found |= {
            "gen_ai.usage.input_tokens": getattr(usage, "prompt", None),
            "gen_ai.usage.output_tokens": getattr(usage, "generated", None),
            "gen_ai.usage.cache_read.input_tokens": getattr(usage, "cached", None),
            "gen_ai.response.finish_reasons": None if reason is None else [str(reason)],
        }
    return {key: value for key, value in found.items() if value is not None}


def _qualified(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
