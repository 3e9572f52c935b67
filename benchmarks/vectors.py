"""Vector search against NumPy and faiss: `.venv/bin/python benchmarks/vectors.py scan [SIZE …]`.

Vectors have 384 dimensions. Up to 30,000 are MiniLM embeddings of installed docstrings, cached in
the system's temporary folder. Larger sets add Gaussian noise of half their covariance's scale to
these. *ref* is the float32 product of all unit vectors with the query, then `argpartition`. One
thread; calls alternate.
"""

from __future__ import annotations

import ast
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from measure import Row, compared, on_one_core, print_table

from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views.figures import seconds
from conduit_lab.models.load import load_model
from conduit_lab.vectors.index import accelerators, codes
from conduit_lab.vectors.index.accelerators import BITS_ROWS, INT8_ROWS
from conduit_lab.vectors.index.codes import AXES_ROWS
from conduit_lab.vectors.index.index import Index

DIMENSION = 384
TOP_K = 10
QUERIES = 100
REAL_ROWS = 30_000
NOISE_SCALE = 0.5
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SHARES = (0.5, 0.1, 0.01, 0.001)
RANDOM = np.random.default_rng(0)
MODEL = Path(__file__).parents[1] / "data" / "models" / "minilm"
Bools = npt.NDArray[np.bool_]


def scan(sizes: list[int]) -> Iterator[Row]:
    """Yield the rows for plans, batches, filters, memory and the plans' break-even sizes."""
    with on_one_core():
        for size in sizes:
            rows, queries = vectors(size)
            yield from searches(rows, queries)
            if size >= accelerators.GRAPH_ROWS:
                yield from linked(rows, queries)
        yield from thresholds()


def vectors(size: int) -> tuple[FloatArray, FloatArray]:
    """Return unit vectors `[size, 384]`, and more from the same distribution as queries."""
    made = real(size + QUERIES) if size <= REAL_ROWS else drawn(size + QUERIES)
    return made[:size], made[size:].copy()


def real(size: int) -> FloatArray:
    """Return MiniLM embeddings of installed docstrings, computed once and cached."""
    file = Path(tempfile.gettempdir()) / "conduit-lab-benchmark-embeddings.npy"
    if not file.exists():
        made = load_model(MODEL)
        texts = list(islice(found_texts(), REAL_ROWS + QUERIES))
        np.save(file, RANDOM.permutation(made.encode(texts)))
    rows = np.load(file)[:size]
    units: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units


def found_texts() -> Iterator[str]:
    """Yield distinct docstrings of installed Python files, each clipped to 320 characters."""
    seen: set[str] = set()
    for folder in dict.fromkeys([str(Path(os.__file__).parent), *sys.path]):
        for file in sorted(Path(folder).rglob("*.py")):
            try:
                tree = ast.parse(file.read_bytes())
            except (OSError, SyntaxError, ValueError, RecursionError):
                continue
            for node in ast.walk(tree):
                if isinstance(
                    node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef | ast.Module
                ):
                    text = " ".join((ast.get_docstring(node) or "").split())[:320]
                    if len(text) > 60 and text not in seen:
                        seen.add(text)
                        yield text


def drawn(size: int) -> FloatArray:
    """Return unit vectors drawn around the real embeddings."""
    around = real(REAL_ROWS)
    covariance = np.cov(around.T) + 1e-6 * np.eye(DIMENSION)
    spread = (NOISE_SCALE * np.linalg.cholesky(covariance)).astype(np.float32)
    rows = np.empty((size, DIMENSION), np.float32)
    for begin in range(0, size, REAL_ROWS):
        part = rows[begin : begin + REAL_ROWS]
        part[:] = around[RANDOM.integers(0, len(around), len(part))]
        part += RANDOM.standard_normal(part.shape, np.float32) @ spread.T
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows


def searches(rows: FloatArray, queries: FloatArray) -> Iterator[Row]:
    """Search one index with each plan, in batches and with filters."""
    begin = perf_counter()
    index = filled(rows)
    took = perf_counter() - begin
    name = f"{len(rows):,}"
    scores = queries @ rows.T
    every = np.ones(len(rows), bool)
    one = each(queries)
    ref = each(queries)
    yield row(
        f"{name}: one query",
        lambda: index.search(next(one), TOP_K),
        lambda: np.argpartition(rows @ next(ref)[0], -TOP_K)[-TOP_K:],
        f"ref; {index.search(queries[:1], TOP_K).plan}; "
        f"recall {recall(index, queries, scores, every):.4f}",
    )
    yield row(
        f"{name}: one query, exact",
        lambda: index.search(next(one), TOP_K, exact=True),
        lambda: np.argpartition(rows @ next(ref)[0], -TOP_K)[-TOP_K:],
        "ref",
    )
    if len(rows) <= 100_000:
        many = queries[:64]
        yield row(
            f"{name}: 64 queries",
            lambda: index.search(many, TOP_K),
            lambda: many @ rows.T,
            "the NumPy product",
        )
    yield from filters(index, rows, queries, scores)
    yield (
        f"{name}: index and codes built",
        seconds(took),
        f"{index.nbytes / len(rows):,.0f} B per vector",
        "–",
        "–",
    )
    index.close()


def linked(rows: FloatArray, queries: FloatArray) -> Iterator[Row]:
    """Search the HNSW graph."""
    begin = perf_counter()
    index = filled(rows, graph=True)
    took = seconds(perf_counter() - begin)
    one, ref = each(queries), each(queries)
    hit = recall(index, queries, queries @ rows.T, np.ones(len(rows), bool))
    yield row(
        f"{len(rows):,}: one query with a graph, built in {took}",
        lambda: index.search(next(one), TOP_K),
        lambda: np.argpartition(rows @ next(ref)[0], -TOP_K)[-TOP_K:],
        f"ref; {index.search(queries[:1], TOP_K).plan}; recall {hit:.4f}",
    )
    index.close()


def filters(
    index: Index, rows: FloatArray, queries: FloatArray, scores: FloatArray
) -> Iterator[Row]:
    """Search a share of the rows, compared with faiss using a bitmap."""
    import faiss as installed

    faiss: Any = installed
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(DIMENSION)
    flat.add(rows)
    one, other = each(queries), each(queries)
    for share in SHARES:
        keep = RANDOM.random(len(rows)) < share

        def selected(keep: Bools = keep) -> Any:
            selector = faiss.IDSelectorBitmap(np.packbits(keep, bitorder="little"))
            return flat.search(next(other), TOP_K, params=faiss.SearchParameters(sel=selector))

        yield row(
            f"{len(rows):,}: filter that keeps {share:.1%}",
            lambda keep=keep: index.search(next(one), TOP_K, keep),  # type: ignore[misc]
            selected,
            f"faiss Flat; {index.search(queries[:1], TOP_K, keep).plan}; "
            f"recall {recall(index, queries[:20], scores, keep):.4f}",
        )


def thresholds() -> Iterator[Row]:
    """Compare each plan with the previous one around the size at which it is chosen."""
    for size in (1_000, 2_000, 4_000, 8_000):
        accelerators.INT8_ROWS = 1
        rows, queries = vectors(size)
        index, one = filled(rows), each(queries)
        yield row(
            f"{size:,}: 8-bit codes",
            lambda index=index, one=one: index.search(next(one), TOP_K),  # type: ignore[misc]
            lambda index=index, one=one: index.search(next(one), TOP_K, exact=True),  # type: ignore[misc]
            "float32",
        )
        index.close()
    accelerators.INT8_ROWS = INT8_ROWS
    for size in (16_000, 32_000, 64_000):
        rows, queries = vectors(size)
        codes.AXES_ROWS = 10 * size
        whole = filled(rows)
        codes.AXES_ROWS = INT8_ROWS
        along, one = filled(rows), each(queries)
        yield row(
            f"{size:,}: 8-bit codes along axes",
            lambda along=along, one=one: along.search(next(one), TOP_K),  # type: ignore[misc]
            lambda whole=whole, one=one: whole.search(next(one), TOP_K),  # type: ignore[misc]
            "8-bit codes of whole vectors",
        )
        whole.close()
        along.close()
    codes.AXES_ROWS = AXES_ROWS
    for size in (100_000, 200_000, 400_000):
        rows, queries = vectors(size)
        accelerators.BITS_ROWS = 1
        bits = filled(rows)
        accelerators.BITS_ROWS = 10 * size
        int8, one = filled(rows), each(queries)
        yield row(
            f"{size:,}: 1-bit codes",
            lambda bits=bits, one=one: bits.search(next(one), TOP_K),  # type: ignore[misc]
            lambda int8=int8, one=one: int8.search(next(one), TOP_K),  # type: ignore[misc]
            f"8-bit codes; {bits.search(queries[:1], TOP_K).plan}",
        )
        bits.close()
        int8.close()
    accelerators.BITS_ROWS = BITS_ROWS


def filled(rows: FloatArray, graph: bool = False) -> Index:
    """Return an index of `rows` with completed background work."""
    graph_rows = accelerators.GRAPH_ROWS
    accelerators.GRAPH_ROWS = graph_rows if graph else 10 * len(rows)
    index = Index(DIMENSION)
    for begin in range(0, len(rows), 4_096):
        index.append(rows[begin : begin + 4_096])
    index.wait()
    accelerators.GRAPH_ROWS = graph_rows
    return index


def each(queries: FloatArray) -> Iterator[FloatArray]:
    """Yield the queries `[1, 384]` in an endless cycle."""
    return cycle(queries[:, np.newaxis])


def recall(index: Index, queries: FloatArray, scores: FloatArray, keep: Bools) -> float:
    """Return the recall of a search: the share of the true best rows found."""
    found = index.search(queries, TOP_K, None if keep.all() else keep).found
    right = total = 0
    for (rows, _), score in zip(found, scores, strict=False):
        true = np.argsort(np.where(keep, -score, np.inf), kind="stable")[
            : min(TOP_K, int(keep.sum()))
        ]
        right, total = right + len(np.intersect1d(rows, true)), total + len(true)
    return right / total


def row(what: str, ours: Callable[[], object], other: Callable[[], object], against: str) -> Row:
    """Measure two calls alternately."""
    pairs = [(once(ours), once(other)) for _ in range(25)][4:]
    mine, beside, ratio = compared(pairs)
    return what, seconds(mine), seconds(beside), ratio, against


def once(call: Callable[[], object]) -> float:
    """Return the duration of one call in seconds."""
    begin = perf_counter()
    call()
    return perf_counter() - begin


def one_thread() -> None:
    """Restart this script with one NumPy thread: NumPy reads the number of threads on import."""
    if any(os.environ.get(threads) != "1" for threads in THREADS):
        os.execve(
            sys.executable,
            [sys.executable, *sys.argv],
            {**os.environ, **dict.fromkeys(THREADS, "1")},
        )


if __name__ == "__main__":
    one_thread()
    part, *sizes = sys.argv[1:] or ["scan"]
    parts = {"scan": scan}
    print_table(parts[part]([int(size) for size in sizes] or [10_000, 30_000, 100_000, 1_000_000]))
