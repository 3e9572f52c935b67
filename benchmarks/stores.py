"""Complete stores: `.venv/bin/python benchmarks/stores.py`; benchmarks/peers.py compares peers.

Vectors are those of benchmarks/vectors.py, 384 dimensions, on one thread. *ref* is the float32
product of all unit vectors with the query, then `argpartition`.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
from measure import Row, compared, on_one_core, print_table
from vectors import DIMENSION, TOP_K, once, one_thread, vectors

from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views.figures import seconds
from conduit_lab.vectors.store import VectorStore

BOUNDS = (500, 100, 10, 1)  # of 1,000: n below it
ROUNDS = 40


def ours(folder: Path) -> Iterator[Row]:
    """Yield the rows that measure only our store."""
    with on_one_core():
        for size in (10_000, 100_000):
            rows, queries = vectors(size)
            store = filled(rows)
            yield from searches(store, rows, queries)
            store.close()
        yield from writing(folder)
        yield from shared(folder)
    yield from memory(folder)
    yield from gaps()


def filled(rows: FloatArray, path: Path | None = None) -> VectorStore:
    """Return a store of `rows` with finished background builds."""
    store = VectorStore(DIMENSION, path=path)
    numbers = np.random.default_rng(1).integers(0, 1_000, len(rows)).tolist()
    for at in range(0, len(rows), 10_000):
        part = rows[at : at + 10_000]
        ids = [str(at + i) for i in range(len(part))]
        store.add_many(ids, part, [{"n": number} for number in numbers[at : at + len(part)]])
    settled(store)
    return store


def settled(store: VectorStore) -> None:
    """Wait until a store has built its codes."""
    store._opened()._rows.index.wait()  # type: ignore[attr-defined]


def searches(store: VectorStore, rows: FloatArray, queries: FloatArray) -> Iterator[Row]:
    """Search through the complete API."""
    turn = iter(range(10**9))

    def query() -> FloatArray:
        picked: FloatArray = queries[next(turn) % len(queries)]
        return picked

    def ref() -> object:
        return np.argpartition(rows @ query(), -TOP_K)[-TOP_K:]

    true = [set(np.argsort(-(rows @ q), kind="stable")[:TOP_K].tolist()) for q in queries]
    found = [{int(hit.id) for hit in store.search(q, TOP_K)} for q in queries]
    hit = sum(len(a & b) for a, b in zip(true, found, strict=True)) / (TOP_K * len(queries))
    plan = store.search(queries[0], TOP_K).plan
    yield turned(
        f"{len(rows):,}: search",
        lambda: store.search(query(), TOP_K),
        ref,
        f"ref; {plan}; recall {hit:.4f}",
    )
    for bound in BOUNDS:
        yield turned(
            f"{len(rows):,}: filter that keeps {bound / 1_000:.1%}",
            lambda bound=bound: store.search(query(), TOP_K, {"n": {"$lt": bound}}),  # type: ignore[misc]
            ref,
            "ref",
        )


def writing(folder: Path) -> Iterator[Row]:
    """Add, build and open."""
    rows, _ = vectors(10_000)
    ids = [str(i) for i in range(len(rows))]
    for what, path, durability in (
        ("in memory", None, "normal"),
        ("in a file", folder / "normal.db", "normal"),
        ("in a file, durability full", folder / "full.db", "full"),
    ):
        store = VectorStore(DIMENSION, path=path, durability=durability)  # type: ignore[arg-type]
        begin = perf_counter()
        store.add_many(ids, rows)
        store.search(rows[0])
        built = perf_counter() - begin
        times = []
        for i in range(300):
            begin = perf_counter()
            store.add(f"new {i}", rows[i], {"n": i}, "a text")
            times.append(perf_counter() - begin)
        spread = f"p99 {seconds(float(np.percentile(times, 99)))}"
        yield f"10,000 {what}: add many and search", seconds(built), "–", "–", "–"
        yield f"10,000 {what}: add one", seconds(statistics.median(times)), spread, "–", "–"
        store.close()
    opened = [
        once(lambda: VectorStore(DIMENSION, path=folder / "normal.db").close()) for _ in range(7)
    ]
    yield "10,000 in a file: open and load", seconds(statistics.median(opened)), "–", "–", "–"


def shared(folder: Path) -> Iterator[Row]:
    """Search after another store's add to the same file, compared with reopening it."""
    rows, queries = vectors(50_000)
    path = folder / "shared.db"
    with filled(rows, path) as store, VectorStore(DIMENSION, path=path) as other:
        times = []
        for i, query in enumerate(queries[:30]):
            other.add(f"new {i}", query)
            times.append(once(lambda query=query: store.search(query, TOP_K)))  # type: ignore[misc]
    again = once(lambda: VectorStore(DIMENSION, path=path).close())
    yield (
        "50,000 in a file: search after another's add",
        seconds(statistics.median(times)),
        seconds(again),
        "–",
        "open",
    )


def memory(folder: Path) -> Iterator[Row]:
    """Measure resident bytes per vector, without text and metadata, in separate processes."""
    for what in ("in memory", "in a snapshot"):
        command = [sys.executable, __file__, what, str(folder / "snapshot")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        yield (
            f"100,000 {what}",
            f"{float(done.stdout):,.0f} B per vector",
            "–",
            "–",
            "RSS without file pages, with ids",
        )


def taken(what: str, snapshot: Path) -> float:
    """Return the bytes per vector of a store; the store in memory writes the other's snapshot."""
    rows, _ = vectors(100_000)
    ids = [str(i) for i in range(len(rows))]
    before = resident()
    store = VectorStore(DIMENSION, path=None if what == "in memory" else snapshot)
    for at in range(0, len(ids) if what == "in memory" else 0, 10_000):
        store.add_many(ids[at : at + 10_000], rows[at : at + 10_000])
    settled(store)
    store.search(rows[0])
    gc.collect()
    bytes_each = (resident() - before) / len(ids)
    if what == "in memory":
        store.snapshot(snapshot)
    store.close()
    return bytes_each


def resident() -> int:
    """Return the anonymous memory of this process in bytes, excluding file pages (Linux)."""
    status = Path("/proc/self/status").read_text()
    return next(
        int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")
    )


def gaps() -> Iterator[Row]:
    """Measure gaps in an event loop while a thread uses a store."""
    rows, queries = vectors(100_000)
    store = filled(rows)

    def build() -> int:
        other = VectorStore(DIMENSION)
        for at in range(0, len(rows), 10_000):
            other.add_many([str(at + i) for i in range(10_000)], rows[at : at + 10_000])
        settled(other)
        other.close()
        return len(rows)

    def adds() -> int:
        for i, query in enumerate(queries):
            store.add(f"x {i}", query)
        return len(queries)

    works: tuple[tuple[str, Callable[[], object]], ...] = (
        ("nothing", lambda: None),
        ("searches", lambda: [store.search(query, TOP_K) for query in queries]),
        (
            "filtered searches",
            lambda: [store.search(query, TOP_K, {"n": {"$lt": 100}}) for query in queries],
        ),
        ("adds of one", adds),
        ("adds of 10,000", build),
    )
    for what, work in works:
        found = asyncio.run(_gaps(work))
        p999 = float(np.percentile(found, 99.9))
        yield (
            f"event loop beside {what}, 100,000",
            seconds(p999),
            f"max {seconds(max(found))}",
            "–",
            "p99.9 of the gap",
        )
    store.close()


async def _gaps(work: Callable[[], object], length: float = 4.0) -> list[float]:
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            if work() is None:
                stop.wait(0.01)

    thread = threading.Thread(target=run)
    thread.start()
    found: list[float] = []
    end = perf_counter() + length
    last = perf_counter()
    while last < end:
        await asyncio.sleep(0.001)
        now = perf_counter()
        found.append(now - last - 0.001)
        last = now
    stop.set()
    await asyncio.to_thread(thread.join)
    return found


def turned(what: str, ours: Callable[[], object], other: Callable[[], object], against: str) -> Row:
    """Measure two calls alternately."""
    pairs = [(once(ours), once(other)) for _ in range(ROUNDS)][5:]
    mine, beside, ratio = compared(pairs)
    return what, seconds(mine), seconds(beside), ratio, against


if __name__ == "__main__":
    one_thread()
    if sys.argv[1:]:
        print(taken(sys.argv[1], Path(sys.argv[2])))
    else:
        with tempfile.TemporaryDirectory() as place:
            print_table(ours(Path(place)))
