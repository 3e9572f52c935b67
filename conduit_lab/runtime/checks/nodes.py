"""Nodes: iterate over an ONNX protobuf, including its subgraphs and functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def bodies(model: Any) -> Iterator[Any]:
    """Yield the graph, the functions and all their subgraphs."""
    pending = [*reversed(model.functions), model.graph]
    while pending:
        body = pending.pop()
        yield body
        inner = (graph for node in body.node for graph in subgraphs(node))
        pending += reversed(list(inner))


def all_nodes(model: Any) -> Iterator[Any]:
    """Yield every node of the graph, its subgraphs and functions."""
    for body in bodies(model):
        yield from body.node


def subgraphs(node: Any) -> Iterator[Any]:
    """Yield the subgraphs of a node, such as the branches of an If."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_tensors(model: Any) -> Iterator[Any]:
    """Yield every constant tensor: initializers, attributes, and both parts of sparse tensors."""
    for body in bodies(model):
        yield from getattr(body, "initializer", ())  # a function has none
        sparse = list(getattr(body, "sparse_initializer", ()))
        for node in body.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
                sparse += attribute.sparse_tensors
        for tensor in sparse:
            yield from (tensor.values, tensor.indices)


def opset_of(model: Any) -> int:
    """Return the version of ONNX's own operators that a protobuf imports, or 0."""
    versions = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return max(versions, default=0)
