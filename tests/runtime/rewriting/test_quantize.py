"""Smaller forms of a file: close answers, same interface, and no trace of a failed conversion."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from conduit_lab.core.errors import MissingExtra, ModelLoadError, OptimizeError
from conduit_lab.core.spec import Array
from conduit_lab.runtime.rewriting import derived_files, quantize
from conduit_lab.runtime.sessions.session import Session
from tests.runtime import graphs

KINDS = list(quantize.SUFFIXES)
WIDE = 64
LABELS = {"labels": json.dumps([f"class {i}" for i in range(WIDE)])}


def weights(rows: int = WIDE, columns: int = WIDE) -> Array:
    drawn = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    return drawn / np.float32(rows**0.5)


def inputs(rows: int = 8, columns: int = WIDE) -> Array:
    return np.random.default_rng(1).standard_normal((rows, columns)).astype(np.float32)


def convolution(path: Path) -> Path:
    """Write conv, batch norm and ReLU: float32 `[batch, 3, 8, 8]` to `[batch, 16, 8, 8]`."""
    rng = np.random.default_rng(0)
    constants = {
        "K": rng.standard_normal((16, 3, 3, 3)) / 5,
        "gain": rng.uniform(0.5, 2, 16),
        "zero": np.zeros(16),
        "one": np.ones(16),
    }
    return graphs.save(
        path,
        [
            graphs.node("Conv", ["input", "K"], ["c"], pads=[1, 1, 1, 1]),
            graphs.node("BatchNormalization", ["c", "gain", "zero", "zero", "one"], ["n"]),
            graphs.node("Relu", ["n"], ["output"]),
        ],
        [graphs.value("input", ["batch", 3, 8, 8])],
        [graphs.value("output", ["batch", 16, 8, 8])],
        [graphs.constant(name, array.astype(np.float32)) for name, array in constants.items()],
    )


def table(path: Path) -> Path:
    """Write an embedding table of 50 tokens by 64, followed by a matrix product."""
    return graphs.save(
        path,
        [
            graphs.node("Gather", ["table", "ids"], ["h"]),
            graphs.node("MatMul", ["h", "W"], ["output"]),
        ],
        [graphs.value("ids", ["batch", "tokens"], "int64")],
        [graphs.value("output", ["batch", "tokens", WIDE])],
        [graphs.constant("table", weights(50)), graphs.constant("W", weights())],
    )


def run(path: Path, **feeds: Array) -> Array:
    return Session(path).run(feeds)[0]


def relative(old: Array, new: Array) -> float:
    return float(np.sqrt(np.mean((old - new) ** 2)) / old.std())


def operators(path: Path) -> list[str]:
    return [node.op_type for node in graphs.load(path).graph.node]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("int8", "model_int8.onnx"),
        ("fp16", "model_fp16.onnx"),
        ("int4", "model_q4.onnx"),
        ("graph", "model_graph.onnx"),
    ],
)
def test_result_is_beside_the_source_under_the_usual_name(
    tmp_path: Path, kind: str, name: str
) -> None:
    assert quantize.converted_path(tmp_path / "model.onnx", kind) == tmp_path / name


@pytest.mark.parametrize(
    ("kind", "error", "share"),
    [("int8", 0.02, 0.4), ("fp16", 0.002, 0.6), ("int4", 0.2, 0.4), ("graph", 1e-6, 1.1)],
)
def test_answers_closely_and_shrinks_as_expected(
    tmp_path: Path, kind: str, error: float, share: float
) -> None:
    source, target = graphs.linear(tmp_path / "a.onnx", weights()), tmp_path / "b.onnx"
    quantize.convert(source, target, kind)
    assert 0 <= relative(run(source, input=inputs()), run(target, input=inputs())) < error
    names_and_origin = 700  # bytes
    assert target.stat().st_size < share * source.stat().st_size + names_and_origin


@pytest.mark.parametrize("kind", KINDS)
def test_keeps_inputs_outputs_and_metadata(tmp_path: Path, kind: str) -> None:
    source, target = graphs.linear(tmp_path / "a.onnx", weights(), LABELS), tmp_path / "b.onnx"
    quantize.convert(source, target, kind)
    old, new = Session(source), Session(target)
    assert (new.inputs, new.outputs) == (old.inputs, old.outputs)
    assert {k: v for k, v in new.metadata.items() if k != derived_files.ORIGIN_KEY} == LABELS


def test_result_records_its_origin(tmp_path: Path) -> None:
    source, target = graphs.linear(tmp_path / "a.onnx", weights()), tmp_path / "b.onnx"
    quantize.convert(source, target, "int8")
    made = derived_files.origin(target)
    assert made is not None
    assert (made["kind"], made["sources"]) == ("int8", derived_files.digests([source]))
    assert f"onnx {onnx.__version__}" in made["with"]


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_embedding_tables_become_smaller_too(tmp_path: Path, kind: str) -> None:
    source, target = table(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    quantize.convert(source, target, kind)
    ids = np.arange(50)[None]
    assert relative(run(source, ids=ids), run(target, ids=ids)) < (0.02 if kind == "int8" else 0.2)
    largest = max(tensor.ByteSize() for tensor in graphs.load(target).graph.initializer)
    assert largest < weights().nbytes / 3


def test_int8_has_one_scale_for_each_channel(tmp_path: Path) -> None:
    # one scale per tensor would round the small columns to zero
    uneven = weights() * np.logspace(-3, 0, WIDE, dtype=np.float32)
    source, target = graphs.linear(tmp_path / "a.onnx", uneven), tmp_path / "b.onnx"
    quantize.convert(source, target, "int8")
    old, new = run(source, input=inputs()), run(target, input=inputs())
    assert relative(old[:, 0], new[:, 0]) < 0.02


def test_convolutions_become_int8_with_calibration(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, target = convolution(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    pictures = inputs(16, 192).reshape(16, 3, 8, 8)
    quantize.convert(source, target, "int8", [{"input": pictures[:8]}, {"input": pictures[8:]}])
    assert relative(run(source, input=pictures), run(target, input=pictures)) < 0.05
    assert "BatchNormalization" not in operators(target)  # merged into the convolution
    assert capfd.readouterr() == ("", "")


def test_convolutions_without_calibration_are_refused_with_the_next_step(tmp_path: Path) -> None:
    source = convolution(tmp_path / "a.onnx")
    with pytest.raises(
        OptimizeError, match=r"nothing to convert to int8: its convolutions need calibration="
    ):
        quantize.convert(source, tmp_path / "b.onnx", "int8")


@pytest.mark.parametrize("kind", ["int8", "fp16", "int4"])
def test_file_without_weights_is_refused(tmp_path: Path, kind: str) -> None:
    source = graphs.identity(tmp_path / "a.onnx", "float32")
    with pytest.raises(
        OptimizeError, match=f"nothing to convert to {kind}: it has no float32 weights"
    ):
        quantize.convert(source, tmp_path / "b.onnx", kind)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_in_a_side_file_are_read(tmp_path: Path, kind: str) -> None:
    whole = graphs.linear(tmp_path / "whole.onnx", weights())
    source, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    onnx.save(
        graphs.load(whole), source, save_as_external_data=True, location="a.bin", size_threshold=0
    )
    quantize.convert(source, target, kind)
    assert relative(run(whole, input=inputs()), run(target, input=inputs())) < 0.2
    assert not (tmp_path / "b.onnx_data").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_many_weights_go_into_a_side_file(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derived_files, "MAX_INLINE_BYTES", 1000)
    source, target = graphs.linear(tmp_path / "a.onnx", weights()), tmp_path / "b.onnx"
    quantize.convert(source, target, kind)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx", "b.onnx_data"]
    assert relative(run(source, input=inputs()), run(target, input=inputs())) < 0.2


def test_side_file_of_an_earlier_result_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = graphs.linear(tmp_path / "a.onnx", weights()), tmp_path / "b.onnx"
    with monkeypatch.context() as context:
        context.setattr(derived_files, "MAX_INLINE_BYTES", 1000)
        quantize.convert(source, target, "int8")
    quantize.convert(source, target, "int8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


class Stopped(BaseException):
    """Stands in for KeyboardInterrupt, which would stop the test runner."""


@pytest.mark.parametrize("error", [ValueError("unknown layer"), Stopped()])
def test_failed_or_interrupted_conversion_leaves_nothing_behind(
    tmp_path: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = graphs.linear(tmp_path / "a.onnx", weights()), tmp_path / "b.onnx"
    quantize.convert(source, target, "int8")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(derived_files, "write_derived", fail)
    with pytest.raises((OptimizeError, Stopped)):
        quantize.convert(source, target, "fp16")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_foreign_file_is_not_overwritten(tmp_path: Path) -> None:
    source = graphs.linear(tmp_path / "a.onnx", weights())
    theirs = graphs.linear(tmp_path / "b.onnx", weights()).read_bytes()
    with pytest.raises(OptimizeError, match=r"b\.onnx exists and was not created by conduit_lab"):
        quantize.convert(source, tmp_path / "b.onnx", "int8")
    assert (tmp_path / "b.onnx").read_bytes() == theirs


def test_missing_folder_is_named(tmp_path: Path) -> None:
    source = graphs.linear(tmp_path / "a.onnx", weights())
    with pytest.raises(
        OptimizeError, match=r"none/b\.onnx cannot be written: No such file or directory"
    ):
        quantize.convert(source, tmp_path / "none" / "b.onnx", "int8")


def test_broken_file_is_refused_as_when_loading(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ModelLoadError, match=r"a\.onnx is not a valid ONNX model"):
        quantize.convert(tmp_path / "a.onnx", tmp_path / "b.onnx", "int8")


def test_int4_names_the_extra_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = graphs.linear(tmp_path / "a.onnx", weights())
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization.matmul_nbits_quantizer", None)
    with pytest.raises(MissingExtra, match=r"int4 needs onnx_ir.*conduit-lab\[optimize\]"):
        quantize.convert(source, tmp_path / "b.onnx", "int4")


@pytest.mark.parametrize("kind", KINDS)
def test_conversion_prints_nothing_and_restores_the_process_state(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    source = graphs.linear(tmp_path / "a.onnx", weights())
    root = logging.getLogger()
    before = list(sys.path), list(root.handlers), list(root.filters), root.level
    quantize.convert(source, tmp_path / "b.onnx", kind)
    assert (list(sys.path), list(root.handlers), list(root.filters), root.level) == before
    assert (capfd.readouterr(), caplog.records) == (("", ""), [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_in_the_cache_of_hugging_face_is_converted(tmp_path: Path, kind: str) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    plain = graphs.linear(tmp_path / "plain.onnx", weights())
    saved = {"save_as_external_data": True, "location": "model.onnx_data", "size_threshold": 0}
    onnx.save(graphs.load(plain), str(tmp_path / "model.onnx"), **saved)
    for name in ("model.onnx", "model.onnx_data"):
        (tmp_path / name).replace(blobs / name[::-1])
        (snapshot / name).symlink_to(blobs / name[::-1])
    quantize.convert(snapshot / "model.onnx", tmp_path / "made.onnx", kind)
    assert relative(run(plain, input=inputs()), run(tmp_path / "made.onnx", input=inputs())) < 0.2


def test_a_model_with_an_operator_unknown_to_its_opset_is_converted(tmp_path: Path) -> None:
    path = graphs.save(
        tmp_path / "a.onnx",
        [
            graphs.node("LayerNormalization", ["x", "g"], ["h"]),
            graphs.node("MatMul", ["h", "W"], ["y"]),
        ],
        [graphs.value("x", ["n", WIDE])],
        [graphs.value("y", ["n", WIDE])],
        [graphs.constant("g", np.ones(WIDE, np.float32)), graphs.constant("W", weights())],
        opset=14,
    )
    quantize.convert(path, tmp_path / "made.onnx", "fp16")
    assert relative(run(path, x=inputs()), run(tmp_path / "made.onnx", x=inputs())) < 0.01
