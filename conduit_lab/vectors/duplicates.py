"""Duplicates: groups of entries with nearly the same embedding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import overload

import numpy as np

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.progress import Progress, progress
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views import figures, html
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.vectors.arrays import IntArray
from conduit_lab.vectors.entry import Entry

# A tile of cosines takes 4 MB and is wide enough for the product to run at full speed.
_TILE_ROWS = 1_024
_SLACK = 1e-6  # rounding of a float32 cosine, so equal vectors pass a threshold of 1

_COLUMNS = ("entries", "cosine", "ids", "first content")
_NUMERIC = ("entries", "cosine")


@dataclass(frozen=True)
class Group:
    """Near-duplicates in insertion order; `similarity` is the minimum cosine to the first."""

    entries: tuple[Entry, ...]
    similarity: float

    @property
    def ids(self) -> list[str]:
        """Ids of the entries."""
        return [entry.id for entry in self.entries]


class Duplicates(Viewed, Sequence[Group]):
    """The groups of near-duplicates among `total` entries, largest first.

    Two entries are in one group if a chain of cosines of at least `threshold` connects them. To
    keep the first of each: `store.delete([id for group in store.duplicates() for id in
    group.ids[1:]])`.
    """

    def __init__(self, groups: Sequence[Group], total: int, threshold: float) -> None:
        self._groups = tuple(groups)
        self.total = total
        self.threshold = threshold

    @overload
    def __getitem__(self, index: int) -> Group: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Group, ...]: ...

    def __getitem__(self, index: int | slice) -> Group | tuple[Group, ...]:
        return self._groups[index]

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def _title(self) -> str:
        spare = sum(len(group.entries) - 1 for group in self)
        total = figures.plural(self.total, "entry")
        verb = "repeats" if spare == 1 else "repeat"
        return f"{figures.count(spare)} of {total} {verb} another (cosine ≥ {self.threshold:g})"

    def _table(self, width: int) -> Table:
        rows = [
            (
                str(len(group.entries)),
                f"{group.similarity:.3f}",
                shorten(", ".join(group.ids[:width]), width, placeholder="…"),
                shorten((group.entries[0].content or "")[: 4 * width], width, placeholder="…"),
            )
            for group in self[: html.MAX_ROWS]
        ]
        more = f"duplicates[{html.MAX_ROWS}:]"
        return Table(_COLUMNS, rows, _NUMERIC, total=len(self), whole=more)

    def _view(self) -> View:
        return View("Duplicates", self._title, tables=[self._table(200)])

    def __repr__(self) -> str:
        return f"{self._title}\n{self._table(48).plain()}" if self else self._title


def find_duplicates(entries: Sequence[Entry], threshold: float = 0.95) -> Duplicates:
    """Return the groups of entries connected by cosines of at least `threshold`, in (0, 1].

    All pairs are compared tile by tile: memory grows with the number of entries, time with its
    square (10,000 entries of 384 dimensions take about two seconds on two cores). A zero vector is
    similar to no other.
    """
    if isinstance(threshold, bool) or not 0 < threshold <= 1:
        raise VectorInputError(
            f"the threshold of duplicates is a cosine above 0 and up to 1, got {threshold!r}"
        )
    if not entries:
        return Duplicates([], 0, threshold)
    units = _normalised(np.stack([entry.embedding for entry in entries]))
    with progress(_tile_pairs(len(units)), "pair", "find duplicates") as job:
        roots = joined_items(len(units), _pairs(units, threshold - _SLACK, job))
    order = np.argsort(roots, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(roots[order])) + 1)
    groups = [
        Group(
            tuple(entries[i] for i in rows),
            min(1.0, float((units[rows[1:]] @ units[rows[0]]).min())),
        )
        for rows in members
        if len(rows) > 1
    ]
    groups.sort(key=lambda group: -len(group.entries))
    return Duplicates(groups, len(entries), threshold)


def _normalised(vectors: FloatArray) -> FloatArray:
    # float32 would overflow
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    lengths = np.where(lengths > 0, lengths, 1.0)[:, np.newaxis]
    return np.divide(vectors, lengths, out=np.empty_like(vectors), casting="same_kind")


def _tile_pairs(count: int) -> int:
    """Return the number of pairs in all tiles of `count` rows, above the diagonal."""
    sizes = np.diff([*range(0, count, _TILE_ROWS), count])
    return int((sizes.sum() ** 2 + (sizes**2).sum()) // 2)


def _pairs(
    units: FloatArray, threshold: float, job: Progress
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the pairs i < j with a cosine of at least `threshold`, as two arrays per tile."""
    for top in range(0, len(units), _TILE_ROWS):
        for left in range(top, len(units), _TILE_ROWS):
            near = units[top : top + _TILE_ROWS] @ units[left : left + _TILE_ROWS].T >= threshold
            rows, columns = np.nonzero(np.triu(near, 1) if left == top else near)
            job.step(near.size)
            if rows.size:
                yield rows + top, columns + left


def joined_items(count: int, pairs: Iterable[tuple[IntArray, IntArray]]) -> IntArray:
    """Return for each of `count` items the first item connected to it by a chain of `pairs`."""
    root = np.arange(count)
    for a, b in pairs:
        while np.any(apart := root[a] != root[b]):
            a, b = a[apart], b[apart]
            low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
            np.minimum.at(root, high, low)
            while np.any((above := root[root]) != root):
                root = above
    return root
