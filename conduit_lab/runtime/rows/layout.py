"""Layout: the batch axis of each input and output of an opened model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import MissingExtra, ModelLoadError
from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.runtime.checks.content import FileIdentity, identity
from conduit_lab.runtime.rows.dataflow import Dataflow, read_dataflow
from conduit_lab.runtime.rows.flow import INDEPENDENT, MIXED

# generated names of tf2onnx and paddle2onnx for an unnamed axis
_UNNAMED = re.compile(r"\?|unk__\d+|(p2o\.)?DynamicDimension\.\d+")
_GONE: FileIdentity = ("", 0, 0, 0)
_SHORT = ("n", "b", "bs")  # names of a batch axis that does not come first
_TIME = re.compile(r"(?i)t|l|time.*|seq.*|frames|steps|length|timesteps")


@dataclass(frozen=True)
class Layout:
    """The batch axis of each input and output of a model, or None.

    An input's batch axis is the axis with a batch name, else its first axis if that is free. An
    output's is the axis of the same name; if names are missing, the graph's operators decide.
    `size` is a fixed batch size, 0 for any; above 1 only where the operators prove that the fixed
    axis is a batch axis.
    """

    names: tuple[str, ...]
    inputs: tuple[int | None, ...]
    outputs: tuple[int | None, ...]
    size: int = 0
    together: bool = True  # all batched inputs have the same number of rows
    _source: tuple[Path, FileIdentity] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, opened: Any, path: Path | None = None) -> Layout:
        """Return the layout of a session, or of any object with `path`, `inputs` and `outputs`.

        `path` replaces the session's own path: another file with the same content.
        """
        path = path or opened.path
        if path.suffix != ".onnx":
            return cls.of_specs(opened.inputs, opened.outputs, None)
        try:
            source = path, identity(path)
        except OSError:  # deleted since it was opened
            source = path, _GONE
        return cls.of_specs(opened.inputs, opened.outputs, source)

    @classmethod
    def of_specs(
        cls,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        source: tuple[Path, FileIdentity] | None = None,
    ) -> Layout:
        """Return the layout by the specs, or by the file of `source` if they are insufficient."""
        names = tuple(spec.name for spec in inputs)
        axes = _input_axes(inputs)
        if all(axis is None for axis in axes):
            return _fixed(names, inputs, outputs, source)
        symbols = {
            str(spec.shape[axis])
            for spec, axis in zip(inputs, axes, strict=True)
            if axis is not None
        }
        named = {symbol for symbol in symbols if not _UNNAMED.fullmatch(symbol)}
        together = len(named) < 2
        found = [_output_axis(spec, named) for spec in outputs]
        if together and None in found:
            flow = _dataflow(source, names, axes)
            found = [
                flow.axes.get(s.name) if axis is None else axis
                for s, axis in zip(outputs, found, strict=True)
            ]
        return cls(names, axes, tuple(found), 0, together, source)

    @property
    def splits(self) -> bool:
        """Whether every output has a batch axis."""
        return bool(self.outputs) and None not in self.outputs

    @property
    def joins(self) -> bool:
        """Whether the rows of several callers can be coalesced into one run."""
        return (
            self.size == 0
            and self.together
            and self.splits
            and bool(self.inputs)
            and None not in self.inputs
        )

    def mixed(self) -> int:
        """Return how the rows of a run depend on each other: `INDEPENDENT`, `UNCLEAR` or `MIXED`.

        `MIXED` if the file has changed since it was opened, so it proves nothing about the opened
        graph, or if it cannot be read without onnx.
        """
        if self._source is None:
            return INDEPENDENT
        path, opened = self._source
        try:
            if identity(path) != opened:
                return MIXED
            return _dataflow(self._source, self.names, self.inputs).mixed
        except (OSError, MissingExtra):
            return MIXED

    # Feeds and outputs

    def rows(self, feeds: Mapping[str, Any]) -> int:
        """Return the number of rows in feeds, or 1 without a batch axis."""
        axes = zip(self.names, self.inputs, strict=True)
        return next(
            (int(np.shape(feeds[name])[axis]) for name, axis in axes if axis is not None), 1
        )

    def part(self, feeds: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
        """Return the rows from `start` to `stop`; inputs without a batch axis stay whole."""
        axes = zip(self.names, self.inputs, strict=True)
        return {
            name: feeds[name] if axis is None else slice_along(feeds[name], axis, start, stop)
            for name, axis in axes
        }

    def pieces(self, feeds: Mapping[str, Array], size: int) -> list[dict[str, Array]]:
        """Return the feeds in pieces of at most `size` rows."""
        rows = self.rows(feeds)
        if rows <= size:
            return [dict(feeds)]
        return [self.part(feeds, start, start + size) for start in range(0, rows, size)]

    def repeat(self, feeds: Mapping[str, Array], count: int) -> dict[str, Array]:
        """Return the rows of feeds repeated cyclically to `count` rows."""
        places = np.arange(count) % max(self.rows(feeds), 1)
        axes = zip(self.names, self.inputs, strict=True)
        return {
            name: feeds[name] if axis is None else np.take(feeds[name], places, axis)
            for name, axis in axes
        }

    def coalesce(self, items: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """Concatenate the feeds of several callers; raises `ValueError` for unequal lengths."""
        axes = zip(self.names, self.inputs, strict=True)
        return {
            name: np.concatenate([feeds[name] for feeds in items], axis or 0) for name, axis in axes
        }

    def split(self, outputs: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
        """Return the rows of each caller, `counts` rows each."""
        ends = list(accumulate(counts))
        spans = list(zip([0, *ends[:-1]], ends, strict=True))
        columns = [
            _cut(output, axis or 0, spans)
            for output, axis in zip(outputs, self.outputs, strict=True)
        ]
        return list(map(list, zip(*columns, strict=True)))

    def blank(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return feeds of the minimum batch size to replace empty ones: zeros and empty texts."""
        made = {}
        for name, axis in zip(self.names, self.inputs, strict=True):
            array = feeds[name]
            if axis is not None:
                shape = (*array.shape[:axis], self.size or 1, *array.shape[axis + 1 :])
                array = np.full(shape, "" if array.dtype == object else 0, array.dtype)
            made[name] = array
        return made

    def joined(self, pieces: Sequence[Sequence[Any]]) -> list[Any]:
        """Concatenate the outputs of several pieces."""
        return [
            concatenate_parts(parts, axis or 0)
            for parts, axis in zip(zip(*pieces, strict=True), self.outputs, strict=True)
        ]


def _cut(value: Any, axis: int, spans: Sequence[tuple[int, int]]) -> list[Any]:
    """Return the entries of an output in each span along an axis."""
    if axis == 0 and isinstance(value, np.ndarray):
        return [value[start:stop] for start, stop in spans]
    return [slice_along(value, axis, start, stop) for start, stop in spans]


def slice_along(value: Any, axis: int, start: int, stop: int) -> Any:
    """Return the entries of an output from `start` to `stop` along an axis.

    An output is an array, a list with one map per row, or a list of arrays.
    """
    if isinstance(value, list):
        if value and isinstance(value[0], np.ndarray):
            return [slice_along(array, axis, start, stop) for array in value]
        return value[start:stop]
    return value[start:stop] if axis == 0 else value[(slice(None),) * axis + (slice(start, stop),)]


def concatenate_parts(parts: Sequence[Any], axis: int) -> Any:
    """Concatenate parts of an output, as cut by `slice_along`."""
    if not isinstance(parts[0], list):
        return np.concatenate(parts, axis)
    if parts[0] and isinstance(parts[0][0], np.ndarray):
        return [np.concatenate(arrays, axis) for arrays in zip(*parts, strict=True)]
    return [row for part in parts for row in part]


def _dataflow(
    source: tuple[Path, FileIdentity] | None, names: tuple[str, ...], axes: tuple[int | None, ...]
) -> Dataflow:
    if source is None:
        return Dataflow.unclear()
    try:
        return read_dataflow(source[0], tuple(zip(names, axes, strict=True)))
    except (ModelLoadError, OSError):  # replaced or deleted since it was opened
        return Dataflow.unclear()


def _is_batch_name(dim: int | str) -> bool:
    return isinstance(dim, str) and "batch" in dim.lower() and dim.isidentifier()


def _input_axes(specs: Sequence[TensorSpec]) -> tuple[int | None, ...]:
    """Return the free batch axis of each input, or None."""
    symbol = _symbol(specs)
    axes = [_own_axis(spec.shape, symbol) for spec in specs]
    pairs = zip(specs, axes, strict=True)
    free = any(axis == 0 and _UNNAMED.fullmatch(str(spec.shape[0])) for spec, axis in pairs)
    for place, spec in enumerate(specs):
        unnamed = [i for i, dim in enumerate(spec.shape) if _UNNAMED.fullmatch(str(dim))]
        if axes[place] is None and free and len(unnamed) == 1:
            axes[place] = unnamed[0]  # a state, [layers, ?, width]
    return tuple(axes)


def _symbol(specs: Sequence[TensorSpec]) -> str | None:
    """Return the name of the batch axis, or None without one."""
    dims = [dim for spec in specs for dim in spec.shape if isinstance(dim, str)]
    named = next((dim for dim in dims if _is_batch_name(dim)), None)
    if named is not None:
        return named
    first = next(
        (spec.shape[0] for spec in specs if spec.shape and isinstance(spec.shape[0], str)), None
    )
    leading = [spec.shape[0] for spec in specs if len(spec.shape) > 1]
    if (first is None and 1 not in leading) or _TIME.fullmatch(str(first)):
        return next(
            (dim for dim in dims if dim.lower() in _SHORT), None if first is None else str(first)
        )
    return None if first is None or _UNNAMED.fullmatch(str(first)) else str(first)


def _own_axis(shape: tuple[int | str, ...], symbol: str | None) -> int | None:
    """Return the batch axis of one input."""
    named = [i for i, dim in enumerate(shape) if _is_batch_name(dim)]
    found = named if len(named) == 1 else [i for i, dim in enumerate(shape) if dim == symbol]
    if len(found) == 1:
        return found[0]
    if found or not shape or not isinstance(shape[0], str):
        return None  # twice, as in a similarity matrix of samples
    return None if symbol is not None and _TIME.fullmatch(shape[0]) else 0


def _output_axis(spec: TensorSpec, symbols: set[str]) -> int | None:
    """Return the axis of an output that has the name of the batch axis, or None."""
    if spec.dtype.startswith("seq(map"):
        return 0  # of a ZipMap: one map per row
    found = [i for i, dim in enumerate(spec.shape) if dim in symbols]
    return found[0] if len(found) == 1 else None


def _fixed(
    names: tuple[str, ...],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    source: tuple[Path, FileIdentity] | None,
) -> Layout:
    """Return the layout of a graph with a fixed batch axis, or with none."""
    unbatched = Layout(names, (None,) * len(inputs), (None,) * len(outputs), 0, True, source)
    deep = [spec.shape for spec in inputs if len(spec.shape) > 1]
    if any(shape[0] == 1 for shape in deep):  # rows run one by one
        axes = tuple(_single_axis(spec.shape) if len(spec.shape) > 1 else None for spec in inputs)
        found = tuple(
            0 if s.dtype.startswith("seq(map") else _single_axis(s.shape) for s in outputs
        )
        return Layout(names, axes, found, 1, True, source)
    size = deep[0][0] if deep else 0
    if (
        not isinstance(size, int)
        or size < 1
        or any(shape[0] != size for shape in deep)
        or len(deep) < len(inputs)
    ):
        return unbatched
    flow = _dataflow(source, names, (0,) * len(inputs))
    proved = flow.mixed == INDEPENDENT and all(
        flow.axes.get(spec.name) is not None for spec in outputs
    )
    if not proved:
        return unbatched
    found = tuple(flow.axes[spec.name] for spec in outputs)
    return Layout(names, (0,) * len(inputs), found, size, True, source)


def _single_axis(shape: tuple[int | str, ...]) -> int | None:
    """Return the axis of length 1 that holds the row: the first axis, or the only such axis."""
    ones = [i for i, dim in enumerate(shape) if dim == 1]
    return ones[0] if ones and (len(ones) == 1 or ones[0] == 0) else None
