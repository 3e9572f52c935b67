"""Hints: what they claim, and that they claim no more than the trace shows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.stage import Function
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span import Kind, Span
from conduit_lab.core.trace.trace import Trace
from tests.core.trace.made import span, trace

vector = np.arange(4.0)
other = np.ones(4)


def model(name: str, suffix: str = ".onnx") -> Any:
    return SimpleNamespace(name=name, path=Path(f"{name}{suffix}"), batch=list)


TOPIC, MOOD = model("topic"), model("mood")


def predict(target: Any, start: float, end: float, given: Any, gave: Any = None) -> Span:
    return span(target.name, start, end, kind="predict", target=target, given=given, gave=gave)


# In parallel


def analyzed(kind: Kind = "predict", **more: Any) -> Trace:
    """A call that embeds a text and then runs two models on the vector, in turn."""
    encode = span("minilm", 0, 1, kind="encode", given="the text", gave=vector)
    mood = span("mood", 3, 7, kind=kind, target=MOOD, given=vector, gave="calm")
    return trace(
        encode, predict(TOPIC, 1, 3, vector), mood, seconds=7, given={"text": "the text"}, **more
    )


def test_stages_that_read_neither_output_could_run_in_parallel() -> None:
    (hint,) = analyzed().hints
    assert hint == (
        "'topic' and 'mood' do not read each other's output: in parallel they would save at most "
        "2.00 s of 6.00 s. `Parallel({'topic': …, 'mood': …})`"
    )
    assert hint in repr(analyzed())


def test_a_saving_of_less_than_the_threads_cost_is_no_hint() -> None:
    two = [predict(TOPIC, 0, 9e-5, vector), predict(MOOD, 1e-4, 2e-4, vector)]
    assert trace(*two, seconds=2e-4, given=vector).hints == []


def test_a_saving_of_less_than_a_hundredth_of_the_call_is_no_hint() -> None:
    two = [predict(TOPIC, 0, 1, vector), predict(MOOD, 1, 2, vector)]
    assert len(trace(*two, seconds=99, given=vector).hints) == 1
    assert trace(*two, seconds=101, given=vector).hints == []


def test_plain_python_functions_do_not_run_in_parallel() -> None:
    assert analyzed(kind="call").hints == []


DEPENDENT: dict[str, list[Span]] = {
    "it reads the output": [
        predict(TOPIC, 0, 1, vector, other),
        predict(MOOD, 1, 2, other),
    ],
    "it reads a part of the output": [
        predict(TOPIC, 0, 1, vector, {"a": other}),
        predict(MOOD, 1, 2, [other[:2]]),
    ],
    "its input is not known": [
        predict(TOPIC, 0, 1, vector),
        predict(MOOD, 1, 2, other * 2),
    ],
    "a part of its input is not known": [
        predict(TOPIC, 0, 1, vector),
        predict(MOOD, 1, 2, [vector, 7]),
    ],
    "they did run in parallel": [
        predict(TOPIC, 0, 1, vector),
        predict(MOOD, 0.5, 2, vector),
    ],
}


@pytest.mark.parametrize("why", DEPENDENT)
def test_stages_that_may_depend_on_each_other_are_no_hint(why: str) -> None:
    hints = trace(*DEPENDENT[why], seconds=2, given=vector).hints
    assert [hint for hint in hints if "in parallel" in hint] == []


def test_the_stages_of_a_combinator_are_no_hint() -> None:
    combinator = SimpleNamespace(children=(TOPIC, MOOD))
    assert analyzed(target=combinator).hints == []


# Fused


def chain(*models: Any, **more: Any) -> list[str]:
    values = [np.full(2, n) for n in range(len(models) + 1)]
    spans = [predict(m, n, n + 1, values[n], values[n + 1]) for n, m in enumerate(models)]
    return trace(*spans, seconds=len(models), given=values[0], gave=values[-1], **more).hints


def test_onnx_models_whose_values_nobody_else_reads_could_be_one_graph() -> None:
    assert chain(model("a"), model("b"), model("c")) == [
        "'a', 'b' and 'c' could be one graph, since nothing else reads the values between them: "
        "that saves at most the overhead of 2 runs; they took 1.00 s, 1.00 s and 1.00 s. "
        "`Sequential(a, b, c).fused(sample)`"
    ]
    (hint,) = chain(model("a"), model("b"), model("c", ".npz"))
    assert hint.startswith("'a' and 'b' could be one graph") and "1 run;" in hint


def test_models_whose_values_are_read_by_others_stay_apart() -> None:
    first, last = predict(TOPIC, 0, 1, vector, other), predict(MOOD, 1, 2, other)
    reader = span("reader", 2, 3, given=[other])
    assert len(trace(first, last, seconds=3).hints) == 1
    assert trace(first, last, reader, seconds=3).hints == []
    assert trace(first, last, seconds=3, gave={"between": other}).hints == []
    assert trace(first, predict(MOOD, 1, 2, other[:2]), seconds=3).hints == []


# Again, and in a loop


def test_calls_with_an_input_that_a_model_had_before_could_be_cached() -> None:
    calls = [predict(TOPIC, n, n + 1, vector.copy()) for n in range(2)]
    calls.append(predict(TOPIC, 2, 3, other))
    hints = trace(*calls, seconds=3).hints
    assert hints[-1] == (
        "1 call of 'topic' had an input that it had before: a cache would save at most 1.00 s. "
        "`Cached(topic)`"
    )


def test_other_arguments_and_cached_answers_are_no_repetition() -> None:
    once, again = predict(TOPIC, 0, 1, vector), predict(TOPIC, 1, 2, vector)
    again.attributes = {"cached": True}
    assert trace(once, again, seconds=2).hints == []
    again.attributes = {"arguments": {"prompt": "query"}}
    assert trace(once, again, seconds=2).hints == []


def looped(number: int) -> list[Span]:
    return [predict(TOPIC, n, n + 1, np.full(2, n), np.full(3, n)) for n in range(number)]


def test_calls_in_a_loop_could_be_a_batch() -> None:
    assert trace(*looped(3), seconds=3).hints == [
        "3 calls of 'topic' in turn took 3.00 s: if all inputs are known before the first, they "
        "could be one call. `topic.batch(values)`"
    ]
    assert trace(*looped(2), seconds=2).hints == []


def test_calls_that_read_the_ones_before_are_no_loop() -> None:
    calls = looped(3)
    step = span("step", 1, 1, given=calls[0].gave, gave=other)
    calls[1].given, calls[1].start = other, 1.0
    assert trace(*calls, seconds=3).hints != []
    assert trace(step, *calls, seconds=3).hints == []


def test_calls_that_a_store_makes_are_no_hint() -> None:
    assert trace(span("docs", 0, 3, *looped(3), kind="write"), seconds=3).hints == []


def test_the_largest_comes_first() -> None:
    long = [predict(MOOD, 3 + 2 * n, 5 + 2 * n, np.full(2, n)) for n in range(3)]
    first, second = trace(*looped(3), *long, seconds=9).hints
    assert "6.00 s" in first and "3.00 s" in second


def test_a_recorded_call_of_quick_functions_has_no_hints() -> None:
    stage = Function(str, name="stage")
    with recorder.record("call") as recorded:
        stage(1)
        stage(1)
    assert recorded.hints == []


def test_values_that_contain_themselves_end() -> None:
    circle: list[Any] = []
    circle.append(circle)
    calls = [predict(TOPIC, n, n + 1, circle) for n in range(2)]
    assert trace(*calls, seconds=2).hints == []
