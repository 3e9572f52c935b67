"""Derived: the codes and the graph of an index, made in the background when its rows call for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.vectors.index import hnsw
from conduit_lab.vectors.index.bits import Bits
from conduit_lab.vectors.index.bound import BoolArray, IntArray
from conduit_lab.vectors.index.building import Building, M
from conduit_lab.vectors.index.codes import Int8
from conduit_lab.vectors.index.hnsw import Graph
from conduit_lab.vectors.index.rows import Rows

# From so many rows on each is made: `benchmarks/vectors.py scan` finds it faster by then.
INT8_ROWS = 4_096
BITS_ROWS = 250_000
GRAPH_ROWS = 500_000
# dimensions of fewer values are scanned as fast as codes of them, which are packed to whole words
_NARROW = 96
_TAIL = 256  # rows without codes that are scanned as they are, before a thread codes them
_UNLINKED = 2_048  # the same for the graph
_STALE = 64  # a graph is made anew when one in so many of its rows was replaced


class Derived:
    """What searches of `rows` may use instead of scanning them, each None until it is made.

    `codes` cover the first rows: 8 bits a value, or for very many rows 1 bit, if that finds the
    neighbours of the store's own rows. `graph` too is taken only if it does, and never made over
    rows that are mapped from a file, since it would take the memory that mapping saves. `saved` is
    what `save` gave.

    Threads build; what they built is taken in by whichever method is called next, under the lock of
    the caller.
    """

    def __init__(self, rows: Rows, saved: Mapping[str, Array], mapped: bool) -> None:
        self._rows = rows
        self.codes: Int8 | Bits | None = None
        if "codes" in saved:
            self.codes = Int8(rows, saved)
        elif "planes" in saved:
            self.codes = Bits(rows, saved)
        self.graph: Graph | None = None
        self._coding: Building[Int8 | Bits] | None = None
        self._linking: Building[Graph] | None = None
        self._changed: list[IntArray] = []  # rows replaced while a thread may have coded them
        self._bits_from = BITS_ROWS
        self._graph_from = np.inf if mapped or not hnsw.available() else GRAPH_ROWS
        self._able = rows.metric != "manhattan"

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(made.nbytes for made in (self.codes, self.graph) if made is not None)

    def update(self) -> None:
        """Take in what was made, and begin what the rows call for."""
        if self._coding is not None and not self._coding.running:
            self._take_codes(self._coding)
        if self._linking is not None and not self._linking.running:
            self._take_graph(self._linking)
        if not self._able or len(self._rows) < INT8_ROWS:
            return
        if 2 * len(self._rows.odd) > len(self._rows):  # codes would stand for the fewer
            self.codes = self.graph = None
        elif self._coding is None and (making := self._wanted()) is not None:
            self._coding = self._begun(making)
        elif self._coding is None and self._linking is None and len(self._rows) >= self._graph_from:
            self._link()

    def replaced(self, at: IntArray) -> None:
        """Make the rows `at` again, whose vectors are others now."""
        if self._coding is not None:
            self._changed.append(at)
        if self.graph is not None:
            self.graph.replace(at)
        self.update()
        if self.codes is not None:
            self.codes.replace(at[at < len(self.codes)])

    def keep(self, alive: BoolArray) -> None:
        """Drop every row that is not `alive`, and what is made of many rows together: 8-bit codes and the graph."""
        self.close()
        self.graph = None
        if isinstance(self.codes, Bits):
            self.codes.keep(alive[: len(self.codes)])
        else:
            self.codes = None

    def save(self) -> dict[str, Array]:
        """Return the codes as arrays."""
        return {} if self.codes is None else self.codes.save()

    def wait(self) -> None:
        """Wait until no codes are being made any more."""
        while self._coding is not None:
            self._coding.wait()
            self.update()

    def wait_for_graph(self) -> None:
        """Wait until nothing is being made any more."""
        self.wait()
        while self._linking is not None:
            self._linking.wait()
            self.update()

    def close(self) -> None:
        """End every thread; what it had made so far is lost."""
        for building in (self._coding, self._linking):
            if building is not None:
                building.cancel()
        if self._linking is not None and self.graph is not None and not self.graph.width:
            self.graph = None
        self._coding, self._linking, self._changed = None, None, []

    def _wanted(self) -> Int8 | Bits | None:
        if self._rows.dimension < _NARROW:
            return None
        if len(self._rows) >= self._bits_from and not isinstance(self.codes, Bits):
            return Bits(self._rows)
        if self.codes is None or (
            isinstance(self.codes, Int8) and self.codes.outgrown(len(self._rows))
        ):
            return Int8(self._rows)
        return self.codes.after() if len(self._rows) - len(self.codes) >= _TAIL else None

    def _take_codes(self, done: Building[Int8 | Bits]) -> None:
        self._coding, made = None, done.made
        changed, self._changed = self._changed, []
        if done.failed:
            self._able = False
        elif isinstance(made, Bits) and not made.margin:
            self._bits_from = 2 * len(self._rows)
        elif made is not None and made.begin == 0:
            self.codes = made
        elif made is not None and self.codes is not None:
            self.codes.join(made)  # type: ignore[arg-type]  # `after` made it of the same kind
        if self.codes is not None:
            for at in changed:
                self.codes.replace(at[at < len(self.codes)])

    def _link(self) -> None:
        if self.graph is not None and len(self.graph.replaced) * _STALE > len(self.graph):
            self.graph = None
        if self.graph is None:
            self.graph = Graph(self._rows)
        if len(self._rows) - len(self.graph) >= _UNLINKED:
            self._linking = self._begun(self.graph)

    def _take_graph(self, done: Building[Graph]) -> None:
        self._linking = None
        if done.made is None or not done.made.width:
            self.graph = None
            self._graph_from = np.inf if done.failed else 2 * len(self._rows)

    def _begun(self, making: M) -> Building[M]:
        return Building(making, len(self._rows), self)
