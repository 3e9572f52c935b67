"""Accelerators: the codes and graph of an index, built in the background for many rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.vectors.arrays import BoolArray, IntArray
from conduit_lab.vectors.index import hnsw, packed
from conduit_lab.vectors.index.bits import BitCodes
from conduit_lab.vectors.index.building import BackgroundBuild, M
from conduit_lab.vectors.index.codes import Int8Codes
from conduit_lab.vectors.index.hnsw import HnswGraph
from conduit_lab.vectors.index.rows import VectorRows

# Each is built from this number of rows, where it is faster: `benchmarks/vectors.py scan`.
INT8_ROWS = 4_096
BITS_ROWS = 250_000
GRAPH_ROWS = 500_000
# With fewer dimensions, codes (padded to whole words) are no faster than float32.
_MIN_DIMENSIONS = 96
_MAX_UNCODED_ROWS = 256  # scanned in float32 before a thread encodes them
_MAX_UNLINKED_ROWS = 2_048  # likewise for the graph
_STALE = 64  # rebuild a graph when one in this many of its rows was replaced


class Accelerators:
    """The structures that replace a float32 scan of `rows`, each None until built.

    `codes` cover the first rows: 8 bits per value, or for very many rows 1 bit, if that finds the
    neighbours of the store's own rows. The same condition applies to `graph`, which is never built
    over mapped rows, since it would take the memory that mapping saves. `saved` are the arrays from
    `save`.

    Threads build them; the next method call installs a finished build, under the caller's lock.
    """

    def __init__(self, rows: VectorRows, saved: Mapping[str, Array], mapped: bool) -> None:
        self._rows = rows
        self.codes: Int8Codes | BitCodes | None = None
        if "codes" in saved and packed.can_pack():
            self.codes = Int8Codes(rows, saved)
        elif "planes" in saved:
            self.codes = BitCodes(rows, saved)
        self.graph: HnswGraph | None = None
        self._coding: BackgroundBuild[Int8Codes | BitCodes] | None = None
        self._linking: BackgroundBuild[HnswGraph] | None = None
        self._changed: list[IntArray] = []  # rows replaced during a build
        self._bits_from = BITS_ROWS
        self._graph_from = np.inf if mapped or not hnsw.available() else GRAPH_ROWS
        self._able = rows.metric != "manhattan" and packed.can_pack()

    @property
    def nbytes(self) -> int:
        """Size in memory in bytes."""
        built = (self.codes, self.graph)
        return sum(each.nbytes for each in built if each is not None)

    def update(self) -> None:
        """Install finished builds, and start builds that the number of rows requires."""
        if self._coding is not None and not self._coding.running:
            self._take_codes(self._coding)
        if self._linking is not None and not self._linking.running:
            self._take_graph(self._linking)
        count = self._rows.vectors.count
        if not self._able or count < INT8_ROWS:
            return
        if 2 * len(self._rows.outliers) > count:  # codes would cover less than half
            self.codes = self.graph = None
        elif self._coding is None and (target := self._next_codes(count)) is not None:
            self._coding = self._started(target)
        elif self._coding is None and self._linking is None and count >= self._graph_from:
            self._link()

    def replaced(self, at: IntArray) -> None:
        """Re-encode the rows `at`, whose vectors have changed."""
        if self._coding is not None:
            self._changed.append(at)
        if self.graph is not None:
            self.graph.replace(at)
        self.update()
        if self.codes is not None:
            self.codes.replace(at[at < len(self.codes)])

    def keep(self, live: BoolArray) -> None:
        """Drop rows that are not `live`; discard the 8-bit codes and the graph."""
        self.close()
        self.graph = None
        if isinstance(self.codes, BitCodes):
            self.codes.keep(live[: len(self.codes)])
        else:
            self.codes = None

    def save(self) -> dict[str, Array]:
        """Return the codes as arrays."""
        return {} if self.codes is None else self.codes.save()

    def wait(self) -> None:
        """Wait until no codes are being built."""
        while self._coding is not None:
            self._coding.wait()
            self.update()

    def wait_for_graph(self) -> None:
        """Wait until nothing is being built."""
        self.wait()
        while self._linking is not None:
            self._linking.wait()
            self.update()

    def close(self) -> None:
        """Stop every thread and discard its unfinished build."""
        for building in (self._coding, self._linking):
            if building is not None:
                building.cancel()
        if self._linking is not None and self.graph is not None and not self.graph.width:
            self.graph = None
        self._coding, self._linking, self._changed = None, None, []

    def _next_codes(self, count: int) -> Int8Codes | BitCodes | None:
        codes = self.codes
        if self._rows.dimension < _MIN_DIMENSIONS:
            return None
        if count >= self._bits_from and not isinstance(codes, BitCodes):
            return BitCodes(self._rows)
        if codes is None or (isinstance(codes, Int8Codes) and codes.outgrown(count)):
            return Int8Codes(self._rows)
        return codes.after() if count - len(codes) >= _MAX_UNCODED_ROWS else None

    def _take_codes(self, done: BackgroundBuild[Int8Codes | BitCodes]) -> None:
        self._coding, built = None, done.built
        changed, self._changed = self._changed, []
        if done.failed:
            self._able = False
        elif isinstance(built, BitCodes) and not built.margin:
            self._bits_from = 2 * len(self._rows)
        elif built is not None and built.begin == 0:
            self.codes = built
        elif built is not None and self.codes is not None:
            self.codes.join(built)  # type: ignore[arg-type]  # `after` returns the same kind
        if self.codes is not None:
            for at in changed:
                self.codes.replace(at[at < len(self.codes)])

    def _link(self) -> None:
        if self.graph is not None and len(self.graph.replaced) * _STALE > len(self.graph):
            self.graph = None
        if self.graph is None:
            self.graph = HnswGraph(self._rows)
        if len(self._rows) - len(self.graph) >= _MAX_UNLINKED_ROWS:
            self._linking = self._started(self.graph)

    def _take_graph(self, done: BackgroundBuild[HnswGraph]) -> None:
        self._linking = None
        if done.built is None or not done.built.width:
            self.graph = None
            self._graph_from = np.inf if done.failed else 2 * len(self._rows)

    def _started(self, target: M) -> BackgroundBuild[M]:
        return BackgroundBuild(target, len(self._rows), self)
