"""Feeds made from nothing but a graph: inputs of the right shape and kind, always the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.runtime.rewriting import derived_files
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.session import dtype_of

LENGTH = 16  # of a free axis that is not the batch
_SAME = (
    "Cast",
    "Identity",
    "Reshape",
    "Unsqueeze",
    "Squeeze",
    "Flatten",
)  # hand ids on as they are


def made(
    path: Path, specs: Sequence[TensorSpec], rows: int, argument: str = "samples"
) -> dict[str, Array]:
    """Return arrays for the inputs of an ONNX file: `rows` samples, or as many as the graph fixes.

    Floats are drawn from a normal distribution, whole numbers that look rows of a table up within
    that table, others are 1, as a mask would be. Raises `ModelInputError` for an input that cannot
    be made up: text, and a whole number that all samples share, such as a sample rate. The error
    asks for the caller's own as `argument`.
    """
    rng = np.random.default_rng(0)
    tables = _tables(path)
    axes = Layout.of_specs(specs, ()).inputs
    feeds = {}
    for spec, batch in zip(specs, axes, strict=True):
        shared = batch is None and any(axis is not None for axis in axes)
        dtype = dtype_of(spec)
        if spec.dtype == "str" or (shared and dtype.kind in "iu" and spec.name not in tables):
            raise ModelInputError(
                ask(f"inputs for {spec.name} {spec} cannot be made up", specs, argument)
            )
        sizes = [
            axis if isinstance(axis, int) else rows if place == batch else LENGTH
            for place, axis in enumerate(spec.shape)
        ]
        if dtype.kind == "f":
            feeds[spec.name] = rng.standard_normal(sizes).astype(dtype)
        else:
            feeds[spec.name] = (
                rng.integers(0, tables[spec.name], sizes).astype(dtype)
                if spec.name in tables
                else np.ones(sizes, dtype)
            )
    return feeds


def ask(reason: str, specs: Sequence[TensorSpec], argument: str = "samples") -> str:
    """Return an error that asks for samples, with an example as code."""
    return f"{reason}: pass {argument}= of your own, such as {argument}={example(specs)}"


def example(specs: Sequence[TensorSpec]) -> str:
    """Return one sample for inputs as code, with its batch axis: zeros of the right shape and dtype."""
    axes = Layout.of_specs(specs, ()).inputs
    codes = []
    for spec, batch in zip(specs, axes, strict=True):
        sizes = [
            axis if isinstance(axis, int) else 1 if place == batch else LENGTH
            for place, axis in enumerate(spec.shape)
        ]
        shape = repr(tuple(sizes))
        codes.append(
            f"np.full({shape}, 'text')"
            if spec.dtype == "str"
            else f"np.zeros({shape}, np.{spec.dtype})"
        )
    if len(codes) == 1:
        return codes[0]
    return (
        "{"
        + ", ".join(f'"{spec.name}": {code}' for spec, code in zip(specs, codes, strict=True))
        + "}"
    )


def _tables(path: Path) -> dict[str, int]:
    """Return how many rows the table has that an input looks up, for each input that does."""
    graph: Any = derived_files.load(path, weights=False).graph
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
