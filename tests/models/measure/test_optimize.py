"""optimize: the report, and no file that answers differently."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import InputError, ModelInputError, OptimizeError
from conduit_lab.core.progress import Progress
from conduit_lab.core.spec import Array
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.measure import optimize as module
from conduit_lab.models.measure.difference import Difference
from conduit_lab.models.measure.optimize import optimize
from conduit_lab.models.measure.subject import ModelSubject
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Prediction
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.runtime.measuring.timing import Turns
from conduit_lab.runtime.rewriting import child, quantize
from tests.runtime import graphs

WIDE = 32


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Fake the ratio of the new time to the old: the list's only item."""
    share = [0.5]
    monkeypatch.setattr(
        module, "in_turn", lambda before, after: Turns(1e-3, share[0] * 1e-3, share[0])
    )
    return share


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert in this process: a child process takes half a second."""
    monkeypatch.setattr(child, "try_opening", lambda *_: None)
    monkeypatch.setattr(
        child,
        "convert_in_child",
        lambda s, t, kind, _, scales, __: quantize.convert(s, t, kind, scales),
    )


def draw(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def linear(
    path: Path,
    weight: Array | None = None,
    metadata: dict[str, str] | None = None,
    batch: Any = "batch",
) -> Path:
    weight = draw(WIDE, WIDE, seed=0) if weight is None else weight
    return graphs.linear(path, weight, metadata, batch)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", list(quantize.SUFFIXES))
def test_gives_a_model_that_answers_alike_from_a_file_beside_the_old(
    tmp_path: Path, kind: str
) -> None:
    source = linear(tmp_path / "a.onnx")
    got = optimize(source, kind)
    assert got.path == got.model.path == quantize.converted_path(source, kind)
    assert isinstance(got.model, Model)
    sample = draw(WIDE)
    np.testing.assert_allclose(got.model.predict(sample), Model(source).predict(sample), atol=2.5)
    assert got.difference.relative <= got.tolerance


def test_takes_a_path_and_an_opened_model_alike(tmp_path: Path) -> None:
    source = linear(tmp_path / "a.onnx")
    assert optimize(str(source), "fp16").difference == optimize(Model(source), "fp16").difference


def test_the_report_says_size_speed_and_difference(tmp_path: Path, clock: list[float]) -> None:
    got = optimize(linear(tmp_path / "a.onnx"), "int8", samples=draw(8, WIDE))
    assert got.size == (got.source.stat().st_size, got.path.stat().st_size)
    assert {rows: turns.ratio for rows, turns in got.times.items()} == {1: 0.5, 8: 0.5}
    assert got.difference.samples == 8
    shown = repr(got)
    for words in (
        "a.onnx → ",
        "a_int8.onnx, int8 on cpu",
        "1 row",
        "8 rows",
        "× 0.50",
        "tolerance 0.2",
    ):
        assert words in shown
    assert "slower" not in shown
    page = got._repr_mimebundle_()["text/html"]
    assert "<table" in page
    assert "tolerance 0.2" in page


def test_a_slower_result_is_kept_and_reported(tmp_path: Path, clock: list[float]) -> None:
    clock[0] = 1.5
    got = optimize(linear(tmp_path / "a.onnx"), "int8", samples=draw(8, WIDE))
    assert got.path.is_file()
    assert "slower than before with 1 row and 8 rows on this machine" in got.notes


def test_a_graph_that_is_slower_is_not_kept(tmp_path: Path, clock: list[float]) -> None:
    clock[0] = 1.5
    with pytest.raises(
        OptimizeError, match=r"a\.onnx as a graph takes 1\.50 times as long .* not kept"
    ):
        optimize(linear(tmp_path / "a.onnx"), "graph")
    assert names(tmp_path) == ["a.onnx"]


def test_float16_on_a_cpu_is_reported_to_save_only_disk_space(tmp_path: Path) -> None:
    assert any(
        "only saves disk space" in note
        for note in optimize(linear(tmp_path / "a.onnx"), "fp16").notes
    )


def test_dummy_samples_are_reported(tmp_path: Path) -> None:
    source = linear(tmp_path / "a.onnx")
    assert any("generated samples" in note for note in optimize(source, "fp16").notes)
    assert not any(
        "generated samples" in note
        for note in optimize(source, "fp16", samples=draw(2, WIDE)).notes
    )


@pytest.mark.parametrize("kind", list(quantize.SUFFIXES))
def test_a_result_beyond_the_tolerance_is_not_kept(tmp_path: Path, kind: str) -> None:
    with pytest.raises(
        OptimizeError, match=r"answers too differently and was not kept.*tolerance -1; .*tolerance="
    ):
        optimize(linear(tmp_path / "a.onnx"), kind, tolerance=-1)
    assert names(tmp_path) == ["a.onnx"]


def test_an_unknown_difference_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Difference(1, relative=np.nan, largest=0)
    monkeypatch.setattr(ModelSubject, "difference", lambda *_: unknown)
    with pytest.raises(OptimizeError, match="answers too differently"):
        optimize(linear(tmp_path / "a.onnx"), "fp16")


def test_a_graph_that_is_faster_for_some_rows_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratios = iter([1.5, 0.8, 1.0])  # one row, the batch, opening
    monkeypatch.setattr(module, "in_turn", lambda *_: Turns(1.0, 1.0, next(ratios)))
    got = optimize(linear(tmp_path / "a.onnx"), "graph", samples=draw(2, WIDE))
    assert {rows: turns.ratio for rows, turns in got.times.items()} == {1: 1.5, 2: 0.8}


def test_an_earlier_result_outlives_one_that_is_refused(tmp_path: Path) -> None:
    source = linear(tmp_path / "a.onnx")
    kept = optimize(source, "int8").path.read_bytes()
    with pytest.raises(OptimizeError):
        optimize(source, "int8", tolerance=0)
    assert (tmp_path / "a_int8.onnx").read_bytes() == kept


def test_numbers_beyond_float16_are_refused_by_the_default_tolerance(tmp_path: Path) -> None:
    with pytest.raises(OptimizeError, match="may leave the range of float16"):
        optimize(linear(tmp_path / "a.onnx", draw(WIDE, WIDE, seed=0) * 1e6), "fp16")


def test_labels_stay_and_their_agreement_is_reported(tmp_path: Path) -> None:
    labels = [f"class {i}" for i in range(WIDE)]
    own = linear(tmp_path / "own.onnx", metadata={"labels": json.dumps(labels)})
    plain = linear(tmp_path / "given.onnx")
    for model in (Model(own), Model(plain, labels=labels)):
        got = optimize(model, "fp16")
        assert got.difference.same_label == 1
        assert "same label 100.0%" in repr(got)
        assert isinstance(got.model, Model)
        assert got.model.labels == labels
        assert isinstance(got.model.predict(draw(WIDE)), Prediction)


def test_the_new_model_is_opened_as_the_old_one_was(tmp_path: Path) -> None:
    got = optimize(Model(linear(tmp_path / "a.onnx"), device="cpu", timeout=5.0), "fp16")
    assert (got.model.options.device, got.model.options.timeout) == ("cpu", 5.0)


def test_calibration_makes_scales_and_stands_for_the_samples(tmp_path: Path) -> None:
    got = optimize(linear(tmp_path / "a.onnx"), "int8", calibration=draw(40, WIDE))
    assert "QuantizeLinear" in [node.op_type for node in graphs.load(got.path).graph.node]
    assert got.difference.samples == 40
    assert not got.made_up


def test_calibration_that_has_nothing_to_do_with_the_samples_is_refused_with_the_way_out(
    tmp_path: Path,
) -> None:
    with pytest.raises(OptimizeError, match="leave calibration= out"):
        optimize(
            linear(tmp_path / "a.onnx"),
            "int8",
            calibration=draw(4, WIDE) / 100,
            samples=draw(4, WIDE),
        )


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_kept_to(tmp_path: Path, batch: int) -> None:
    got = optimize(linear(tmp_path / "a.onnx", batch=batch), "int8", samples=draw(8, WIDE))
    assert (got.difference.samples, list(got.times)) == (8, [batch])


def test_made_up_ids_lie_within_the_table(tmp_path: Path) -> None:
    source = graphs.save(
        tmp_path / "a.onnx",
        [graphs.node("Gather", ["table", "ids"], ["output"])],
        [graphs.value("ids", ["batch", "tokens"], "int64")],
        [graphs.value("output", ["batch", "tokens", WIDE])],
        [graphs.constant("table", draw(5, WIDE))],
    )
    assert optimize(source, "int8").difference.relative > 0


def test_inputs_of_text_are_asked_for(tmp_path: Path) -> None:
    source = graphs.save(
        tmp_path / "a.onnx",
        [
            graphs.node("Identity", ["text"], ["same"]),
            graphs.node("MatMul", ["x", "W"], ["output"]),
        ],
        [graphs.value("text", ["batch"], "str"), graphs.value("x", ["batch", WIDE])],
        [graphs.value("same", ["batch"], "str"), graphs.value("output", ["batch", WIDE])],
        [graphs.constant("W", draw(WIDE, WIDE))],
    )
    with pytest.raises(
        ModelInputError, match=r"inputs for text .* cannot be generated: pass samples="
    ):
        optimize(source, "fp16")
    got = optimize(source, "fp16", samples={"text": ["a", "b"], "x": draw(2, WIDE)})
    assert got.difference.relative < 0.01


@pytest.mark.parametrize(
    "samples", [None, np.eye(2, dtype=np.float32), np.zeros((40, 2), np.float32)]
)
def test_every_array_of_a_list_is_compared(tmp_path: Path, samples: Array | None) -> None:
    source = graphs.targets(tmp_path / "a.onnx")
    got = optimize(source, "graph", samples=samples)
    assert (got.difference.samples, got.difference.relative) == (
        32 if samples is None else len(samples),
        0,
    )
    assert isinstance(got.model, Model)
    assert got.model.predict([1.0, 2.0])["label"].tolist() == [1, 0]


def test_answers_of_which_samples_have_no_row_are_compared(tmp_path: Path) -> None:
    nodes = [
        graphs.node("ReduceMean", ["x"], ["mean"], keepdims=0),
        graphs.node("Transpose", ["x"], ["turned"], perm=[1, 0]),
    ]
    outputs = [graphs.value("mean", []), graphs.value("turned", [3, "n"])]
    source = graphs.save(tmp_path / "a.onnx", nodes, [graphs.value("x", ["n", 3])], outputs)
    got = optimize(source, "graph", samples=draw(70, 3))  # in pieces
    assert (got.difference.samples, got.difference.relative) == (70, 0)


def stateful(path: Path, rate: str = "float32") -> Path:
    """Write a graph with a state [2, n, 4] and a rate for all samples."""
    nodes = [
        graphs.node("Cast", ["rate"], ["r"], to=1),
        graphs.node("Mul", ["input", "r"], ["scaled"]),
        graphs.node("Add", ["state", "scaled"], ["next"]),
        graphs.node("MatMul", ["scaled", "W"], ["output"]),
    ]
    inputs = [
        graphs.value("input", ["n", 4]),
        graphs.value("state", [2, "n", 4]),
        graphs.value("rate", [], rate),
    ]
    outputs = [graphs.value("output", ["n", 4]), graphs.value("next", [2, "n", 4])]
    return graphs.save(path, nodes, inputs, outputs, [graphs.constant("W", draw(4, 4))])


def test_a_state_is_made_up_with_the_rows_of_the_samples(tmp_path: Path) -> None:
    got = optimize(stateful(tmp_path / "a.onnx"), "fp16")
    assert (got.difference.samples, list(got.times)) == (32, [1, 32])


def test_a_number_for_all_samples_is_asked_for_with_an_example(tmp_path: Path) -> None:
    source = stateful(tmp_path / "a.onnx", "int64")
    with pytest.raises(
        ModelInputError, match=r"inputs for rate int64 \[\] cannot be generated: pass samples="
    ) as caught:
        optimize(source, "fp16")
    example = str(caught.value).partition("such as samples=")[2]
    samples = eval(example, {"np": np})
    assert {name: array.shape for name, array in samples.items()} == {
        "input": (1, 4),
        "state": (2, 1, 4),
        "rate": (),
    }
    samples["rate"] += 3
    assert optimize(source, "fp16", samples=samples).difference.samples == 1


def test_inputs_that_the_graph_refuses_are_asked_for(tmp_path: Path) -> None:
    nodes = [
        graphs.node("Concat", ["a", "b"], ["c"], axis=1),
        graphs.node("Reshape", ["c", "to"], ["y"]),
    ]
    inputs = [graphs.value("a", ["n", "wide"]), graphs.value("b", ["n", "narrow"])]
    constants = [graphs.constant("to", np.array([0, 5]))]  # 16 next to 16 would not be
    source = graphs.save(
        tmp_path / "a.onnx", nodes, inputs, [graphs.value("y", ["n", 5])], constants
    )
    with pytest.raises(
        ModelInputError, match=r'does not take dummy inputs .*pass samples= .*\{"a": np\.zeros\('
    ):
        optimize(source, "graph")
    got = optimize(source, "graph", samples={"a": draw(6, 2), "b": draw(6, 3)})
    assert (got.difference.samples, got.difference.relative) == (6, 0)


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("m.npz", OptimizeError, r"m\.npz has nothing to optimize: NumPy"),
        (CallableModel(abs), TypeError, "got CallableModel"),
    ],
)
def test_anything_but_an_onnx_file_is_refused(
    tmp_path: Path, model: Any, error: type[Exception], words: str
) -> None:
    np.savez(tmp_path / "m.npz", W0=np.eye(2, dtype=np.float32))
    with pytest.raises(error, match=words):
        optimize(tmp_path / model if isinstance(model, str) else model, "int8")


def test_unknown_kind_and_calibration_in_vain_are_refused(tmp_path: Path) -> None:
    source = linear(tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="int8, fp16, int4, graph, not 'int2'"):
        optimize(source, "int2")
    with pytest.raises(ValueError, match="'fp16' needs none"):
        optimize(source, "fp16", calibration=draw(2, WIDE))


def test_empty_samples_are_refused(tmp_path: Path, minilm: Embedder) -> None:
    with pytest.raises(InputError, match="samples for 'a' are empty"):
        optimize(linear(tmp_path / "a.onnx"), "fp16", samples=draw(0, WIDE))
    with pytest.raises(InputError, match="samples for 'minilm' are empty"):
        optimize(minilm, "fp16", samples=[])


def test_an_embedder_becomes_a_variant_of_its_folder_with_close_vectors(
    tmp_path: Path, minilm: Embedder
) -> None:
    folder = tmp_path / "minilm"
    shutil.copytree(minilm.path, folder)
    got = optimize(Embedder(folder), "int8")
    assert got.path == folder / "model_int8.onnx"
    assert isinstance(got.model, Embedder)
    assert got.model.variant == "int8"
    assert got.size[1] < 0.3 * got.size[0]
    assert got.difference.cosine is not None
    least, mean = got.difference.cosine
    assert least > 0.9
    assert mean > 0.985
    old, new = minilm.encode("My kettle is dead."), got.model.encode("My kettle is dead.")
    assert old @ new > 0.97


def test_the_progress_names_its_steps(tmp_path: Path, jobs: list[Progress]) -> None:
    optimize(linear(tmp_path / "m.onnx"), "fp16")
    job = next(job for job in jobs if job.name == "optimize m.onnx")
    assert (job.unit, job.done, job.total) == ("step", 4, 5)
    assert job.phase == "timing the opening"
