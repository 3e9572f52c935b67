"""Dummy inputs: reproducible arrays of the right shape and dtype, made from a graph alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.runtime.rewriting import derived_files
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.session import dtype_of

FREE_AXIS_LENGTH = 16  # of a free axis other than the batch
# operators that pass IDs on unchanged
_PASSING = ("Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten")


def make_inputs(
    path: Path, specs: Sequence[TensorSpec], rows: int, argument: str = "samples"
) -> dict[str, Array]:
    """Return arrays for the inputs of an ONNX file: `rows` samples, or the graph's fixed number.

    Floats are normally distributed. Integers that index a table lie within it; others are 1, as in
    a mask. Raises `ModelInputError` for text, and for an integer that all samples share, such as a
    sample rate; the error suggests samples as `argument`.
    """
    rng = np.random.default_rng(0)
    tables = _tables(path)
    feeds: dict[str, Array] = {}
    axes = Layout.of_specs(specs, ()).inputs
    for spec, batch, sizes in _sized(specs, axes, rows):
        shared = batch is None and any(axis is not None for axis in axes)
        dtype = dtype_of(spec)
        if spec.dtype == "str" or (shared and dtype.kind in "iu" and spec.name not in tables):
            reason = f"inputs for {spec.name} {spec} cannot be generated"
            raise ModelInputError(ask_for_samples(reason, specs, argument))
        if dtype.kind == "f":
            feeds[spec.name] = rng.standard_normal(sizes).astype(dtype)
        elif spec.name in tables:
            feeds[spec.name] = rng.integers(0, tables[spec.name], sizes).astype(dtype)
        else:
            feeds[spec.name] = np.ones(sizes, dtype)
    return feeds


def ask_for_samples(reason: str, specs: Sequence[TensorSpec], argument: str = "samples") -> str:
    """Return an error message that asks for samples, with an example as code."""
    return f"{reason}: pass {argument}= of your own, such as {argument}={example(specs)}"


def example(specs: Sequence[TensorSpec]) -> str:
    """Return code for one sample with its batch axis: zeros of the right shape and dtype."""
    codes = {}
    for spec, _, sizes in _sized(specs, Layout.of_specs(specs, ()).inputs, 1):
        shape = repr(tuple(sizes))
        zeros = f"np.zeros({shape}, np.{spec.dtype})"
        codes[spec.name] = f"np.full({shape}, 'text')" if spec.dtype == "str" else zeros
    if len(codes) == 1:
        return next(iter(codes.values()))
    return "{" + ", ".join(f'"{name}": {code}' for name, code in codes.items()) + "}"


def _sized(
    specs: Sequence[TensorSpec], axes: Sequence[int | None], rows: int
) -> Iterator[tuple[TensorSpec, int | None, list[int]]]:
    """Yield each spec with its batch axis and its shape for `rows` samples."""
    for spec, batch in zip(specs, axes, strict=True):
        sizes = [
            dim if isinstance(dim, int) else rows if axis == batch else FREE_AXIS_LENGTH
            for axis, dim in enumerate(spec.shape)
        ]
        yield spec, batch, sizes


def _tables(path: Path) -> dict[str, int]:
    """Return the number of table rows for each input that indexes a table."""
    graph: Any = derived_files.load_protobuf(path, weights=False).graph
    sizes = {tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) > 1}
    source = {value.name: value.name for value in graph.input}
    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in _PASSING and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
        if node.op_type == "Gather" and node.input[0] in sizes and node.input[1] in source:
            name = source[node.input[1]]
            found[name] = min(found.get(name, sizes[node.input[0]]), sizes[node.input[0]])
    return found
