"""Conformance of backends: the test class of each one inherits these and opens it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.backend import Backend, Match
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.store import VectorStore
from tests.vectors.remote.qdrant_server import qdrant_server

Open = Callable[..., Backend]

KINDS = ("memory", "file", "qdrant", "qdrant server", "postgres")
METRICS = ("cosine", "dot", "l2", "manhattan")
DIMENSION = 6
# One store for all examples of a test: each example empties it first.
SHARED = settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["\0", "\1\3", "\2\5\0", "a\0b", "'; DROP TABLE x --", "%s", '{"a"}', "a" * 5_000]
)
# Values that some server treats as equal or cannot store.
NUMBERS = (
    0,
    1,
    1.0,
    -0.0,
    0.1,
    2**53,
    2**53 + 1,
    float(2**53),
    10**22,
    1e22,
    1e23,
    -1e300,
    5e-324,
    10**400,
)
WORDS = ("", "1", "a", "ab", "B", "é", "\0", "\1\3", "\3", "a\0", "long " * 60)
PLAIN = (None, True, False, *NUMBERS, *WORDS)
SCALARS = st.sampled_from(PLAIN)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = st.sampled_from(["a", "b", "", 'é."q"[0]', "n\0", "content"])
METADATA = st.dictionaries(KEYS, VALUES, max_size=4)
FEW = hnp.arrays(np.float32, DIMENSION, elements=st.sampled_from([-1.0, 0.0, 1.0, 2.0]))
ANY = hnp.arrays(
    np.float32, DIMENSION, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)
VECTORS = FEW | hnp.arrays(np.float32, DIMENSION, elements=st.floats(-8, 8, width=32))


@contextmanager
def store_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[VectorStore]:
    """Open an empty store of one of `KINDS`, with the dimension 2 and the metric cosine."""
    match kind:
        case "qdrant server":
            with (
                qdrant_server() as server,
                VectorStore.connect(f"{server.url}/{folder.name}", 2) as store,
            ):
                yield store
            return
        case "postgres":
            store = VectorStore.connect(request.getfixturevalue("postgres"), 2, name=folder.name)
        case "qdrant":
            store = VectorStore.connect(f"qdrant://:memory:/{folder.name}", 2)
        case _:
            store = VectorStore(2, path=folder / "store.db" if kind == "file" else None)
    with store:
        yield store


def _conditions() -> st.SearchStrategy[Any]:
    ordered = st.dictionaries(
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), SCALARS.filter(_has_order), min_size=1
    )
    return st.one_of(
        VALUES,
        ordered,
        st.builds(
            lambda name, value: {name: value}, st.sampled_from(["$eq", "$ne", "$contains"]), VALUES
        ),
        st.builds(
            lambda name, values: {name: values},
            st.sampled_from(["$in", "$nin"]),
            st.lists(VALUES, max_size=20),
        ),
        st.builds(lambda there: {"$exists": there}, st.booleans()),
        st.builds(
            lambda name, value: {"$not": {name: value}},
            st.sampled_from(["$eq", "$contains"]),
            VALUES,
        ),
        ordered.map(lambda condition: {"$not": condition}),
    )


def _has_order(value: Any) -> bool:
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


WHERES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(KEYS, _conditions(), max_size=2),
    lambda inner: st.one_of(
        st.builds(lambda parts: {"$and": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"$or": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"$not": part}, inner),
    ),
    max_leaves=4,
)


def entry(
    id: str,
    embedding: Any = 1.0,
    metadata: dict[str, Any] | None = None,
    content: str | None = None,
) -> Entry:
    vector = np.broadcast_to(np.asarray(embedding, np.float32), DIMENSION).copy()
    return Entry(id, vector, metadata or {}, content, 1_000.5, 1_000.5)


def plain(entry: Entry | None) -> Any:
    """Return an entry in a form that compares bit by bit: `1` is not `1.0`, nor `-0.0` `0.0`."""
    assert entry is not None
    return (
        entry.id,
        entry.embedding.tobytes(),
        json.dumps(entry.metadata),
        entry.content,
        entry.created_at,
        entry.updated_at,
    )


def empty(backend: Backend) -> None:
    backend.delete(backend.ids())


def oracle(metric: str, rows: FloatArray, query: FloatArray) -> list[float]:
    """Return the score of each row, calculated as the definition says."""
    wide, wanted = rows.astype(np.float64), query.astype(np.float64)
    match metric:
        case "cosine":
            lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(wanted)
            return list(
                np.divide(wide @ wanted, lengths, out=np.zeros(len(rows)), where=lengths > 0)
            )
        case "dot":
            return list(wide @ wanted)
        case _:
            return list(np.linalg.norm(wide - wanted, ord=2 if metric == "l2" else 1, axis=1))


def assert_best(
    found: Sequence[Match], ids: Sequence[str], scores: Sequence[float], metric: str, top_k: int
) -> None:
    """Check the matches against the score of every entry, given in the order of adding."""
    sign = 1 if metric in ("l2", "manhattan") else -1
    at = [ids.index(match.id) for match in found]
    assert len(set(at)) == min(top_k, len(ids))
    assert [match.score for match in found] == pytest.approx([scores[i] for i in at], abs=1e-9)
    assert [match.score for match in found] == pytest.approx(
        sorted(scores, key=lambda s: sign * s)[:top_k], abs=1e-9
    )
    assert at == sorted(at, key=lambda i: (sign * found[at.index(i)].score, i))
