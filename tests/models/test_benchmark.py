"""Benchmark and comparison: what is called is what people call, and what is said is what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import InputError, MissingExtra, ModelInputError
from conduit_lab.models.benchmark import Benchmark, benchmark, call_of
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.compare import compare_models
from conduit_lab.models.comparison import Compared, Comparison
from conduit_lab.models.difference import Difference
from conduit_lab.models.embedder import Embedder
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Predictions
from conduit_lab.runtime.timing import Timing

from ..runtime import graphs

SECONDS = 0.01


@pytest.fixture
def linear(tmp_path: Path) -> Model:
    return Model(graphs.linear(tmp_path / "linear.onnx", [[1, 2], [3, 4], [5, 6]]))


def two_inputs(path: Path) -> Path:
    """Write `output = a + b`, float32 `[batch, 2]` each."""
    ends = [graphs.value(name, ["batch", 2]) for name in ("a", "b", "output")]
    return graphs.save(path, [graphs.node("Add", ["a", "b"], ["output"])], ends[:2], ends[2:])


# What is called


@pytest.mark.parametrize("sample", [[1, 2, 3], [[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]])
@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_a_sample_is_repeated_to_each_batch_size(linear: Model, sample: Any, rows: int) -> None:
    call, count = call_of(linear, sample, rows)
    expected = np.resize(linear.predict(np.atleast_2d(np.array(sample, np.float32))), (rows, 2))
    assert count == rows
    assert np.atleast_2d(call()).tolist() == expected.tolist()


def test_one_sample_is_predicted_as_one(linear: Model) -> None:
    assert call_of(linear, [1, 2, 3], 1)[0]().shape == (2,)
    assert call_of(linear, [[1, 2, 3]], 1)[0]().shape == (1, 2)


def test_inputs_by_name_are_repeated_together(tmp_path: Path) -> None:
    model = Model(two_inputs(tmp_path / "sum.onnx"))
    call, rows = call_of(model, {"a": [1, 2], "b": [3, 4]}, 3)
    assert rows == 3
    assert call().tolist() == [[4, 6]] * 3


def test_an_input_without_a_batch_axis_is_left_as_it_is(tmp_path: Path) -> None:
    ends = [graphs.value("x", ["batch", 2]), graphs.value("factor", []), graphs.value("output", ["batch", 2])]
    path = graphs.save(tmp_path / "m.onnx", [graphs.node("Mul", ["x", "factor"], ["output"])], ends[:2], ends[2:])
    call, _ = call_of(Model(path), {"x": [[1, 2]], "factor": np.float32(3)}, 2)
    assert call().tolist() == [[3, 6], [3, 6]]


def test_a_batch_is_taken_as_it_is_where_no_size_is_named(linear: Model) -> None:
    call, rows = call_of(linear, [[1, 2, 3], [4, 5, 6]])
    assert rows == 2
    assert call().tolist() == linear.predict([[1, 2, 3], [4, 5, 6]]).tolist()


def test_a_function_is_called_for_each_sample() -> None:
    seen: list[str] = []
    call, rows = call_of(CallableModel(seen.append), "text", 3)
    call()
    assert (rows, seen) == (3, ["text"] * 3)


def test_texts_are_taken_in_turn(minilm: Embedder) -> None:
    call, rows = call_of(minilm, ["a kettle", "a toaster"], 3)
    vectors = call()
    assert rows == 3
    np.testing.assert_allclose(vectors[2], minilm.encode("a kettle"), atol=1e-5)
    assert call_of(minilm, "a kettle", 1)[0]().shape == (minilm.dimension,)


# Benchmark


def test_a_table_of_batch_sizes(linear: Model) -> None:
    table = benchmark(linear, [1, 2, 3], batch_sizes=[1, 4], seconds=SECONDS)
    assert (table.name, table.device, [timing.rows for timing in table]) == ("linear", "cpu", [1, 4])
    for timing in table:
        assert 0 < timing.p50 <= timing.p90 <= timing.p99
        assert timing.rate == timing.rows / timing.p50


def test_a_plain_function_is_measured_too() -> None:
    table = benchmark(str.upper, "text", batch_sizes=[1], seconds=SECONDS)
    assert (table.name, table.device) == ("upper", "python")


def test_an_embedder_is_measured_with_texts(minilm: Embedder) -> None:
    table = benchmark(minilm, "a kettle", batch_sizes=[1, 2], seconds=SECONDS)
    assert [timing.rows for timing in table] == [1, 2]


def test_batches_that_take_long_are_left_out_and_named() -> None:
    table = benchmark(lambda _: sleep(0.02), None, seconds=0.1)
    assert [timing.rows for timing in table] == [1]
    assert "without batches of 8, 32, 128" in repr(table)


def test_batches_that_were_asked_for_are_measured_however_long() -> None:
    table = benchmark(lambda _: sleep(0.002), None, batch_sizes=[1, 8], seconds=0.01)
    assert [timing.rows for timing in table] == [1, 8]


def test_a_graph_with_a_fixed_batch_is_measured_with_multiples(tmp_path: Path) -> None:
    model = Model(graphs.linear(tmp_path / "fixed.onnx", [[1], [2]], batch=3))
    table = benchmark(model, np.ones((3, 2), np.float32), seconds=SECONDS)
    assert [timing.rows for timing in table] == [3, 6, 30, 126]


@pytest.mark.parametrize("sizes", [[], [0], [1, -1], [1.5]])
def test_batch_sizes_that_are_none_are_refused(linear: Model, sizes: list[Any]) -> None:
    with pytest.raises(InputError, match="batch_sizes are whole numbers from 1 on"):
        benchmark(linear, [1, 2, 3], batch_sizes=sizes)


def test_an_empty_sample_is_refused(linear: Model, minilm: Embedder) -> None:
    with pytest.raises(InputError, match="sample for 'linear' is empty"):
        benchmark(linear, np.zeros((0, 3), np.float32))
    with pytest.raises(InputError, match="at least one text"):
        benchmark(minilm, [])


def test_a_sample_that_does_not_fit_is_refused(linear: Model) -> None:
    with pytest.raises(ModelInputError, match="wants input"):
        benchmark(linear, [1, 2])


def test_a_benchmark_shows_its_figures() -> None:
    table = Benchmark("<m>", "cpu", [Timing(1, 1200, 1e-5, 2e-5, 3e-5), Timing(32, 40, 1e-3, 1e-3, 2e-3)], "a note")
    assert repr(table).splitlines() == [
        "<m> on cpu",
        "batch      p50      p90      p99  samples/s  calls",
        "    1  10.0 µs  20.0 µs  30.0 µs    100\u2009000  1\u2009200",
        "   32  1.00 ms  1.00 ms  2.00 ms     32\u2009000     40",
        "a note",
    ]
    html = table._repr_mimebundle_()["text/html"]
    assert "&lt;m&gt;" in html
    assert "a note" in html


def test_a_benchmark_as_a_frame() -> None:
    frame = Benchmark("m", "cpu", [Timing(4, 9, 0.5, 0.6, 0.7)]).to_pandas()
    assert frame.to_dict("records") == [
        {"batch": 4, "calls": 9, "p50": 0.5, "p90": 0.6, "p99": 0.7, "samples_per_second": 8.0}
    ]


# Comparison


def test_answers_are_compared_with_the_first_models(tmp_path: Path, linear: Model) -> None:
    other = Model(graphs.linear(tmp_path / "other.onnx", [[1, 2], [3, 4], [5, 6.5]]))
    first, second = compare_models([linear, other], [1, 2, 3], seconds=SECONDS)
    assert (first.label, first.speed, first.difference) == ("linear", 1.0, None)
    assert first.size == linear.shared.size
    assert second.path == other.path
    assert second.difference is not None
    assert second.difference.largest == pytest.approx(1.5)


def test_labels_are_compared(tmp_path: Path) -> None:
    paths = []
    for name, weight in {"a": np.eye(2), "b": np.eye(2)[::-1]}.items():
        paths.append(tmp_path / f"{name}.npz")
        np.savez(paths[-1], W=weight, activation=np.array("softmax"), labels=np.array(["no", "yes"]))
    _, same, swapped = compare_models([paths[0], paths[0], paths[1]], [[3, 0], [1, 1]], seconds=SECONDS)
    assert same.difference is not None
    assert same.difference.same_label == 1.0
    assert swapped.difference is not None
    assert swapped.difference.same_label == 0.5
    assert swapped.device == "numpy"


def test_vectors_are_compared_by_their_cosine(minilm: Embedder) -> None:
    _, again = compare_models([minilm, minilm], ["a kettle", "a toaster"], seconds=SECONDS)
    assert again.difference is not None
    assert again.difference.cosine == pytest.approx((1, 1))


def test_answers_of_other_kinds_are_not_compared(tmp_path: Path, linear: Model) -> None:
    wide = Model(graphs.linear(tmp_path / "wide.onnx", np.ones((3, 4))))
    table = compare_models([linear, wide, lambda _: "text", lambda _: {}], [1, 2, 3], seconds=SECONDS)
    assert [row.difference for row in table[1:]] == [None] * 3
    assert repr(table).count("other outputs") == 3


def test_every_model_has_a_label_of_its_own(tmp_path: Path, linear: Model) -> None:
    (tmp_path / "new").mkdir()
    file = tmp_path / "m.npz"
    np.savez(file, W=[[1, 2], [3, 4], [5, 6]])
    models: list[Any] = [
        linear,
        graphs.linear(tmp_path / "new" / "linear.onnx", np.ones((3, 2))),
        Model(file, name="linear"),
    ]
    labels = [row.label for row in compare_models([*models, str, str], [1, 2, 3], seconds=SECONDS)]
    assert labels[2:] == ["linear, numpy", "str, 1", "str, 2"]
    assert labels[0].startswith("linear, cpu, ")
    assert labels[1].endswith("new/linear.onnx")


def test_predictions_of_functions_are_compared() -> None:
    def half(_: Any) -> Any:
        return np.array([0.5, 0.5])

    models = [CallableModel(half, labels=["a", "b"]), CallableModel(half, labels=["a", "b"])]
    _, second = compare_models(models, None, seconds=SECONDS)
    assert second.difference is not None
    assert (second.difference.largest, second.difference.same_label) == (0, 1)


def test_predictions_of_other_labels_are_not_compared() -> None:
    models = [CallableModel(lambda _: np.array([0.5, 0.5]), labels=list(labels)) for labels in ("ab", "ba")]
    assert compare_models(models, None, seconds=SECONDS)[1].difference is None


def test_all_of_a_batch_are_compared() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0]])
    models = [lambda _: Predictions(rows, ["a", "b"]), lambda _: Predictions(rows[::-1], ["a", "b"])]
    difference = compare_models(models, None, seconds=SECONDS)[1].difference
    assert difference is not None
    assert (difference.samples, difference.largest) == (2, 1)


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(InputError, match="at least one model"):
        compare_models([], [1])


def apart(largest: float, relative: float = 0.1, same: float | None = None, cosine: Any = None) -> Difference:
    return Difference(samples=1, relative=relative, worst=1.0, largest=largest, same_label=same, cosine=cosine)


def row(label: str, speed: float = 1.0, difference: Difference | None = None) -> Compared:
    path = Path("/models") / f"{label}.onnx"
    return Compared(label, path, 2048, "cpu", Timing(1, 100, 1e-5 / speed, 2e-5, 3e-5), speed, difference)


@pytest.mark.parametrize(
    ("speeds", "title"),
    [
        ([], "fp32 takes 10.0 µs"),
        ([2.434, 1.0], "m0 is 2.43 times as fast as fp32"),
        ([0.5, 0.8], "fp32 is 1.25 times as fast as m1"),
        ([1.03, 0.97], "m0 is as fast as fp32"),
    ],
)
def test_the_title_is_the_sentence_that_the_figures_support(speeds: list[float], title: str) -> None:
    table = Comparison([row("fp32"), *(row(f"m{i}", speed) for i, speed in enumerate(speeds))])
    assert table.title == title
    assert table.chart.title == title


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (apart(0.0031), "differs by 0.0031"),
        (apart(0.0031, same=1.0), "differs by 0.0031"),
        (apart(0.0031, same=0.96), "differs by 0.0031, same label 96%"),
        (apart(0.01, cosine=(0.98765, 0.999)), "cosine 0.9877"),
        (apart(0.0, relative=0.0), "equal"),
        (apart(0.0, relative=0.25), "25% differ"),
        (None, "other outputs"),
    ],
)
def test_a_difference_is_said_in_words(difference: Difference | None, words: str) -> None:
    table = Comparison([row("fp32"), row("int8", 2, difference)])
    assert repr(table).endswith(f"2.00 ×  {words}")


def test_a_comparison_shows_table_and_plot() -> None:
    table = Comparison([row("fp32"), row("<int8>", 2.0, apart(0.5))])
    bundle = table._repr_mimebundle_()
    assert bundle["text/plain"] == repr(table)
    assert "&lt;int8&gt;" in bundle["text/html"]
    spec = bundle["application/vnd.vegalite.v5+json"]
    json.dumps(spec, allow_nan=False)
    assert spec["data"]["values"] == [
        {"model": "fp32", "seconds": 1e-5, "figures": "10.0 µs", "first": True},
        {"model": "<int8>", "seconds": 5e-6, "figures": "5.00 µs · 2.00 ×", "first": False},
    ]


def test_a_comparison_as_a_frame() -> None:
    frame = Comparison([row("fp32"), row("int8", 2.0, apart(0.5, same=0.75))]).to_pandas()
    assert frame["speed"].tolist() == [1.0, 2.0]
    assert frame["size"].tolist() == [2048, 2048]
    assert frame.loc[1, ["largest_difference", "relative_difference", "same_label"]].tolist() == [0.5, 0.1, 0.75]


def test_a_frame_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"conduit-lab\[lab\]"):
        Benchmark("m", "cpu", []).to_pandas()
