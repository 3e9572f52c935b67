"""Merged decoders as Optimum writes them: one `If` over a prefill and a decode graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.models.generation.writers import copy


def merged_folder(name: str, path: Path) -> Path:
    """Return a folder of a test decoder with `decoder_model_merged.onnx` in place of its graph."""
    folder = copy(name, path)
    model = onnx.load(folder / "model.onnx")
    (folder / "model.onnx").unlink()
    onnx.save(merged(model), folder / "decoder_model_merged.onnx")
    return folder


def merged(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = model.graph
    outputs = [output.name for output in graph.output]
    pasts = [value for value in graph.input if "past" in value.name]
    branches = [branch(graph, "then_", []), branch(graph, "else_", pasts)]
    chosen = helper.make_node(
        "If", ["use_cache_branch"], outputs, then_branch=branches[0], else_branch=branches[1]
    )
    flag = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    made = helper.make_graph(
        [chosen], "merged", [*graph.input, flag], graph.output, graph.initializer
    )
    return helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)


def branch(
    graph: onnx.GraphProto, prefix: str, absent: Sequence[onnx.ValueInfoProto]
) -> onnx.GraphProto:
    """Return a copy of a graph under other names, in which the absent inputs are empty."""
    own = {name for node in graph.node for name in node.output} | {each.name for each in absent}
    result = onnx.GraphProto()
    result.name = prefix
    for each in absent:
        kind = each.type.tensor_type
        shape = [axis.dim_value or (1, 1, 0, 1)[at] for at, axis in enumerate(kind.shape.dim)]
        empty = numpy_helper.from_array(
            np.zeros(shape, helper.tensor_dtype_to_np_dtype(kind.elem_type))
        )
        result.node.append(helper.make_node("Constant", [], [prefix + each.name], value=empty))
    for node in graph.node:
        kept = result.node.add()
        kept.CopyFrom(node)
        kept.name = prefix + node.name
        kept.input[:] = [prefix + name if name in own else name for name in node.input]
        kept.output[:] = [prefix + name if name else name for name in node.output]
    for output in graph.output:
        renamed = result.output.add()
        renamed.CopyFrom(output)
        renamed.name = prefix + output.name
    return result
