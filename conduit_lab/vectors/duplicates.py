"""Duplicates: groups of entries that say nearly the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views import figures, html
from conduit_lab.vectors.arrays import IntArray
from conduit_lab.vectors.entry import Entry

# rows a side: a tile of cosines is 4 MB, and wide enough for the product to run at full speed
TILE = 1_024
ROUNDING = 1e-6  # what float32 loses in a cosine: equal vectors are equal


@dataclass(frozen=True)
class Group:
    """Entries that are nearly the same, in the order of adding; `similarity` is the least cosine to the first."""

    entries: tuple[Entry, ...]
    similarity: float

    @property
    def ids(self) -> list[str]:
        """Ids of the entries."""
        return [entry.id for entry in self.entries]


class Duplicates(Sequence[Group]):
    """The groups of near-duplicates among `total` entries, the largest first.

    Two entries are in one group when a chain of cosines of at least `threshold` joins them. To keep
    the first of each: `store.delete([id for group in store.duplicates() for id in group.ids[1:]])`.
    """

    def __init__(self, groups: Sequence[Group], total: int, threshold: float) -> None:
        self._groups = tuple(groups)
        self.total = total
        self.threshold = threshold

    def __getitem__(self, index: Any) -> Any:
        return self._groups[index]

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def _title(self) -> str:
        spare = sum(len(group.entries) - 1 for group in self)
        total = f"{figures.count(self.total)} {'entry' if self.total == 1 else 'entries'}"
        return f"{figures.count(spare)} of {total} repeat{'s' * (spare == 1)} another (cosine ≥ {self.threshold:g})"

    def _rows(self, width: int) -> list[tuple[str, str, str, str]]:
        return [
            (
                str(len(group.entries)),
                f"{group.similarity:.3f}",
                shorten(", ".join(group.ids[:width]), width, placeholder="…"),
                shorten((group.entries[0].content or "")[: 4 * width], width, placeholder="…"),
            )
            for group in self[: html.MAX_ROWS]
        ]

    def __repr__(self) -> str:
        if not self:
            return self._title
        rest = f"\n{len(self) - html.MAX_ROWS} more rows" if len(self) > html.MAX_ROWS else ""
        return f"{self._title}\n{html.columns(_COLUMNS, self._rows(48), _NUMERIC)}{rest}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        body = (
            html.table(_COLUMNS, self._rows(200), _NUMERIC) + html.more(len(self)) if self else ""
        )
        return html.bundle(repr(self), html.header("Duplicates", self._title) + body)


_COLUMNS = ("entries", "cosine", "ids", "first content")
_NUMERIC = ("entries", "cosine")


def find(entries: Sequence[Entry], threshold: float = 0.95) -> Duplicates:
    """Return the groups of entries that are joined by cosines of at least `threshold`, above 0 and
    up to 1.

    All pairs are compared, a tile at a time: so memory grows with the number of entries, and the
    time with its square (10,000 of 384 dimensions take about two seconds on two cores). A zero
    vector is like nothing.
    """
    if isinstance(threshold, bool) or not 0 < threshold <= 1:
        raise VectorInputError(
            f"the threshold of duplicates is a cosine above 0 and up to 1, got {threshold!r}"
        )
    if not entries:
        return Duplicates([], 0, threshold)
    units = _normalised(np.stack([entry.embedding for entry in entries]))
    roots = _joined(len(units), _pairs(units, threshold - ROUNDING))
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
    lengths = np.sqrt(
        np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    )  # float32 would overflow
    lengths = np.where(lengths > 0, lengths, 1.0)[:, np.newaxis]
    return np.divide(vectors, lengths, out=np.empty_like(vectors), casting="same_kind")


def _pairs(units: FloatArray, threshold: float) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the pairs (i, j), i < j, whose cosine is at least `threshold`, as two arrays for each tile that has any."""
    for top in range(0, len(units), TILE):
        for left in range(top, len(units), TILE):
            near = units[top : top + TILE] @ units[left : left + TILE].T >= threshold
            rows, columns = np.nonzero(np.triu(near, 1) if left == top else near)
            if rows.size:
                yield rows + top, columns + left


def _joined(count: int, pairs: Iterable[tuple[IntArray, IntArray]]) -> IntArray:
    """Return for each of `count` things the first of its group: things joined by a chain of `pairs`."""
    root = np.arange(count)
    for a, b in pairs:
        while np.any(apart := root[a] != root[b]):
            a, b = a[apart], b[apart]
            low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
            np.minimum.at(root, high, low)
            while np.any((above := root[root]) != root):
                root = above
    return root
