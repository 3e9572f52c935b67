"""Imports and durable writes against baselines: `.venv/bin/python benchmarks/skeleton.py`.

Streams and searches have separate benchmarks.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
from measure import Row, in_turn, per_call, print_table

from conduit_lab import VectorStore
from conduit_lab.core.views.figures import seconds


def rows() -> Iterator[Row]:
    """Yield the rows of the table."""
    yield vector_add()
    yield import_time()


def vector_add() -> Row:
    """Add one vector durably, compared with adding it in memory."""
    vector = np.random.default_rng(1).standard_normal(384).astype(np.float32)
    number = iter(range(10**9))
    with (
        tempfile.TemporaryDirectory() as place,
        VectorStore(384) as memory,
        VectorStore(384, path=Path(place) / "store.sqlite") as durable,
    ):
        a, b, ratio = in_turn(
            lambda: per_call(lambda: durable.add(str(next(number)), vector), 200),
            lambda: per_call(lambda: memory.add(str(next(number)), vector), 200),
        )
    return "add one vector, durably", seconds(a), seconds(b), ratio, "the same in memory"


def import_time() -> Row:
    """Import the package in a fresh Python, compared with importing only NumPy."""

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
