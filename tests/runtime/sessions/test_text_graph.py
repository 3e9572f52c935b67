"""TextGraph: the sizes that a graph states, independent of the names of nodes and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.runtime.sessions.text_graph import TextGraph, read_text_graph
from tests.runtime import graphs

MINILM = Path(__file__).parents[3] / "data" / "models" / "minilm" / "model.onnx"
node, constant = graphs.node, graphs.constant


def read(
    path: Path, nodes: list[Any], constants: list[Any], output: str = "out", dtype: str = "int64"
) -> TextGraph:
    inputs = [
        graphs.value(name, ["batch", "tokens"], dtype) for name in ("input_ids", "attention_mask")
    ]
    graphs.save(
        path / "model.onnx",
        nodes,
        inputs,
        [graphs.value(output, ["batch", "tokens", 2])],
        constants,
    )
    return read_text_graph(path / "model.onnx")


def table(name: str, rows: int, dtype: Any = np.float32) -> Any:
    return constant(name, np.ones((rows, 2), dtype))


WORDS = node("Gather", ["t", "input_ids"], ["out"])


def test_the_token_table_is_indexed_by_the_ids(tmp_path: Path) -> None:
    stated = read(tmp_path, [WORDS], [table("t", 300)])
    assert stated == TextGraph(("input_ids", "attention_mask"), {"out": (3, 2)}, 300, None)


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_tables_may_be_cast_quantised_and_constants_of_nodes(tmp_path: Path, dtype: str) -> None:
    quantised = [
        node("Cast", ["input_ids"], ["ids"], to=7),
        node("DequantizeLinear", ["t", "scale"], ["real"]),
        node("Gather", ["real", "ids"], ["out"]),
    ]
    scale = constant("scale", np.float32(1))
    assert (
        read(tmp_path, quantised, [table("t", 300, np.int8), scale], dtype=dtype).vocabulary == 300
    )
    inside = [node("Constant", [], ["t"], value=table("", 200)), WORDS]
    assert read(tmp_path, inside, [], dtype=dtype).vocabulary == 200


def test_token_types_are_not_positions(tmp_path: Path) -> None:
    nodes = [
        node("Sub", ["input_ids", "input_ids"], ["zeros"]),
        node("Gather", ["types", "zeros"], ["y"]),
        node("Gather", ["t", "input_ids"], ["w"]),
        node("Add", ["w", "y"], ["out"]),
    ]
    stated = read(tmp_path, nodes, [table("t", 300), table("types", 2)])
    assert (stated.vocabulary, stated.positions) == (300, None)


def test_positions_sliced_from_a_constant_are_found(tmp_path: Path) -> None:
    """As in exports of BERT."""
    nodes = [
        node("Shape", ["input_ids"], ["shape"]),
        node("Gather", ["shape", "one"], ["n"], axis=0),
        node("Unsqueeze", ["n", "zero"], ["end"]),
        node("Slice", ["ids", "zero", "end", "ones"], ["places"]),
        node("Gather", ["p", "places"], ["at"]),
        node("Gather", ["t", "input_ids"], ["w"]),
        node("Add", ["w", "at"], ["out"]),
    ]
    constants = [
        constant("one", np.array(1)),
        constant("zero", np.array([0])),
        constant("ones", np.array([1])),
        constant("ids", np.arange(40)[None]),
        table("p", 40),
        table("t", 300),
    ]
    stated = read(tmp_path, nodes, constants)
    assert (stated.vocabulary, stated.positions) == (300, 40)


def test_a_lookup_by_computed_indices_is_ignored(tmp_path: Path) -> None:
    nodes = [
        node("Gather", ["t", "input_ids"], ["w"]),
        node("MatMul", ["w", "big"], ["scores"]),
        node("ArgMax", ["scores"], ["best"], axis=2, keepdims=0),
        node("Gather", ["experts", "best"], ["out"]),
    ]
    stated = read(
        tmp_path,
        nodes,
        [table("t", 70_000), constant("big", np.ones((2, 3), np.float32)), table("experts", 3)],
    )
    assert (stated.vocabulary, stated.positions) == (70_000, None)


def test_a_real_model_is_read() -> None:
    stated = read_text_graph(MINILM)
    assert stated.vocabulary == 30_522
    assert stated.outputs["sentence_embedding"] == (2, 384)


@pytest.mark.parametrize("content", [None, b"", b"not a graph" * 10])
def test_a_missing_or_broken_file_states_nothing(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    assert read_text_graph(path) == TextGraph()
