"""Neighbouring files become one equal and faster graph, or stay as they are with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import OptimizeError
from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.runtime.measuring.timing import Turns
from conduit_lab.runtime.rewriting import derived_files, graph_fusion
from conduit_lab.runtime.sessions.session import Options, Session
from tests.runtime import graphs

few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def weight(rows: int, columns: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, columns), np.float32)


def inputs(rows: int, columns: int) -> dict[str, Array]:
    return {"input": weight(rows, columns, 1)}


def chained(paths: Sequence[Path], feeds: dict[str, Array]) -> Array:
    """Run the files one after the other."""
    for path in paths:
        session = Session(path)
        feeds = {"input": session.run(feeds)[0]}
    return feeds["input"]


def saved(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    return [
        graphs.linear(tmp_path / "a.onnx", weight(3, 4)),
        graphs.linear(tmp_path / "b.onnx", weight(4, 2)),
    ]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Fake the ratio of the fused graph's time to the old; no test depends on a real clock."""
    ratio = [0.5]
    monkeypatch.setattr(
        graph_fusion, "in_turn", lambda before, after: Turns(1e-5, ratio[0] * 1e-5, ratio[0])
    )
    return ratio


@few
@given(st.lists(st.integers(1, 6), min_size=3, max_size=6), st.integers(0, 4))
def test_merged_graph_gives_what_its_parts_give(
    tmp_path: Path, sizes: list[int], rows: int
) -> None:
    paths = [
        graphs.linear(tmp_path / f"{i}.onnx", weight(*shape, i))
        for i, shape in enumerate(pairwise(sizes))
    ]
    graph_fusion.merge_graphs(paths, tmp_path / "whole.onnx")
    feeds = inputs(rows, sizes[0])
    np.testing.assert_array_equal(
        Session(tmp_path / "whole.onnx").run(feeds)[0], chained(paths, feeds)
    )


def test_file_merged_with_itself_has_distinct_names(tmp_path: Path) -> None:
    path = graphs.linear(tmp_path / "a.onnx", weight(3, 3))
    graph_fusion.merge_graphs([path, path, path], tmp_path / "whole.onnx")
    feeds = inputs(2, 3)
    np.testing.assert_array_equal(
        Session(tmp_path / "whole.onnx").run(feeds)[0], chained([path] * 3, feeds)
    )


def test_merged_graph_has_the_first_inputs_and_the_last_outputs_and_metadata(
    tmp_path: Path, pair: list[Path]
) -> None:
    first = graphs.linear(
        tmp_path / "first.onnx", weight(3, 4), {"labels": "[1]", "license": "of the first"}
    )
    last = graphs.linear(tmp_path / "last.onnx", weight(4, 2), {"labels": '["no", "yes"]'})
    graph_fusion.merge_graphs([first, last], tmp_path / "whole.onnx")
    session = Session(tmp_path / "whole.onnx")
    assert session.inputs == (TensorSpec("input", "float32", ("batch", 3)),)
    assert session.outputs == (TensorSpec("output", "float32", ("batch", 2)),)
    assert {k: v for k, v in session.metadata.items() if k != derived_files.ORIGIN_KEY} == {
        "labels": '["no", "yes"]'
    }


def test_several_inputs_of_the_first_and_outputs_of_the_last_stay(tmp_path: Path) -> None:
    first = graphs.save(
        tmp_path / "a.onnx",
        [graphs.node("Add", ["x", "y"], ["sum"])],
        [graphs.value(name, ["batch", 3]) for name in "xy"],
        [graphs.value("sum", ["batch", 3])],
    )
    last = graphs.save(
        tmp_path / "b.onnx",
        [graphs.node("Neg", ["h"], ["minus"]), graphs.node("Abs", ["h"], ["plus"])],
        [graphs.value("h", ["n", 3])],
        [graphs.value("minus", ["n", 3]), graphs.value("plus", ["n", 3])],
    )
    graph_fusion.merge_graphs([first, last], tmp_path / "whole.onnx")
    minus, plus = Session(tmp_path / "whole.onnx").run({"x": weight(2, 3), "y": -2 * weight(2, 3)})
    np.testing.assert_array_equal(minus, weight(2, 3))
    np.testing.assert_array_equal(plus, np.abs(weight(2, 3)))


def test_free_axes_of_one_name_and_different_lengths_stay_distinct(tmp_path: Path) -> None:
    def transposed(path: Path) -> Path:
        return graphs.save(
            path,
            [graphs.node("Transpose", ["input"], ["output"], perm=[1, 0])],
            [graphs.value("input", ["n", "m"])],
            [graphs.value("output", ["m", "n"])],
        )

    paths = [transposed(tmp_path / "a.onnx"), transposed(tmp_path / "b.onnx")]
    graph_fusion.merge_graphs(paths, tmp_path / "whole.onnx")
    session = Session(tmp_path / "whole.onnx")
    assert session.inputs[0].shape == session.outputs[0].shape == ("n", "m")
    np.testing.assert_array_equal(session.run(inputs(2, 5))[0], inputs(2, 5)["input"])


def test_different_opsets_and_ir_versions_are_unified(tmp_path: Path, pair: list[Path]) -> None:
    old = graphs.load(pair[0])
    old.opset_import[0].version, old.ir_version = 13, 7
    paths = [saved(old, tmp_path / "old.onnx"), pair[1]]
    graph_fusion.merge_graphs(paths, tmp_path / "whole.onnx")
    whole = graphs.load(tmp_path / "whole.onnx")
    assert ([(o.domain, o.version) for o in whole.opset_import], whole.ir_version) == (
        [("", 17)],
        9,
    )
    np.testing.assert_array_equal(
        Session(tmp_path / "whole.onnx").run(inputs(2, 3))[0], chained(paths, inputs(2, 3))
    )


def test_weights_in_a_side_file_are_included(tmp_path: Path, pair: list[Path]) -> None:
    outside = tmp_path / "outside.onnx"
    onnx.save(
        graphs.load(pair[0]),
        outside,
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    (tmp_path / "elsewhere").mkdir()
    graph_fusion.merge_graphs([outside, pair[1]], tmp_path / "elsewhere" / "whole.onnx")
    got = Session(tmp_path / "elsewhere" / "whole.onnx").run(inputs(2, 3))[0]
    np.testing.assert_array_equal(got, chained(pair, inputs(2, 3)))


@pytest.mark.parametrize(
    ("outputs", "taken", "reason"),
    [
        (("float32", ("batch", 4)), ("float32", ("n", 4)), ""),
        (("float32", (1, 4)), ("float32", ("n", "m")), ""),
        (
            ("float32", ("batch", 4)),
            ("float32", ("n", 5)),
            "expected float32 [n, 5], got float32 [batch, 4]",
        ),
        (("float32", ("batch", 4)), ("float32", (1, 4)), "expected float32 ["),
        (("float32", ("batch", "d")), ("float32", ("n", 4)), "expected float32 ["),
        (("float32", ("batch", 4)), ("float32", ("n", 4, 1)), "expected float32 ["),
        (("float64", ("batch", 4)), ("float32", ("n", 4)), "got float64 [batch, 4]"),
    ],
)
def test_only_certain_fits_are_fused(outputs: Any, taken: Any, reason: str) -> None:
    got = graph_fusion.misfit([TensorSpec("a", *outputs)], [TensorSpec("b", *taken)])
    assert reason in got
    assert bool(got) == bool(reason)


def test_neighbours_that_do_not_fit_are_refused(tmp_path: Path, pair: list[Path]) -> None:
    with pytest.raises(
        OptimizeError, match=r"expected float32 \[batch, 3\], got float32 \[batch, 2\]"
    ):
        graph_fusion.merge_graphs([pair[1], pair[0]], tmp_path / "whole.onnx")
    assert not (tmp_path / "whole.onnx").exists()


def test_different_versions_of_other_operators_are_refused(tmp_path: Path) -> None:
    paths = []
    for version in (3, 4):
        model = graphs.load(graphs.linear(tmp_path / "a.onnx", weight(3, 3)))
        model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", version))
        paths.append(saved(model, tmp_path / f"{version}.onnx"))
    with pytest.raises(OptimizeError, match=r"different versions of the operators ai\.onnx\.ml"):
        graph_fusion.merge_graphs(paths, tmp_path / "whole.onnx")


def test_large_parts_are_not_fused(
    tmp_path: Path, pair: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_fusion, "_MAX_PARTS_BYTES", 100)
    got = graph_fusion.fuse(pair, ["a", "b"], [inputs(1, 3)], Options())
    assert got.path is None
    assert "larger models gain nothing" in got.reason


def test_an_equal_and_faster_graph_is_kept_beside_the_first(
    pair: list[Path], clock: list[float]
) -> None:
    got = graph_fusion.fuse(pair, ["a", "b"], [inputs(1, 3)], Options())
    assert got.path == pair[0].with_name("a+b.onnx")
    assert repr(got) == "a + b: fused, 10.0 µs before, 5.00 µs as one graph"
    made = derived_files.origin(got.path)
    assert made is not None
    assert made["sources"] == derived_files.digests(pair)


def test_a_graph_that_is_not_faster_is_removed(pair: list[Path], clock: list[float]) -> None:
    clock[0] = 0.99
    got = graph_fusion.fuse(pair, ["a", "b"], [inputs(1, 3)], Options())
    assert repr(got) == "a + b: not fused, not faster: 10.0 µs before, 9.90 µs as one graph"
    assert sorted(path.name for path in pair[0].parent.iterdir()) == ["a.onnx", "b.onnx"]


@pytest.mark.parametrize(("error", "kept"), [(3e-6, True), (1e-4, False)])
def test_answers_may_differ_only_by_rounding(
    pair: list[Path],
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    error: float,
    kept: bool,
) -> None:
    def merge(paths: Sequence[Path], target: Path) -> None:
        whole = graphs.linear(target, weight(3, 4) @ weight(4, 2) * (1 + error))
        derived_files.write_derived(graphs.load(whole), target, paths, graph_fusion.KIND, {})

    monkeypatch.setattr(graph_fusion, "merge_graphs", merge)
    got = graph_fusion.fuse(pair, ["a", "b"], [inputs(1, 3)], Options())
    assert bool(got.path) is kept
    if not kept:
        assert repr(got) == "a + b: not fused, the fused graph gives different answers"
        assert sorted(path.name for path in pair[0].parent.iterdir()) == ["a.onnx", "b.onnx"]


def test_a_first_model_that_mixes_samples_is_not_fused(tmp_path: Path, clock: list[float]) -> None:
    """In sequence the next model gets the mean of each sample, fused the mean of the batch."""
    mean = graphs.save(
        tmp_path / "mean.onnx",
        [graphs.node("ReduceMean", ["input"], ["output"], axes=[0], keepdims=1)],
        [graphs.value("input", ["batch", 3])],
        [graphs.value("output", ["n", 3])],
    )
    paths = [mean, graphs.linear(tmp_path / "b.onnx", weight(3, 3))]
    assert (
        "mean does not give one row per sample"
        in graph_fusion.fuse(paths, ["mean", "b"], [inputs(2, 3)], Options()).reason
    )
    # one sample yields one row, so fuse() also tries two
    assert graph_fusion.fuse(paths, ["mean", "b"], [inputs(1, 3)], Options()).path is None


def test_fused_file_is_reused_while_its_parts_are_unchanged(
    pair: list[Path], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = graph_fusion.fuse(pair, ["a", "b"], [inputs(1, 3)], Options())
    assert first.path is not None
    made = first.path.stat().st_ino
    assert graph_fusion.fuse(pair, ["a", "b"], [inputs(1, 3)], Options()).path == first.path
    assert first.path.stat().st_ino == made


def test_fused_file_of_other_parts_is_not_overwritten(
    tmp_path: Path, pair: list[Path], clock: list[float]
) -> None:
    first = graph_fusion.fuse(pair, ["a", "b"], [inputs(1, 3)], Options())
    assert first.path is not None
    kept = first.path.read_bytes()
    graphs.linear(pair[1], weight(4, 2, 7))
    second = graph_fusion.fuse(pair, ["a", "b"], [inputs(1, 3)], Options())
    assert second.path is not None
    assert second.path.name.startswith("a+b-")
    assert first.path.read_bytes() == kept
    np.testing.assert_array_equal(
        Session(second.path).run(inputs(2, 3))[0], chained(pair, inputs(2, 3))
    )


def test_foreign_file_of_that_name_is_not_overwritten(pair: list[Path], clock: list[float]) -> None:
    theirs = graphs.linear(pair[0].with_name("a+b.onnx"), weight(2, 2)).read_bytes()
    got = graph_fusion.fuse(pair, ["a", "b"], [inputs(1, 3)], Options())
    assert got.path is not None
    assert got.path.name != "a+b.onnx"
    assert pair[0].with_name("a+b.onnx").read_bytes() == theirs


def test_an_input_with_the_name_of_the_last_output_is_refused(tmp_path: Path) -> None:
    ends = [("x", "y"), ("y", "x")]
    models = [
        graphs.load(
            graphs.save(
                tmp_path / f"{start}.onnx",
                [graphs.node("Neg", [start], [end])],
                [graphs.value(start, ["n", 3])],
                [graphs.value(end, ["n", 3])],
            )
        )
        for start, end in ends
    ]
    with pytest.raises(OptimizeError, match="an output of the last have the same name"):
        graph_fusion._chained(models)
