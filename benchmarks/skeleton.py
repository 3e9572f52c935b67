"""The thin way, measured: each figure beside its limit or peer, taken in turn in one run (A, B, A,
B, …).

Run it with `.venv/bin/python benchmarks/skeleton.py`; it prints the table that `docs/benchmarks.md`
keeps.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from measure import Row, in_turn, per_call, print_table

from conduit_lab import VectorStore
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views.figures import seconds

ROOT = Path(__file__).parents[1]


def rows() -> Iterator[Row]:
    """Yield the table's rows."""
    yield from vector_search()
    yield vector_add()
    yield import_time()


def _vectors(count: int) -> FloatArray:
    vectors = np.random.default_rng(1).standard_normal((count, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def vector_search() -> list[Row]:
    """Top 10 of 10,000, against a bare normalised product; then the same with a filter that keeps a tenth."""
    vectors = _vectors(10_000)
    query = vectors[17] + 0.1

    def reference() -> object:
        scores = vectors @ query
        best = np.argpartition(scores, -10)[-10:]
        return best[np.argsort(-scores[best])]

    rows = []
    with VectorStore(384) as store:
        store.add_many(
            [str(i) for i in range(len(vectors))],
            vectors,
            [{"tenth": i % 10} for i in range(len(vectors))],
        )
        for name, where in (
            ("search 10 000 × 384, top 10", None),
            ("the same, where= keeps a tenth", {"tenth": 3}),
        ):
            a, b, ratio = in_turn(
                partial(per_call, partial(store.search, query, top_k=10, where=where), 50),
                partial(per_call, reference, 50),
            )
            rows.append(
                (name, seconds(a), seconds(b), ratio, "NumPy product and argpartition, no filter")
            )
    return rows


def vector_add() -> Row:
    """Add one vector durably, against adding it in memory."""
    vectors = _vectors(1)
    number = iter(range(10**9))
    with (
        tempfile.TemporaryDirectory() as place,
        VectorStore(384) as memory,
        VectorStore(384, path=Path(place) / "store.sqlite") as durable,
    ):
        a, b, ratio = in_turn(
            lambda: per_call(lambda: durable.add(str(next(number)), vectors[0]), 200),
            lambda: per_call(lambda: memory.add(str(next(number)), vectors[0]), 200),
        )
    return "add one vector, durably", seconds(a), seconds(b), ratio, "the same in memory"


def import_time() -> Row:
    """Import the package in a fresh Python, against importing NumPy alone."""

    def fresh(code: str) -> float:
        begin = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return perf_counter() - begin

    a, b, ratio = in_turn(
        lambda: fresh("import numpy, conduit_lab; conduit_lab.Stream"),
        lambda: fresh("import numpy"),
    )
    return (
        "import conduit_lab and Stream, whole process",
        seconds(a),
        seconds(b),
        ratio,
        "Python with NumPy",
    )


if __name__ == "__main__":
    print_table(rows())
