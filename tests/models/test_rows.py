"""One sample, several, a batch and a DataFrame each get their own rows, at any batch axis."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conduit_lab.core.errors import ModelInputError
from conduit_lab.models.model import Model
from tests.runtime import graphs
from tests.runtime.graphs import constant, node, value
from tests.runtime.rows import members

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
Array = np.ndarray[Any, np.dtype[Any]]


def time_major(path: Path, *, named: bool = True) -> Model:
    """Return a model `y[t, row] = x[row, t]`: [20, batch, 3] from [batch, 3, 20]."""
    member = members.INDEPENDENT["time first"]
    return Model(member.save(path / "crnn.onnx", named=named))


def detector(path: Path) -> Model:
    """Return a model of [k, 2]: row and column of each number that is not 0."""
    nodes = [node("NonZero", ["x"], ["i"]), node("Transpose", ["i"], ["found"], perm=[1, 0])]
    return Model(
        graphs.save(
            path / "detector.onnx",
            nodes,
            [value("x", ["batch", 4])],
            [value("found", ["k", 2], "int64")],
        )
    )


def centred(path: Path) -> Model:
    return Model(graphs.centred(path / "centred.onnx"))


def anchored(path: Path) -> Model:
    """Return a model of a constant [3] beside its answers [n, 3], and the mean of all."""
    nodes = [
        node("Identity", ["c"], ["anchors"]),
        node("Neg", ["x"], ["y"]),
        node("ReduceMean", ["x"], ["mean"], keepdims=0),
    ]
    outputs = [value("anchors", [3]), value("y", ["n", 3]), value("mean", [])]
    anchors = constant("c", np.arange(3, dtype=np.float32))
    return Model(graphs.save(path / "m.onnx", nodes, [value("x", ["n", 3])], outputs, [anchors]))


# Answers with a part per sample, along any axis


@pytest.mark.parametrize("named", [True, False])
def test_a_model_whose_answers_begin_with_time(tmp_path: Path, named: bool) -> None:
    model, rows = (
        time_major(tmp_path, named=named),
        np.random.default_rng(0).standard_normal((20, 3, 20)),
    )
    rows = rows.astype(np.float32)  # as many samples as steps: sizes are ambiguous
    np.testing.assert_array_equal(model.predict(rows[5]), rows[5].T)
    np.testing.assert_array_equal(model.predict(rows), rows.transpose(2, 0, 1))
    for got, row in zip(model.batch(list(rows)), rows, strict=True):
        np.testing.assert_array_equal(got, row.T)
    assert model.predict(rows[:0]).shape == (20, 0, 3)


def test_callers_together_get_their_own_part_of_it(tmp_path: Path) -> None:
    model, rows = (
        time_major(tmp_path),
        np.random.default_rng(0).standard_normal((8, 3, 20)).astype(np.float32),
    )

    async def burst() -> list[Array]:
        return list(await asyncio.gather(*[model.acall(row) for row in rows]))

    for _ in range(15):
        for got, row in zip(asyncio.run(burst()), rows, strict=True):
            np.testing.assert_array_equal(got, row.T)
    assert model.shared.calls < 15 * 8 * 2


def test_an_input_whose_samples_come_second(tmp_path: Path) -> None:
    model = Model(
        members.INDEPENDENT["dense over time first"].save(tmp_path / "m.onnx", named=True)
    )
    rows = np.random.default_rng(0).standard_normal((20, 5, 3)).astype(np.float32)
    whole = model.predict(rows)
    assert whole.shape == (20, 5, 3)
    np.testing.assert_allclose(model.predict(rows[:, 2]), whole[:, 2], rtol=1e-5)
    for i, got in enumerate(model.batch([rows[:, i] for i in range(5)])):
        np.testing.assert_allclose(got, whole[:, i], rtol=1e-5)


def test_a_sample_beside_a_state_and_a_number(tmp_path: Path) -> None:
    nodes = [
        node("ReduceSum", ["input"], ["sum"], keepdims=0),
        node("Add", ["state", "input"], ["next"]),
        node("Mul", ["input", "rate"], ["out"]),
    ]
    inputs = [value("input", ["n", 4]), value("state", [2, "n", 4]), value("rate", [])]
    outputs = [value("out", ["n", 4]), value("next", [2, "n", 4])]
    model = Model(graphs.save(tmp_path / "vad.onnx", nodes[1:], inputs, outputs))
    sample, state = np.arange(4, dtype=np.float32), np.ones((2, 4), np.float32)
    got = model.predict({"input": sample, "state": state, "rate": 3})
    np.testing.assert_array_equal(got["out"], sample * 3)
    np.testing.assert_array_equal(got["next"], state + sample)
    again = model.predict(
        {"input": sample, "state": got["next"], "rate": 3}
    )  # a state can be fed back unchanged
    np.testing.assert_array_equal(again["next"], state + 2 * sample)
    both = model.predict(
        {"input": np.stack([sample, -sample]), "state": np.ones((2, 2, 4)), "rate": 3}
    )
    np.testing.assert_array_equal(both["next"][:, 1], state - sample)
    mixed = model.predict({"input": sample, "state": state[:, None], "rate": 3})
    assert (mixed["out"].shape, mixed["next"].shape) == ((4,), (2, 4))
    with pytest.raises(ModelInputError, match="expects inputs of one batch size"):
        model.predict(
            {"input": np.stack([sample] * 3), "state": np.ones((2, 2, 4), np.float32), "rate": 3}
        )


# Answers for the whole run


def test_every_detection_of_one_sample_is_handed_back(tmp_path: Path) -> None:
    model = detector(tmp_path)
    assert model.predict([0.0, 1.0, 0.0, 1.0]).tolist() == [[0, 1], [0, 3]]
    assert model.predict([0.0, 0.0, 0.0, 0.0]).shape == (0, 2)
    got = model.batch([[0.0, 1, 0, 1], [0.0, 0, 0, 0], [1.0, 1, 1, 0]])
    assert [len(answer) for answer in got] == [2, 0, 3]
    assert got[2].tolist() == [[0, 0], [0, 1], [0, 2]]


def test_constants_and_numbers_of_the_whole_run_stay_whole(tmp_path: Path) -> None:
    got = anchored(tmp_path).predict(X[0])
    assert got["anchors"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(got["y"], -X[0])
    assert got["mean"].shape == ()
    assert float(got["mean"]) == pytest.approx(float(X[0].mean()), rel=1e-5)


@pytest.mark.parametrize(("reduced", "shape"), [([0], (1, 3)), (None, (1, 1))])
def test_an_axis_that_is_always_1_is_no_batch_axis(
    tmp_path: Path, reduced: list[int] | None, shape: tuple[int, ...]
) -> None:
    made = (
        node("ReduceMean", ["x"], ["y"], axes=reduced)
        if reduced
        else node("ReduceMean", ["x"], ["y"])
    )
    path = graphs.save(tmp_path / "m.onnx", [made], [value("x", ["n", 3])], [value("y", shape)])
    assert Model(path).predict(X[0]).shape == shape


def test_a_batch_is_what_each_sample_gives_alone(tmp_path: Path) -> None:
    model = centred(tmp_path)
    for _ in range(20):
        model.batch([X[0]] * 4)
    for got, row in zip(model.batch(list(X)), X, strict=True):
        np.testing.assert_allclose(got, model.predict(row), atol=1e-6)


def test_four_rows_per_sample_are_handed_back_whole(tmp_path: Path) -> None:
    member = members.one(
        "Reshape", members.ints("to", -1, 4), shape=("batch", 16), answer=("batch*4", 4)
    )
    model, rows = (
        Model(member.save(tmp_path / "m.onnx", named=True)),
        np.arange(32, dtype=np.float32).reshape(2, 16),
    )
    np.testing.assert_array_equal(model.predict(rows[1]), rows[1].reshape(4, 4))
    np.testing.assert_array_equal(np.stack(model.batch(list(rows))), rows.reshape(2, 4, 4))


# Tables


def test_a_table_gets_each_rows_own_numbers(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    member = members.one("Transpose", perm=[1, 0], shape=("batch", 4), answer=(4, "batch"), out=1)
    got = Model(member.save(tmp_path / "m.onnx", named=True)).predict(
        pd.DataFrame(rows, index=list("abc"))
    )
    np.testing.assert_allclose(got.to_numpy(), rows)
    assert list(got.index) == list("abc")


def test_a_table_of_answers_for_a_whole_run_is_made_row_by_row(tmp_path: Path) -> None:
    got = anchored(tmp_path).predict(pd.DataFrame(X))
    assert list(got.columns) == ["anchors_0", "anchors_1", "anchors_2", "y_0", "y_1", "y_2", "mean"]
    np.testing.assert_allclose(got["mean"], X.mean(axis=1), rtol=1e-5, atol=1e-7)
    assert got["anchors_1"].tolist() == [1.0] * 4


def test_answers_of_different_sizes_are_no_table(tmp_path: Path) -> None:
    with pytest.raises(
        ModelInputError, match=r"returns answers of different sizes.*for row in frame"
    ):
        detector(tmp_path).predict(pd.DataFrame([[0, 1, 0, 1], [1, 1, 1, 0]], dtype=np.float32))


# Fixed axes


def test_a_vector_of_four_numbers_takes_no_eight(tmp_path: Path) -> None:
    path = graphs.save(
        tmp_path / "m.onnx",
        [node("Softmax", ["x"], ["y"], axis=0)],
        [value("x", [4])],
        [value("y", [4])],
    )
    model = Model(path)
    assert model.predict(np.zeros(4, np.float32)).tolist() == [0.25] * 4
    for count in (0, 3, 8):
        with pytest.raises(
            ModelInputError, match=rf"'m' expects x float32 \[4\], got float32 \[{count}\]"
        ):
            model.predict(np.zeros(count, np.float32))


def test_a_matrix_is_no_batch_of_rows_where_the_graph_mixes_them(tmp_path: Path) -> None:
    ends = [value("x", [2, 3])], [value("y", [2, 3])]
    model = Model(graphs.save(tmp_path / "m.onnx", [node("Softmax", ["x"], ["y"], axis=0)], *ends))
    assert model.predict(X[:2]).shape == (2, 3)
    with pytest.raises(ModelInputError, match=r"expects x float32 \[2, 3\], got float32 \[4, 3\]"):
        model.predict(X)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_batch_takes_its_multiples_and_none(tmp_path: Path, batch: int) -> None:
    model = Model(graphs.linear(tmp_path / "m.onnx", np.eye(3), batch=batch))
    np.testing.assert_allclose(model.predict(X), X, rtol=1e-6)
    assert model.predict(X[:0]).shape == (0, 3)


def test_a_fixed_batch_of_one_beside_its_state(tmp_path: Path) -> None:
    ends = [value("x", [1, 4]), value("state", [2, 1, 4])], [value("next", [2, 1, 4])]
    model = Model(graphs.save(tmp_path / "m.onnx", [node("Add", ["state", "x"], ["next"])], *ends))
    rows, state = np.arange(8, dtype=np.float32).reshape(2, 4), np.ones((2, 2, 4), np.float32)
    np.testing.assert_array_equal(
        model.predict({"x": rows[1], "state": state[:, 1]}), 1 + np.stack([rows[1]] * 2)
    )
    np.testing.assert_array_equal(
        model.predict({"x": rows[:1], "state": state[:, :1]})[:, 0], 1 + np.stack([rows[0]] * 2)
    )
    np.testing.assert_array_equal(
        model.predict({"x": rows, "state": state}), 1 + np.stack([rows] * 2)
    )


def test_pieces_whose_answers_have_no_rows_are_refused(tmp_path: Path) -> None:
    nodes = [node("NonZero", ["x"], ["i"]), node("Transpose", ["i"], ["found"], perm=[1, 0])]
    path = graphs.save(
        tmp_path / "m.onnx", nodes, [value("x", [1, 3])], [value("found", ["k", 2], "int64")]
    )
    model = Model(path)
    assert len(model.predict(X[0])) == 3
    with pytest.raises(
        ModelInputError, match=r"'m' takes 1 at a time, since it gives found int64 .* got 4 rows"
    ):
        model.predict(X)
    assert [len(answer) for answer in model.batch(list(X))] == [3] * 4


# No rows


def test_no_rows_where_the_graph_itself_refuses_an_empty_run(tmp_path: Path) -> None:
    nodes = [
        node("ArgMax", ["x"], ["i"], axis=1),
        node("ArrayFeatureExtractor", ["c", "i"], ["f"], domain="ai.onnx.ml"),
    ]
    nodes.append(node("Reshape", ["f", "to"], ["y"]))
    constants = [constant("c", np.array([7, 8, 9])), constant("to", np.array([-1]))]
    ends = [value("x", [None, 3])], [value("y", [None], "int64")]
    model = Model(graphs.save(tmp_path / "m.onnx", nodes, *ends, constants, domains=["ai.onnx.ml"]))
    assert model.predict(np.eye(3, dtype=np.float32)).tolist() == [7, 8, 9]
    assert (model.predict(X[:0]).shape, model.predict(X[:0]).dtype) == ((0,), np.int64)
    calls = model.shared.calls
    model.predict(X[:0])
    assert model.shared.calls == calls
