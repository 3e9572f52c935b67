"""Sampled traces: counts, headers and values are the same with and without spans."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import Any

import pytest

from conduit_lab import App, Lab
from conduit_lab.core.errors import EndpointError
from conduit_lab.core.run import run
from conduit_lab.core.stage import Function
from conduit_lab.core.trace.span import Span, current
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.sequential import Sequential
from conduit_lab.serving.trace_sampling import FIRST_TRACED_CALLS, SAMPLE_EVERY, TraceSampler
from tests.serving.conftest import Ask

CALLS = FIRST_TRACED_CALLS + 10


class Spans:
    """An observer that keeps the names and errors of ended spans."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[tuple[str, BaseException | None]] = []

    def span_started(self, span: Span) -> None:
        self.started.append(span.name)

    def span_ended(self, span: Span) -> None:
        self.ended.append((span.name, span.error))


def test_the_first_calls_and_then_a_share_are_traced() -> None:
    sampler = TraceSampler()
    taken = [n for n in range(1, 301) if sampler.takes("sample", observed=False)]
    assert taken == [*range(1, FIRST_TRACED_CALLS + 1), *range(SAMPLE_EVERY, 301, SAMPLE_EVERY)]
    assert sampler.takes("sample", observed=True)
    assert sampler.takes("always", observed=False)
    assert not sampler.takes("errors", observed=True)


def test_an_app_samples_and_a_lab_traces_every_call(app: App, lab: Lab, asking: Ask) -> None:
    for each in (app, lab):
        each.get("/traced")(lambda: current() is not None)
        client = asking(each)
        traced = [client.get("/traced").json() for _ in range(CALLS)]
        assert traced.count(True) == (FIRST_TRACED_CALLS if each is app else CALLS)
    with pytest.raises(EndpointError, match="App\\(trace=\\) expected one of 'always', 'sample'"):
        App("desk", root=app.root, trace="never")  # type: ignore[arg-type]


def composed(app: App) -> None:
    """Serve a pipeline of several kinds of stages, sync and async, that fails for 0."""
    half = Function(lambda value: 1 / value, "half")
    chain = Sequential(Fallback(half, lambda value: 7 // value, name="either"), abs, name="chain")
    both = Parallel({"one": chain}, name="both")

    def calling(value: Any) -> Any:
        return both(value)

    app.post("/sync")(calling)

    async def awaiting(value: Any) -> Any:
        return await both.acall(value)

    app.post("/async")(awaiting)
    app.ml_endpoint("/endpoint", model=both)(lambda value: value)


def test_every_call_of_every_stage_counts_once_however_it_is_traced(
    tmp_path: Path, asking: Ask
) -> None:
    counts = {}
    for mode in ("always", "sample", "errors"):
        app = App("desk", root=tmp_path, trace=mode)
        composed(app)
        client = asking(app)
        for path in ("/sync", "/async", "/endpoint"):
            for n in range(CALLS):
                answer = client.post(path, json=n % 5)
                assert answer.status_code == (500 if n % 5 == 0 else 200)
        counts[mode] = {each: (s.calls, s.errors) for each, s in app.statistics.items()}
    assert counts["always"] == counts["sample"] == counts["errors"]
    assert counts["sample"]["half"] == (3 * CALLS, 3 * 6)


def test_times_are_those_of_the_traced_calls(tmp_path: Path, asking: Ask) -> None:
    app = App("desk", root=tmp_path, trace="errors")
    composed(app)
    client = asking(app)
    client.post("/sync", json=4)
    assert isnan(app.statistics["both"].p50)
    assert "both" in app.statistics._repr_mimebundle_()["text/html"]
    assert app.statistics.calls == len(app.statistics) == 6
    client.post("/sync", json=0)
    assert app.statistics["calling"].p99 >= 0  # that of the span of its failure
    assert app.statistics["calling"].errors == 1


def test_a_fallback_is_told_in_every_answer(app: App, asking: Ask) -> None:
    def fails(value: Any) -> None:
        raise OSError("broken")

    stages = Fallback(fails, Function(lambda value: value, "spare"), name="either")
    app.ml_endpoint("/endpoint", model=stages)(lambda value: value)
    app.post("/sync")(lambda value: stages(value))
    client = asking(app)
    for path in ("/endpoint", "/sync"):
        headers = [client.post(path, json=1).headers for _ in range(CALLS)]
        assert [each.get("x-conduit-fallback") for each in headers] == ["spare"] * CALLS


def test_the_stages_of_a_call_share_values_without_a_trace(app: App, asking: Ask) -> None:
    def put(value: Any) -> Any:
        run.values["kept"] = value
        assert "shared" in repr(run)
        return value

    chain = Sequential(put, lambda value: run.values["kept"] + 1)

    @app.post("/shared")
    def shared(value: int) -> Any:
        return chain(value)

    client = asking(app)
    assert [client.post("/shared", json={"value": n}).json() for n in range(CALLS)] == [
        *range(1, CALLS + 1)
    ]


def test_observers_see_every_call_or_the_failed_ones(tmp_path: Path, asking: Ask) -> None:
    for mode, seen in (("sample", CALLS + 1), ("errors", 1)):
        app = App("desk", root=tmp_path, trace=mode)  # type: ignore[arg-type]
        spans = Spans()
        app.observers.append(spans)

        @app.post("/divide")
        def divide(value: int) -> float:
            return 1 / value

        client = asking(app)
        for n in (*range(1, CALLS + 1), 0):
            client.post("/divide", json={"value": n})
        assert spans.started == ["divide"] * seen
        assert [name for name, _ in spans.ended] == spans.started
        assert isinstance(spans.ended[-1][1], ZeroDivisionError)
        assert app.statistics["divide"].calls == CALLS + 1


def test_a_call_inside_another_one_that_is_not_traced_is_traced_whole(
    app: App, asking: Ask
) -> None:
    names: list[str | None] = []
    inner = Function(lambda value: names.append(getattr(current(), "name", None)), "inner")

    @app.post("/below")
    def below(value: int) -> Any:
        return inner(value)

    app.post("/above")(lambda value: below(value))
    client = asking(app)
    for _ in range(CALLS):
        client.post("/above", json=1)
    assert names == ["inner"] * CALLS
    assert app.statistics["below"].calls == app.statistics["inner"].calls == CALLS
