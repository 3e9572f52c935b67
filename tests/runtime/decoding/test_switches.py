"""Switches: the lengths at which a graph changes its computation, read from the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from conduit_lab.runtime.decoding.switches import Switches, read_switches
from tests.models.generation.longrope import CONTEXT, SWITCH, folder
from tests.models.generation.writers import DECODERS, NAMES

node = helper.make_node


def read(model: onnx.ModelProto, context: int = 1000, configured: int | None = None) -> Switches:
    return read_switches(model, model.graph.node, context, configured)


def model_of(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    """Return a graph of nodes that compare lengths; `total` is the width of the mask, a scalar."""
    total = [
        node("Shape", ["attention_mask"], ["shape"]),
        node("Gather", ["shape", "one"], ["total"]),
    ]
    ints = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "axis"])
        for name in ("input_ids", "attention_mask", "position_ids")
    ]
    tensors = [
        numpy_helper.from_array(np.asarray(array), name)
        for name, array in {"one": 1, **constants}.items()
    ]
    graph = helper.make_graph([*total, *nodes], "lengths", ints, [], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("name", NAMES)
def test_decoders_without_two_caches_have_no_switch(name: str) -> None:
    assert read(onnx.load(DECODERS / name / "model.onnx", load_external_data=False)) == Switches()


def test_switch_beyond_the_context_is_ignored(tmp_path: Path) -> None:
    model = onnx.load(folder(tmp_path) / "model.onnx")
    assert read(model, SWITCH) == Switches()
    assert read(model, CONTEXT) == Switches((SWITCH,), by_mask=True)


@pytest.mark.parametrize(
    ("operator", "operands", "switch"),
    [
        ("Greater", ["total", "limit"], 64),
        ("GreaterOrEqual", ["total", "limit"], 63),
        ("Less", ["total", "limit"], 63),
        ("LessOrEqual", ["total", "limit"], 64),
        ("Less", ["limit", "total"], 64),
    ],
)
def test_each_comparison_is_understood(operator: str, operands: list[str], switch: int) -> None:
    assert read(model_of(node(operator, operands, ["long"]), limit=64)) == Switches(
        (switch,), by_mask=True
    )


def test_arithmetic_before_the_comparison_is_computed() -> None:
    nodes = [
        node("Cast", ["total"], ["float"], to=TensorProto.FLOAT),
        node("Div", ["float", "length"], ["factor"]),
        node("Greater", ["factor", "limit"], ["long"]),
    ]
    assert read(model_of(*nodes, length=np.float32(50), limit=np.float32(2))).lengths == (100,)


def test_two_switches_have_three_sides() -> None:
    model = model_of(
        node("Greater", ["total", "first"], ["long"]),
        node("Greater", ["total", "second"], ["longer"]),
        first=64,
        second=256,
    )
    switches = read(model)
    assert switches == Switches((64, 256), by_mask=True)
    assert [switches.side(total) for total in (1, 64, 65, 256, 257)] == [0, 0, 1, 1, 2]
    assert [switches.shortest(total) for total in (64, 65, 256, 300)] == [1, 65, 65, 257]
    assert [switches.longest(total, 500) for total in (64, 65, 256, 300)] == [64, 256, 256, 500]


def test_comparison_per_token_is_no_switch() -> None:
    assert (
        read(model_of(node("Greater", ["position_ids", "limit"], ["far"]), limit=64)) == Switches()
    )


def test_switch_by_the_highest_position_is_not_by_mask() -> None:
    nodes = [
        node("ReduceMax", ["position_ids"], ["last"], keepdims=0),
        node("Greater", ["last", "limit"], ["long"]),
    ]
    assert read(model_of(*nodes, limit=63)) == Switches((64,), by_mask=False)


def test_switch_by_the_lowest_position_of_a_step() -> None:
    nodes = [
        node("ReduceMin", ["position_ids"], ["first"], keepdims=0),
        node("Greater", ["first", "limit"], ["long"]),
    ]
    assert read(model_of(*nodes, limit=62)) == Switches((64,), by_mask=False)


def test_switch_by_the_sum_of_the_mask() -> None:
    nodes = [
        node("ReduceSum", ["attention_mask"], ["sum"], keepdims=0),
        node("Greater", ["sum", "limit"], ["long"]),
    ]
    assert read(model_of(*nodes, limit=64)) == Switches((64,), by_mask=False)


def test_length_in_the_config_stands_in_for_an_unknown_comparison() -> None:
    strange = model_of(
        node("NonZero", ["attention_mask"], ["places"]),
        node("Greater", ["places", "limit"], ["long"]),
        limit=64,
    )
    assert read(strange) == Switches()
    assert read(strange, configured=64) == Switches((64,))
    assert read(model_of(), configured=64) == Switches()
