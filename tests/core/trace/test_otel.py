"""Finished traces as spans of OpenTelemetry, in its own in-memory exporter."""

from __future__ import annotations

import builtins
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab import Lab
from conduit_lab.core.errors import MissingExtra
from conduit_lab.core.stage import Function
from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.otel import OpenTelemetryExporter
from tests.core.trace.made import span, trace

pytest.importorskip("opentelemetry.sdk", reason="needs the extra [otel]")


class Collected:
    """A tracer, and the spans that were exported through it, oldest start first."""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._memory = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._memory))
        self.tracer = self.provider.get_tracer("test")

    @property
    def spans(self) -> list[Any]:
        return sorted(self._memory.get_finished_spans(), key=lambda each: each.start_time)


@pytest.fixture
def collected() -> Iterator[Collected]:
    made = Collected()
    yield made
    made.provider.shutdown()


def test_a_trace_is_a_tree_with_its_times(collected: Collected) -> None:
    leaf = Function(lambda value: value, name="leaf")
    before = time.time_ns()
    with recorder.record("call") as recorded:
        Function(lambda value: leaf(leaf(value)), name="outer")(1)
        leaf(2)
    OpenTelemetryExporter(collected.tracer).export(recorded)
    after = time.time_ns()
    root, outer, first, second, last = collected.spans
    assert [each.name for each in collected.spans] == ["call", "outer", "leaf", "leaf", "leaf"]
    assert root.parent is None
    parents = [each.parent.span_id for each in (outer, first, second, last)]
    assert parents == [each.context.span_id for each in (root, outer, outer, root)]
    assert before - 1_000_000 < root.start_time <= outer.start_time <= outer.end_time
    assert outer.end_time <= root.end_time < after + 1_000_000
    assert root.end_time - root.start_time == round(recorded.root.duration * 1e9)


def test_an_observer_exports_each_outermost_call_once(collected: Collected) -> None:
    exporter = OpenTelemetryExporter(collected.tracer)
    with recorder.record("outer", observers=[exporter]):
        with recorder.record("inner"):
            Function(str, name="stage")(1)
        assert collected.spans == []
    assert [each.name for each in collected.spans] == ["outer", "inner", "stage"]


def test_a_span_that_outlives_its_call_is_no_call_of_its_own(collected: Collected) -> None:
    exporter = OpenTelemetryExporter(collected.tracer)
    stream: PushedStream[int] = PushedStream()
    with (
        recorder.record("call", observers=[exporter]),
        recorder.span("tokens", "generate") as tokens,
    ):
        assert tokens is not None
        tokens.follow(stream)
    stream.start()
    stream.finish()
    assert tokens.ended
    assert [each.name for each in collected.spans] == ["call"]


def test_a_span_belongs_to_the_span_around_the_call(collected: Collected) -> None:
    with collected.tracer.start_as_current_span("request") as request:
        OpenTelemetryExporter(collected.tracer).export(trace(seconds=1))
    exported = next(each for each in collected.spans if each.name == "call")
    assert exported.parent.span_id == request.get_span_context().span_id


def test_model_calls_have_the_names_of_the_conventions(collected: Collected) -> None:
    usage = type("Usage", (), {"prompt": 6, "cached": 2, "generated": 8})()
    said = type("Said", (str,), {"finish_reason": "stop"})("Hello")
    recorded = trace(
        span("minilm", 0, 1, kind="encode", gave=np.zeros((2, 384)), attributes={"device": "cpu"}),
        span("handbook", 1, 2, kind="search"),
        span("writer", 2, 3, kind="generate", given="Dear", gave=said, attributes={"usage": usage}),
        span("writer", 3, 4, kind="generate", given=[{"role": "user", "content": "Hi"}]),
        span("topic", 4, 5, kind="predict", attributes={"rows": 3, "cached": True}),
        seconds=5,
    )
    OpenTelemetryExporter(collected.tracer).export(recorded)
    _, embedded, retrieved, completed, chatted, predicted = collected.spans
    assert (embedded.name, dict(embedded.attributes)) == (
        "embeddings minilm",
        {
            "conduit_lab.kind": "encode",
            "conduit_lab.device": "cpu",
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": "conduit_lab",
            "gen_ai.request.model": "minilm",
            "gen_ai.embeddings.dimension.count": 384,
        },
    )
    assert retrieved.name == "retrieval handbook"
    assert retrieved.attributes["gen_ai.data_source.id"] == "handbook"
    assert completed.name == "text_completion writer"
    assert {key: value for key, value in completed.attributes.items() if "usage" in key} == {
        "gen_ai.usage.input_tokens": 6,
        "gen_ai.usage.output_tokens": 8,
        "gen_ai.usage.cache_read.input_tokens": 2,
    }
    assert completed.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert chatted.name == "chat writer"
    assert (predicted.name, dict(predicted.attributes)) == (
        "topic",
        {"conduit_lab.kind": "predict", "conduit_lab.rows": 3, "conduit_lab.cached": True},
    )
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

    known = {value for key, value in vars(gen_ai_attributes).items() if key.startswith("GEN_AI")}
    used = {key for each in collected.spans for key in each.attributes if "gen_ai" in key}
    assert used <= known


def test_an_error_is_the_status_and_the_type(collected: Collected) -> None:
    from opentelemetry.trace import StatusCode

    failed = span("a", 0, 1, error=ValueError("no\nsecond line"))
    missing = span("b", 1, 2, error=MissingExtra("x", "y", "z"))
    OpenTelemetryExporter(collected.tracer).export(trace(failed, missing, seconds=2))
    root, first, second = collected.spans
    assert root.status.status_code is StatusCode.UNSET
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, "no")
    assert first.attributes["error.type"] == "ValueError"
    assert second.attributes["error.type"] == "conduit_lab.core.errors.MissingExtra"


def test_running_spans_are_left_out_and_those_below_stay(collected: Collected) -> None:
    running = span("running", 0, None, span("ended", 0, 1))
    OpenTelemetryExporter(collected.tracer).export(trace(running, seconds=2))
    root, ended = collected.spans
    assert (root.name, ended.name) == ("call", "ended")
    assert ended.parent.span_id == root.context.span_id


def test_an_app_exports_its_calls(tmp_path: Path, collected: Collected) -> None:
    lab = Lab("desk", root=tmp_path)
    lab.observers.append(OpenTelemetryExporter(collected.tracer))

    @lab.post("/add")
    def add(n: int) -> int:
        return int(Function(lambda value: value + 1, name="plus")(n))

    assert add(1) == 2
    assert [each.name for each in collected.spans] == ["add", "plus"]


def test_without_opentelemetry_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return found(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtra, match=r"conduit-lab\[otel\]"):
        OpenTelemetryExporter()
