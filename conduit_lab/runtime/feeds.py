"""Feeds made from nothing but a graph: inputs of the right shape and kind, always the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.runtime import derived
from conduit_lab.runtime.session import dtype_of

LENGTH = 16  # of a free axis that is not the batch
_SAME = ("Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten")  # hand ids on as they are


def made(path: Path, specs: Sequence[TensorSpec], rows: int) -> dict[str, Array]:
    """Return arrays for the inputs of an ONNX file: `rows` samples, or as many as the graph fixes.

    Floats are drawn from a normal distribution, whole numbers that look rows of a table up within that table, others
    are 1, as a mask would be. Raises `ModelInputError` for an input of text, which cannot be made up.
    """
    rng = np.random.default_rng(0)
    tables = _tables(path)
    feeds = {}
    for spec in specs:
        if spec.dtype == "str":
            raise ModelInputError(f"inputs for {spec.name} {spec} cannot be made up: pass samples=")
        sizes = [axis if isinstance(axis, int) else LENGTH if place else rows for place, axis in enumerate(spec.shape)]
        dtype = dtype_of(spec)
        if dtype.kind == "f":
            feeds[spec.name] = rng.standard_normal(sizes).astype(dtype)
        else:
            feeds[spec.name] = (
                rng.integers(0, tables[spec.name], sizes).astype(dtype)
                if spec.name in tables
                else np.ones(sizes, dtype)
            )
    return feeds


def _tables(path: Path) -> dict[str, int]:
    """Return how many rows the table has that an input looks up, for each input that does."""
    graph: Any = derived.load(path, weights=False).graph
    sizes = {tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) > 1}
    source = {value.name: value.name for value in graph.input}
    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in _SAME and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
        if node.op_type == "Gather" and node.input[0] in sizes and node.input[1] in source:
            name = source[node.input[1]]
            found[name] = min(found.get(name, sizes[node.input[0]]), sizes[node.input[0]])
    return found
