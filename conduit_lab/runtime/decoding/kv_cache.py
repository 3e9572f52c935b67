"""KV cache: the keys and values of every row of a decoder's batch, in the host's memory.

A row is a place in the batch. Both caches have the same methods.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.runtime.decoding.decoder_io import Signature

SMALLEST = 64  # tokens; buffers and masks grow from here by doubling, so that few bindings are made

Saved = list[Array]  # the cache of some tokens: one [heads, tokens, width] for each input


def bucket(tokens: int, limit: int) -> int:
    """Return the least power of two that holds so many tokens, or the limit."""
    return min(limit, max(SMALLEST, 1 << (tokens - 1).bit_length()))


class WholeCache:
    """One buffer [rows, heads, tokens, width] for each input, read and written in place by
    GroupQueryAttention.

    `version` changes when the memory does: bindings made before are then void.
    """

    def __init__(self, signature: Signature, rows: int, context: int) -> None:
        self._signature = signature
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
            # not filled, and so not in memory before it is written
            np.empty((self._rows, heads, self._capacity, width), self._signature.cache_dtype)
            for heads, width in self._signature.shapes
        ]
        for new, buffer in zip(self._buffers, old, strict=False):
            new[:, :, :before] = buffer
        self.version += 1

    def bind_row(self, binding: Any, row: int, tokens: int, added: int, rows: int = 1) -> None:
        """Bind one row, or several, of so many tokens, as the whole batch of a run that adds some."""
        self._grow(tokens + added)
        self._bind(binding, row, rows)

    def row_done(self, row: int) -> None:
        """Keep what the run of that row gave."""

    def fit(self, lengths: Array, limit: int) -> int:
        """Make rows ready for one more token each; return the mask's width, at most `limit`."""
        longest = int(lengths.max()) + 1
        self._grow(longest)
        return bucket(longest, min(limit, self._context))

    def bind_rows(self, binding: Any, begin: int, rows: int) -> None:
        """Bind `rows` rows from `begin` on for a run that adds one token to each."""
        self._bind(binding, begin, rows)

    def _bind(self, binding: Any, row: int, rows: int) -> None:
        signature = self._signature
        for past, present, buffer in zip(
            signature.pasts, signature.presents, self._buffers, strict=True
        ):
            view = buffer[row : row + rows]
            bind_in(binding, past, view)
            bind_out(binding, present, view)

    def rows_done(self) -> None:
        """Keep what that run gave."""

    def move(self, source: int, target: int, tokens: int) -> None:
        """Put a row of so many tokens into another's place."""
        for buffer in self._buffers:
            buffer[target, :, :tokens] = buffer[source, :, :tokens]

    def drop(self, row: int) -> None:
        """Empty a row."""

    def save(self, row: int, tokens: int) -> Saved:
        """Return a copy of a row's first tokens."""
        return [buffer[row, :, :tokens].copy() for buffer in self._buffers]

    def load(self, row: int, saved: Saved, tokens: int) -> None:
        """Begin a row with the first tokens of a copy."""
        self._grow(tokens)
        for buffer, part in zip(self._buffers, saved, strict=True):
            buffer[row, :, :tokens] = part[:, :tokens]

    def clear(self) -> None:
        """Empty all rows and give the memory back."""
        self._capacity, self._buffers = 0, []
        self.version += 1


class GrowingCache:
    """Tensors that each run gives anew, one token longer, as the plain exports have them.

    Rows of one run are as long as the longest: a shorter one begins with padding, which the mask
    hides. Two sides of memory take turns, so that nothing is allocated in a step. A row that was
    filled alone lies apart until the next step takes it in.
    """

    def __init__(self, signature: Signature, rows: int) -> None:
        self._signature = signature
        self._sides: list[list[Array]] = [[], []]  # flat
        self._side = 0
        self._columns = self._batch = 0  # of what lies in the side now
        self._places: list[int | Saved | None] = [
            None
        ] * rows  # each row's: in the batch, apart, or nowhere
        self._lengths = np.zeros(rows, np.int64)
        self._filled: Saved = []

    def bind_row(self, binding: Any, row: int, tokens: int, added: int, rows: int = 1) -> None:
        """Bind one row, of so many tokens, as the whole batch of a run that adds some; there are never several."""
        signature = self._signature
        past = self.save(row, tokens)
        self._filled = [
            np.empty((1, heads, tokens + added, width), signature.cache_dtype)
            for heads, width in signature.shapes
        ]
        self._past = past  # alive until the run is done
        for name, array in zip(signature.pasts, past, strict=True):
            bind_in(binding, name, array[None])
        for name, array in zip(signature.presents, self._filled, strict=True):
            bind_out(binding, name, array)

    def row_done(self, row: int) -> None:
        """Keep what the run of that row gave."""
        self._places[row] = [array[0] for array in self._filled]
        self._lengths[row] = self._filled[0].shape[2]
        self._filled = self._past = []

    def fit(self, lengths: Array, limit: int) -> int:
        """Make the first rows ready for one more token each; return the width of their mask."""
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
        """Put the rows of the batch together on the other side."""
        rows = len(lengths)
        other = self._room(1 - self._side, rows, columns)
        for row in range(rows):
            tokens = int(lengths[row])
            for target, part in zip(other, self._parts(row, tokens), strict=True):
                target[row, :, : columns - tokens] = 0  # masked, but a NaN in it would come through
                target[row, :, columns - tokens :] = part
        for row, place in enumerate(self._places):
            if row >= rows and isinstance(place, int):  # it waits outside of the batch
                self._places[row] = self.save(row, int(self._lengths[row]))
        self._places[:rows] = range(rows)
        self._lengths[:rows] = lengths
        self._side, self._batch, self._columns = 1 - self._side, rows, columns

    def _room(self, side: int, rows: int, columns: int) -> list[Array]:
        """Return a side's memory in that shape, grown where it is too small."""
        shapes = [(rows, heads, columns, width) for heads, width in self._signature.shapes]
        flat = self._sides[side]
        if not flat or any(
            buffer.size < np.prod(shape) for buffer, shape in zip(flat, shapes, strict=True)
        ):
            size = len(self._places) * bucket(columns, 2**30)
            dtype = self._signature.cache_dtype
            kept = flat
            flat = [
                np.empty(size * heads * width, dtype) for heads, width in self._signature.shapes
            ]
            for new, buffer in zip(flat, kept, strict=False):
                new[: buffer.size] = buffer[: new.size]
            self._sides[side] = flat
        return [
            buffer[: np.prod(shape)].reshape(shape)
            for buffer, shape in zip(flat, shapes, strict=True)
        ]

    def _parts(self, row: int, tokens: int) -> Saved:
        """Return views of a row's tokens, [heads, tokens, width]."""
        place = self._places[row]
        if place is None:
            return [
                np.empty((h, 0, w), self._signature.cache_dtype) for h, w in self._signature.shapes
            ]
        if not isinstance(place, int):
            return [part[:, :tokens] for part in place]
        start = self._columns - int(self._lengths[row])
        batch = self._room(self._side, self._batch, self._columns)
        return [buffer[place, :, start : start + tokens] for buffer in batch]

    def bind_rows(self, binding: Any, begin: int, rows: int) -> None:
        """Bind the first rows for a run that adds one token to each; `begin` is always 0."""
        signature = self._signature
        before = self._room(self._side, rows, self._columns)
        after = self._room(1 - self._side, rows, self._columns + 1)
        for past, present, old, new in zip(
            signature.pasts, signature.presents, before, after, strict=True
        ):
            bind_in(binding, past, old)
            bind_out(binding, present, new)

    def rows_done(self) -> None:
        """Keep what that run gave."""
        self._side = 1 - self._side
        self._columns += 1
        self._lengths[: self._batch] += 1

    def move(self, source: int, target: int, tokens: int) -> None:
        """Put a row of so many tokens into another's place."""
        self._places[target], self._lengths[target] = self._places[source], tokens
        self._places[source] = None

    def drop(self, row: int) -> None:
        """Empty a row."""
        self._places[row] = None

    def save(self, row: int, tokens: int) -> Saved:
        """Return a copy of a row's first tokens."""
        return [np.array(part) for part in self._parts(row, tokens)]

    def load(self, row: int, saved: Saved, tokens: int) -> None:
        """Begin a row with the first tokens of a copy."""
        self._places[row] = [part[:, :tokens] for part in saved]
        self._lengths[row] = tokens

    def clear(self) -> None:
        """Empty all rows and give the memory back."""
        self._places = [None] * len(self._places)
        self._sides, self._columns, self._batch = [[], []], 0, 0


Cache = WholeCache | GrowingCache


def bind_in(binding: Any, name: str, array: Array) -> None:
    """Bind the memory of a contiguous array as an input; the caller keeps it alive."""
    binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, _address(array))


def bind_out(binding: Any, name: str, array: Array) -> None:
    """Bind the memory of a contiguous array as an output; the caller keeps it alive."""
    binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, _address(array))


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def cache_of(signature: Signature, rows: int, context: int, device: str) -> Cache:
    """Return the cache that a graph needs on a device.

    A graph on another device than the CPU cannot write into the host's memory: there
    GroupQueryAttention, too, gives a new tensor each run.
    """
    if signature.whole and device == "cpu":
        return WholeCache(signature, rows, context)
    return GrowingCache(signature, rows)
