"""Benchmark: the public call is measured, and reported as measured."""

from __future__ import annotations

import sys
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import InputError, MissingExtra, ModelInputError
from conduit_lab.core.progress import Progress
from conduit_lab.core.stage import Function
from conduit_lab.models.benchmark import Benchmark, benchmark, call_of
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.model import Model
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.runtime.measuring.timing import Timing
from tests.runtime import graphs

pytestmark = pytest.mark.alone

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


def test_a_sample_of_a_function_is_handed_over_as_it_is_or_as_a_list() -> None:
    stage = Function(len)
    assert [call_of(stage, "abc", rows)[0]() for rows in (None, 1, 2)] == [3, 3, [3, 3]]
    assert [call_of(stage, "abc", rows)[1] for rows in (None, 1, 2)] == [1, 1, 2]


def test_inputs_by_name_are_repeated_together(tmp_path: Path) -> None:
    model = Model(two_inputs(tmp_path / "sum.onnx"))
    call, rows = call_of(model, {"a": [1, 2], "b": [3, 4]}, 3)
    assert rows == 3
    assert call().tolist() == [[4, 6]] * 3


def test_an_input_without_a_batch_axis_is_left_as_it_is(tmp_path: Path) -> None:
    ends = [
        graphs.value("x", ["batch", 2]),
        graphs.value("factor", []),
        graphs.value("output", ["batch", 2]),
    ]
    path = graphs.save(
        tmp_path / "m.onnx", [graphs.node("Mul", ["x", "factor"], ["output"])], ends[:2], ends[2:]
    )
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
    assert (table.name, table.device, [timing.rows for timing in table]) == (
        "linear",
        "cpu",
        [1, 4],
    )
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
    with pytest.raises(InputError, match="batch_sizes expects whole numbers of at least 1"):
        benchmark(linear, [1, 2, 3], batch_sizes=sizes)


def test_an_empty_sample_is_refused(linear: Model, minilm: Embedder) -> None:
    with pytest.raises(InputError, match="sample for 'linear' is empty"):
        benchmark(linear, np.zeros((0, 3), np.float32))
    with pytest.raises(InputError, match="at least one text"):
        benchmark(minilm, [])


def test_a_sample_that_does_not_fit_is_refused(linear: Model) -> None:
    with pytest.raises(ModelInputError, match="expects input"):
        benchmark(linear, [1, 2])


def test_a_benchmark_shows_its_figures() -> None:
    table = Benchmark(
        "<m>",
        "cpu",
        [Timing(1, 1200, 1e-5, 2e-5, 3e-5), Timing(32, 40, 1e-3, 1e-3, 2e-3)],
        "a note",
    )
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


@pytest.mark.parametrize(
    ("seconds", "title"),
    [
        ([1e-5], "m: 100\u2009000 samples/s in calls with 1 sample"),
        (
            [1e-5, 1e-5],
            "m: 200\u2009000 samples/s in calls with 2 samples, 2.00 times as many as with 1",
        ),
        (
            [1e-5, 1.95e-5],  # within noise
            "m: 100\u2009000 samples/s in calls with 1 sample, no fewer than with more",
        ),
    ],
)
def test_the_title_names_the_smallest_of_the_best_batch_sizes(
    seconds: list[float], title: str
) -> None:
    table = Benchmark("m", "cpu", [Timing(n, 9, s, s, s) for n, s in enumerate(seconds, 1)])
    assert table.chart.title == table.title == title
    assert [row["samples_per_second"] for row in table.chart.values] == pytest.approx(
        [n / s for n, s in enumerate(seconds, 1)]
    )
    (strong,) = [bar.label for bar in table.chart.drawing().bars if bar.strong]
    assert f"in calls with {strong}" in title


def test_a_benchmark_as_a_frame() -> None:
    frame = Benchmark("m", "cpu", [Timing(4, 9, 0.5, 0.6, 0.7)]).to_pandas()
    assert frame.to_dict("records") == [
        {"batch": 4, "calls": 9, "p50": 0.5, "p90": 0.6, "p99": 0.7, "samples_per_second": 8.0}
    ]


def test_a_frame_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"conduit-lab\[lab\]"):
        Benchmark("m", "cpu", []).to_pandas()


def test_a_state_is_repeated_along_its_own_axis(tmp_path: Path) -> None:
    nodes = [graphs.node("Add", ["state", "x"], ["next"])]
    ends = (
        [graphs.value("x", ["n", 4]), graphs.value("state", [2, "n", 4])],
        [graphs.value("next", [2, "n", 4])],
    )
    model = Model(graphs.save(tmp_path / "m.onnx", nodes, *ends))
    sample = {"x": np.ones(4, np.float32), "state": np.ones((2, 4), np.float32)}
    value, rows = model.repeat(sample, 3)
    assert (value["x"].shape, value["state"].shape, rows) == ((3, 4), (2, 3, 4), 3)
    timings = model.benchmark(sample, batch_sizes=[1, 8], seconds=0.05)
    assert [timing.rows for timing in timings] == [1, 8]
    with pytest.raises(
        ModelInputError, match=r'has 2 inputs: pass a dict with x, state, such as \{"x": np\.zeros'
    ):
        model.benchmark(np.ones(4, np.float32))


def test_a_graph_without_a_batch_axis_is_measured_as_it_is(tmp_path: Path) -> None:
    ends = [graphs.value("x", [4])], [graphs.value("y", [4])]
    model = Model(graphs.save(tmp_path / "m.onnx", [graphs.node("Neg", ["x"], ["y"])], *ends))
    assert [timing.rows for timing in model.benchmark(np.ones(4, np.float32), seconds=0.05)] == [1]
    with pytest.raises(
        InputError, match=r"'m' has no batch axis: measure it with batch_sizes=\[1\]"
    ):
        model.benchmark(np.ones(4, np.float32), batch_sizes=[8])


def test_the_progress_is_that_of_the_time(linear: Model, jobs: list[Progress]) -> None:
    benchmark(linear, [1, 2, 3], seconds=SECONDS)
    names = {job.name: (job.unit, job.total) for job in jobs}
    assert names["benchmark linear"] == ("s", SECONDS)
