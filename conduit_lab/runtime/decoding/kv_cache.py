"""KV cache: the keys and values of every row of a decoder's batch, in host memory.

Each row holds one sequence. Both caches have the same methods.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.runtime.decoding.decoder_io import DecoderIO

MIN_CAPACITY_TOKENS = 64  # buffers and masks double from here, to create few bindings

SavedKV = list[Array]  # the cache of some tokens: one [heads, tokens, width] per input


def bucket(tokens: int, limit: int) -> int:
    """Return the smallest power of two that holds this many tokens, or the limit."""
    return min(limit, max(MIN_CAPACITY_TOKENS, 1 << (tokens - 1).bit_length()))


class InPlaceCache:
    """One buffer [rows, heads, tokens, width] per input; GroupQueryAttention updates it in place.

    `version` changes when the memory does, which invalidates earlier bindings.
    """

    def __init__(self, io: DecoderIO, rows: int, context: int) -> None:
        self._io = io
        self._rows = rows
        self._context = context
        self.version = 0
        self._capacity = 0
        self._buffers: list[Array] = []

    def _grow(self, tokens: int) -> None:
        if tokens <= self._capacity:
            return
        old, before = self._buffers, self._capacity
        self._capacity = bucket(tokens, self._context)
        self._buffers = [
            # uninitialized: the system allocates a page on its first write
            np.empty((self._rows, heads, self._capacity, width), self._io.cache_dtype)
            for heads, width in self._io.shapes
        ]
        for new, buffer in zip(self._buffers, old, strict=False):
            new[:, :, :before] = buffer
        self.version += 1

    def bind_row(self, binding: Any, row: int, tokens: int, added: int, rows: int = 1) -> None:
        """Bind rows of this many tokens as the whole batch of a run that adds some to each."""
        self._grow(tokens + added)
        self._bind(binding, row, rows)

    def row_done(self, row: int) -> None:
        """Store the result of the row's run."""

    def fit(self, lengths: Array, limit: int) -> int:
        """Make room for one more token per row; return the mask's width, at most `limit`."""
        longest = int(lengths.max()) + 1
        self._grow(longest)
        return bucket(longest, min(limit, self._context))

    def bind_rows(self, binding: Any, begin: int, rows: int) -> None:
        """Bind `rows` rows from `begin` on for a decode step."""
        self._bind(binding, begin, rows)

    def _bind(self, binding: Any, row: int, rows: int) -> None:
        io = self._io
        for past, present, buffer in zip(io.pasts, io.presents, self._buffers, strict=True):
            view = buffer[row : row + rows]
            bind_in(binding, past, view)
            bind_out(binding, present, view)

    def rows_done(self) -> None:
        """Store the result of the decode step."""

    def move(self, source: int, target: int, tokens: int) -> None:
        """Move a row of this many tokens to another row."""
        for buffer in self._buffers:
            buffer[target, :, :tokens] = buffer[source, :, :tokens]

    def drop(self, row: int) -> None:
        """Empty a row."""

    def save(self, row: int, tokens: int) -> SavedKV:
        """Return a copy of a row's first tokens."""
        return [buffer[row, :, :tokens].copy() for buffer in self._buffers]

    def load(self, row: int, saved: SavedKV, tokens: int) -> None:
        """Fill a row with the first tokens of a copy."""
        self._grow(tokens)
        for buffer, part in zip(self._buffers, saved, strict=True):
            buffer[row, :, :tokens] = part[:, :tokens]

    def clear(self) -> None:
        """Empty all rows and free their memory."""
        self._capacity, self._buffers = 0, []
        self.version += 1


class GrowingCache:
    """Tensors that each run returns one token longer, as in plain exports.

    All rows of a run are as long as the longest: shorter rows are padded on the left, and masked
    there. Two buffers, the sides, alternate, so a decode step allocates nothing. A prefilled row is
    stored separately until the next step gathers it.
    """

    def __init__(self, io: DecoderIO, rows: int) -> None:
        self._io = io
        self._sides: list[list[Array]] = [[], []]  # flat
        self._side = 0
        self._columns = self._batch = 0  # of the current side: tokens and rows
        # of each row: its index in the batch, its own arrays, or None if empty
        self._places: list[int | SavedKV | None] = [None] * rows
        self._lengths = np.zeros(rows, np.int64)
        self._filled: SavedKV = []

    def bind_row(self, binding: Any, row: int, tokens: int, added: int, rows: int = 1) -> None:
        """Bind one row of this many tokens as the whole batch of a run; `rows` is always 1."""
        io = self._io
        past = self.save(row, tokens)
        self._filled = [
            np.empty((1, heads, tokens + added, width), io.cache_dtype)
            for heads, width in io.shapes
        ]
        self._past = past  # alive until the run ends
        for name, array in zip(io.pasts, past, strict=True):
            bind_in(binding, name, array[None])
        for name, array in zip(io.presents, self._filled, strict=True):
            bind_out(binding, name, array)

    def row_done(self, row: int) -> None:
        """Store the result of the row's run."""
        self._places[row] = [array[0] for array in self._filled]
        self._lengths[row] = self._filled[0].shape[2]
        self._filled = self._past = []

    def fit(self, lengths: Array, limit: int) -> int:
        """Make room for one more token in each of the first rows; return their mask's width."""
        rows = len(lengths)
        longest = int(lengths.max())
        if (
            self._batch != rows
            or self._columns != longest
            or self._places[:rows] != list(range(rows))
        ):
            self._gather(lengths, longest)
        return longest + 1

    def _gather(self, lengths: Array, columns: int) -> None:
        """Copy the rows of the batch to the other side."""
        rows = len(lengths)
        other = self._room(1 - self._side, rows, columns)
        for row in range(rows):
            tokens = int(lengths[row])
            for target, part in zip(other, self._parts(row, tokens), strict=True):
                target[row, :, : columns - tokens] = 0  # masked, but a NaN would propagate
                target[row, :, columns - tokens :] = part
        for row, place in enumerate(self._places):
            if row >= rows and isinstance(place, int):  # not in this batch
                self._places[row] = self.save(row, int(self._lengths[row]))
        self._places[:rows] = range(rows)
        self._lengths[:rows] = lengths
        self._side, self._batch, self._columns = 1 - self._side, rows, columns

    def _room(self, side: int, rows: int, columns: int) -> list[Array]:
        """Return a side's memory in this shape; grow it if needed."""
        shapes = [(rows, heads, columns, width) for heads, width in self._io.shapes]
        flat = self._sides[side]
        if not flat or any(
            buffer.size < np.prod(shape) for buffer, shape in zip(flat, shapes, strict=True)
        ):
            size = len(self._places) * bucket(columns, 2**30)
            dtype, kept = self._io.cache_dtype, flat
            flat = [np.empty(size * heads * width, dtype) for heads, width in self._io.shapes]
            for new, buffer in zip(flat, kept, strict=False):
                new[: buffer.size] = buffer[: new.size]
            self._sides[side] = flat
        return [
            buffer[: np.prod(shape)].reshape(shape)
            for buffer, shape in zip(flat, shapes, strict=True)
        ]

    def _parts(self, row: int, tokens: int) -> SavedKV:
        """Return views of a row's tokens, [heads, tokens, width]."""
        place = self._places[row]
        if place is None:
            dtype = self._io.cache_dtype
            return [np.empty((heads, 0, width), dtype) for heads, width in self._io.shapes]
        if not isinstance(place, int):
            return [part[:, :tokens] for part in place]
        start = self._columns - int(self._lengths[row])
        batch = self._room(self._side, self._batch, self._columns)
        return [buffer[place, :, start : start + tokens] for buffer in batch]

    def bind_rows(self, binding: Any, begin: int, rows: int) -> None:
        """Bind the first rows for a decode step; `begin` is always 0."""
        io = self._io
        before = self._room(self._side, rows, self._columns)
        after = self._room(1 - self._side, rows, self._columns + 1)
        for past, present, old, new in zip(io.pasts, io.presents, before, after, strict=True):
            bind_in(binding, past, old)
            bind_out(binding, present, new)

    def rows_done(self) -> None:
        """Store the result of the decode step."""
        self._side = 1 - self._side
        self._columns += 1
        self._lengths[: self._batch] += 1

    def move(self, source: int, target: int, tokens: int) -> None:
        """Move a row of this many tokens to another row."""
        self._places[target], self._lengths[target] = self._places[source], tokens
        self._places[source] = None

    def drop(self, row: int) -> None:
        """Empty a row."""
        self._places[row] = None

    def save(self, row: int, tokens: int) -> SavedKV:
        """Return a copy of a row's first tokens."""
        return [np.array(part) for part in self._parts(row, tokens)]

    def load(self, row: int, saved: SavedKV, tokens: int) -> None:
        """Fill a row with the first tokens of a copy."""
        self._places[row] = [part[:, :tokens] for part in saved]
        self._lengths[row] = tokens

    def clear(self) -> None:
        """Empty all rows and free their memory."""
        self._places = [None] * len(self._places)
        self._sides, self._columns, self._batch = [[], []], 0, 0


KVCache = InPlaceCache | GrowingCache


def bind_in(binding: Any, name: str, array: Array) -> None:
    """Bind the memory of a contiguous array as an input; the caller keeps it alive."""
    binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, _address(array))


def bind_out(binding: Any, name: str, array: Array) -> None:
    """Bind the memory of a contiguous array as an output; the caller keeps it alive."""
    binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, _address(array))


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def kv_cache_for(io: DecoderIO, rows: int, context: int, device: str) -> KVCache:
    """Return the cache for a graph on a device.

    A graph on a device other than the CPU cannot write to host memory, so GroupQueryAttention
    returns a new tensor per run there too.
    """
    if io.in_place and device == "cpu":
        return InPlaceCache(io, rows, context)
    return GrowingCache(io, rows)
