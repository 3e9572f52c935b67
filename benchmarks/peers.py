"""Ten thousand vectors in other stores: `python benchmarks/peers.py`, with the peers installed.

Each peer is used as recommended in its documentation, with one integer of metadata: faiss-cpu,
usearch, hnswlib, chromadb, lancedb, qdrant-client, sqlite-vec with apsw. Missing packages are
skipped.
"""

# The checks run without the peers.
# mypy: ignore-errors
# ruff: noqa: D101, D102, B023
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from measure import Row, print_table
from stores import settled, turned
from vectors import DIMENSION, TOP_K, one_thread, vectors

from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views.figures import seconds
from conduit_lab.vectors.store import VectorStore

os.environ.setdefault("LANCE_LOG", "error")  # it warns on every search
os.environ.setdefault("RUST_LOG", "error")
BOUNDS = (500, 100, 10, 1)  # n < bound, of 1,000 values


class Ours:
    def __init__(self, rows: FloatArray, numbers: list[int], folder: Path) -> None:
        self.store = VectorStore(DIMENSION)
        self.store.add_many(
            [str(i) for i in range(len(rows))], rows, [{"n": number} for number in numbers]
        )

    def search(self, query: FloatArray) -> list[int]:
        return [int(hit.id) for hit in self.store.search(query, TOP_K)]

    def filtered(self, query: FloatArray, bound: int) -> list[int]:
        return [int(hit.id) for hit in self.store.search(query, TOP_K, {"n": {"$lt": bound}})]

    def add(self, number: int, query: FloatArray) -> None:
        self.store.add(str(number), query, {"n": 1_000})


class Numpy:
    def __init__(self, rows: FloatArray, numbers: list[int], folder: Path) -> None:
        self.rows, self.numbers = rows, np.array(numbers)

    def search(self, query: FloatArray) -> list[int]:
        best: list[int] = np.argpartition(self.rows @ query, -TOP_K)[-TOP_K:].tolist()
        return best

    def filtered(self, query: FloatArray, bound: int) -> list[int]:
        at = np.flatnonzero(self.numbers < bound)
        best: list[int] = at[np.argsort(-(self.rows[at] @ query))[:TOP_K]].tolist()
        return best

    def add(self, number: int, query: FloatArray) -> None:
        self.rows = np.vstack([self.rows, query[np.newaxis]])
        self.numbers = np.append(self.numbers, 1_000)


class Faiss:
    def __init__(self, rows: FloatArray, numbers: list[int], folder: Path) -> None:
        import faiss as installed

        self.faiss: Any = installed
        self.faiss.omp_set_num_threads(1)
        self.index = self.faiss.IndexFlatIP(DIMENSION)
        self.index.add(rows)
        self.numbers = np.array(numbers)

    def search(self, query: FloatArray) -> list[int]:
        best: list[int] = self.index.search(query[np.newaxis], TOP_K)[1][0].tolist()
        return best

    def filtered(self, query: FloatArray, bound: int) -> list[int]:
        keep = np.packbits(self.numbers < bound, bitorder="little")
        how = self.faiss.SearchParameters(sel=self.faiss.IDSelectorBitmap(keep))
        best: list[int] = self.index.search(query[np.newaxis], TOP_K, params=how)[1][0].tolist()
        return best

    def add(self, number: int, query: FloatArray) -> None:
        self.index.add(query[np.newaxis])
        self.numbers = np.append(self.numbers, 1_000)


class Usearch:
    def __init__(self, rows: FloatArray, numbers: list[int], folder: Path) -> None:
        from usearch.index import Index

        self.index = Index(ndim=DIMENSION, metric="ip", dtype="f32")
        self.index.add(np.arange(len(rows)), rows, threads=1)

    def search(self, query: FloatArray) -> list[int]:
        best: list[int] = self.index.search(query, TOP_K, threads=1).keys.tolist()
        return best

    def add(self, number: int, query: FloatArray) -> None:
        self.index.add(number, query, threads=1)


class Hnswlib:
    def __init__(self, rows: FloatArray, numbers: list[int], folder: Path) -> None:
        import hnswlib

        self.index = hnswlib.Index("ip", DIMENSION)
        self.index.init_index(2 * len(rows), M=16, ef_construction=200)
        self.index.add_items(rows, num_threads=1)
        self.index.set_ef(64)
        self.numbers = dict(enumerate(numbers))

    def search(self, query: FloatArray) -> list[int]:
        best: list[int] = self.index.knn_query(query, TOP_K, num_threads=1)[0][0].tolist()
        return best

    def filtered(self, query: FloatArray, bound: int) -> list[int]:
        numbers = self.numbers
        try:
            found = self.index.knn_query(
                query, TOP_K, num_threads=1, filter=lambda label: numbers[label] < bound
            )
        except RuntimeError:  # its graph search found fewer than TOP_K
            return []
        best: list[int] = found[0][0].tolist()
        return best

    def add(self, number: int, query: FloatArray) -> None:
        self.index.add_items(query, [number], num_threads=1)
        self.numbers[number] = 1_000


class Chroma:
    def __init__(self, rows: FloatArray, numbers: list[int], folder: Path) -> None:
        import chromadb
        from chromadb.config import Settings

        client = chromadb.PersistentClient(
            str(folder / "chroma"), Settings(anonymized_telemetry=False)
        )
        self.collection: Any = client.create_collection(
            "vectors", metadata={"hnsw:space": "ip"}, embedding_function=None
        )
        for at in range(0, len(rows), 2_000):
            part = range(at, min(at + 2_000, len(rows)))
            self.collection.add(
                [str(i) for i in part],
                embeddings=rows[at : at + 2_000],
                metadatas=[{"n": numbers[i]} for i in part],
            )

    def search(self, query: FloatArray) -> list[int]:
        return [
            int(id)
            for id in self.collection.query(query_embeddings=[query], n_results=TOP_K)["ids"][0]
        ]

    def filtered(self, query: FloatArray, bound: int) -> list[int]:
        found = self.collection.query(
            query_embeddings=[query], n_results=TOP_K, where={"n": {"$lt": bound}}
        )
        return [int(id) for id in found["ids"][0]]

    def add(self, number: int, query: FloatArray) -> None:
        self.collection.add([str(number)], embeddings=[query], metadatas=[{"n": 1_000}])


class Lance:
    def __init__(self, rows: FloatArray, numbers: list[int], folder: Path) -> None:
        import lancedb

        data = [
            {"id": i, "vector": row, "n": n}
            for i, (row, n) in enumerate(zip(rows, numbers, strict=True))
        ]
        self.table: Any = lancedb.connect(str(folder / "lance")).create_table("a", data)

    def search(self, query: FloatArray) -> list[int]:
        found = self.table.search(query).distance_type("dot").limit(TOP_K).select(["id"]).to_list()
        return [row["id"] for row in found]

    def filtered(self, query: FloatArray, bound: int) -> list[int]:
        found = (
            self.table.search(query)
            .distance_type("dot")
            .where(f"n < {bound}", prefilter=True)
            .limit(TOP_K)
        )
        return [row["id"] for row in found.select(["id"]).to_list()]

    def add(self, number: int, query: FloatArray) -> None:
        self.table.add([{"id": number, "vector": query, "n": 1_000}])


class QdrantLocal:
    def __init__(self, rows: FloatArray, numbers: list[int], folder: Path) -> None:
        from qdrant_client import QdrantClient, models

        self.models: Any = models
        self.client: Any = QdrantClient(":memory:")
        self.client.create_collection(
            "a", models.VectorParams(size=DIMENSION, distance=models.Distance.DOT)
        )
        self.client.upload_collection(
            "a", rows, [{"n": number} for number in numbers], list(range(len(rows)))
        )

    def search(self, query: FloatArray) -> list[int]:
        return [point.id for point in self.client.query_points("a", query, limit=TOP_K).points]

    def filtered(self, query: FloatArray, bound: int) -> list[int]:
        condition = self.models.FieldCondition(key="n", range=self.models.Range(lt=bound))
        kept = self.models.Filter(must=[condition])
        return [
            point.id
            for point in self.client.query_points("a", query, query_filter=kept, limit=TOP_K).points
        ]

    def add(self, number: int, query: FloatArray) -> None:
        self.client.upsert(
            "a", [self.models.PointStruct(id=number, vector=query.tolist(), payload={"n": 1_000})]
        )


class SqliteVec:
    def __init__(self, rows: FloatArray, numbers: list[int], folder: Path) -> None:
        import apsw
        import sqlite_vec

        self.db: Any = apsw.Connection(str(folder / "vec.db"))
        self.db.enable_load_extension(True)
        self.db.load_extension(sqlite_vec.loadable_path())
        self.db.execute(
            "create virtual table a using vec0("
            f"v float[{DIMENSION}] distance_metric=cosine, n integer)"
        )
        with self.db:
            self.db.executemany(
                "insert into a(rowid, v, n) values (?, ?, ?)",
                (
                    (i, row.tobytes(), n)
                    for i, (row, n) in enumerate(zip(rows, numbers, strict=True))
                ),
            )

    def search(self, query: FloatArray) -> list[int]:
        return [
            i
            for (i,) in self.db.execute(
                "select rowid from a where v match ? and k = 10", (query.tobytes(),)
            )
        ]

    def filtered(self, query: FloatArray, bound: int) -> list[int]:
        sql = "select rowid from a where v match ? and k = 10 and n < ?"
        return [i for (i,) in self.db.execute(sql, (query.tobytes(), bound))]

    def add(self, number: int, query: FloatArray) -> None:
        self.db.execute("insert into a(rowid, v, n) values (?, ?, 1000)", (number, query.tobytes()))


PEERS = {
    "NumPy": Numpy,
    "faiss Flat": Faiss,
    "usearch": Usearch,
    "hnswlib": Hnswlib,
    "Chroma": Chroma,
    "LanceDB": Lance,
    "qdrant-client, local": QdrantLocal,
    "sqlite-vec": SqliteVec,
}


def peers(folder: Path) -> Iterator[Row]:
    """Yield the rows comparing the store with each peer."""
    rows, queries = vectors(10_000)
    numbers = np.random.default_rng(1).integers(0, 1_000, len(rows)).tolist()
    begin = perf_counter()
    mine = Ours(rows, numbers, folder)
    built = perf_counter() - begin
    settled(mine.store)
    for name, kind in PEERS.items():
        begin = perf_counter()
        try:
            peer = kind(rows, numbers, folder)
        except ImportError as error:
            yield name, "–", "–", "–", f"not installed: {error.name}"
            continue
        took = perf_counter() - begin
        yield f"{name}: build", seconds(built), seconds(took), f"{built / took:.2f}", "once"
        turn = iter(range(10**9))

        def query() -> FloatArray:
            picked: FloatArray = queries[next(turn) % len(queries)]
            return picked

        yield turned(
            f"{name}: search",
            lambda: mine.search(query()),
            lambda: peer.search(query()),
            f"recall {recall(mine.search, rows, queries):.3f} and "
            f"{recall(peer.search, rows, queries):.3f}",
        )
        if hasattr(kind, "filtered"):
            for bound in BOUNDS:
                kept = np.array(numbers) < bound
                yield turned(
                    f"{name}: filter that keeps {bound / 1_000:.1%}",
                    lambda bound=bound: mine.filtered(query(), bound),
                    lambda bound=bound: peer.filtered(query(), bound),
                    "recall "
                    + " and ".join(
                        f"{recall(lambda q, b=bound: s.filtered(q, b), rows, queries, kept):.3f}"
                        for s in (mine, peer)
                    ),
                )
        fresh = iter(range(len(rows), 10**9))
        yield turned(
            f"{name}: add one",
            lambda: mine.add(next(fresh), query()),
            lambda: peer.add(next(fresh), query()),
            "ours in memory",
        )
        mine.store.delete(
            [id for id in mine.store._ipython_key_completions_() if int(id) >= len(rows)]
        )


def recall(
    search: Callable[[FloatArray], list[int]],
    rows: FloatArray,
    queries: FloatArray,
    kept: Any = slice(None),
) -> float:
    """Return the recall of a search over 20 queries."""
    at = np.arange(len(rows))[kept]
    right = total = 0
    for query in queries[:20]:
        true = set(at[np.argsort(-(rows[at] @ query), kind="stable")[:TOP_K]].tolist())
        right, total = right + len(true & set(search(query))), total + len(true)
    return right / total


if __name__ == "__main__":
    one_thread()
    with tempfile.TemporaryDirectory() as place:
        print_table(peers(Path(place)))
