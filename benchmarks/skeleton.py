"""The thin way, measured: each figure beside its limit or peer, taken in turn in one run (A, B, A, B, …).

Run it with `.venv/bin/python benchmarks/skeleton.py`; it prints the table that `docs/benchmarks.md` keeps.
"""

from __future__ import annotations

import queue
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from conduit_lab import Model, Stream, VectorStore
from conduit_lab.core.figures import rate, seconds
from conduit_lab.core.spec import FloatArray
from conduit_lab.runtime.session import Session

ROUNDS = 7
ROOT = Path(__file__).parents[1]
Row = tuple[str, str, str, str, str]


def main() -> None:
    """Print the table."""
    print("| what | ours | beside it | ratio, median (min – max) | against |\n|---|---|---|---|---|")
    for row in (stream_chunks(), predict_one(), *vector_search(), vector_add(), import_time()):
        print(f"| {' | '.join(row)} |", flush=True)


def in_turn(ours: Callable[[], float], other: Callable[[], float]) -> tuple[float, float, str]:
    """Return the medians of two measurements taken in turn, and their ratio round by round, in words."""
    pairs = [(ours(), other()) for _ in range(ROUNDS)]
    ratios = [a / b for a, b in pairs]
    words = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), words


def per_call(call: Callable[[], object], calls: int) -> float:
    """Return the mean seconds of one call."""
    begin = perf_counter()
    for _ in range(calls):
        call()
    return (perf_counter() - begin) / calls


def stream_chunks(count: int = 200_000) -> Row:
    """One reader takes a stream's chunks, against a bare queue between two threads."""

    def chunks() -> Iterator[str]:
        for _ in range(count):
            yield "token"

    def stream() -> float:
        begin = perf_counter()
        got = sum(1 for _ in Stream(chunks(), keep=2**30))
        assert got == count
        return count / (perf_counter() - begin)

    def bare() -> float:
        handed: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        def produce() -> None:
            for chunk in chunks():
                handed.put(chunk)
            handed.put(None)

        begin = perf_counter()
        thread = threading.Thread(target=produce)
        thread.start()
        while handed.get() is not None:
            pass
        thread.join()
        return count / (perf_counter() - begin)

    a, b, ratio = in_turn(stream, bare)
    return (
        "chunks through a Stream, one reader",
        rate(a, "chunks"),
        rate(b, "chunks"),
        ratio,
        "queue.SimpleQueue, two threads",
    )


def predict_one() -> Row:
    """`predict` of one sample by a labelled model, against onnxruntime's own call."""
    model = Model(ROOT / "data/models/topic.onnx").open()
    sample = np.random.default_rng(0).standard_normal((1, 384)).astype(np.float32)
    session = Session(model.path)._session  # onnxruntime's own object
    a, b, ratio = in_turn(
        lambda: per_call(lambda: model.predict(sample[0]), 500),
        lambda: per_call(lambda: session.run(None, {"embedding": sample}), 500),
    )
    return "predict one sample, with labels", seconds(a), seconds(b), ratio, "onnxruntime's session.run"


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
        store.add_many([str(i) for i in range(len(vectors))], vectors, [{"tenth": i % 10} for i in range(len(vectors))])
        for name, where in (("search 10 000 × 384, top 10", None), ("the same, where= keeps a tenth", {"tenth": 3})):
            a, b, ratio = in_turn(
                partial(per_call, partial(store.search, query, top_k=10, where=where), 50),
                partial(per_call, reference, 50),
            )
            rows.append((name, seconds(a), seconds(b), ratio, "NumPy product and argpartition, no filter"))
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

    a, b, ratio = in_turn(lambda: fresh("import numpy, conduit_lab; conduit_lab.Stream"), lambda: fresh("import numpy"))
    return "import conduit_lab and Stream, whole process", seconds(a), seconds(b), ratio, "Python with NumPy"


if __name__ == "__main__":
    main()
