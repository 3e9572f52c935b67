"""Any metadata and any filter, as hypothesis draws them, and a plain reading of the language."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# Integers that no float represents exactly, and texts that differ only after 16 bytes: there a
# filter looks twice.
NUMBERS = st.integers(-3, 3) | st.sampled_from(
    [-1.0, -0.0, 0.5, 2.0, 2**53, 2**53 + 1, 2.0**53, 10**400, -(10**400)]
)
TEXTS = st.sampled_from(
    [
        "",
        "\0",
        "a",
        "a\0",
        "ab",
        "b",
        "é",
        "𝄞",
        *(f"a long beginning {end}" for end in ("", "a", "b")),
    ]
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = (
    SCALARS
    | st.lists(SCALARS, max_size=3)
    | st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=2)
)
KEYS = st.sampled_from("pqr")
ENTRIES = st.dictionaries(KEYS, VALUES)
CONDITIONS = (
    st.tuples(st.sampled_from(["$eq", "$ne", "$contains"]), VALUES)
    | st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), NUMBERS | TEXTS)
    | st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(VALUES, max_size=4))
    | st.tuples(st.just("$exists"), st.booleans())
).map(lambda pair: {pair[0]: pair[1]})
WHERES = st.recursive(
    st.dictionaries(KEYS, CONDITIONS | SCALARS, max_size=2),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$and": parts})
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts})
        | inner.map(lambda part: {"$not": part})
    ),
    max_leaves=6,
)


def plain(where: dict[str, Any], entry: dict[str, Any]) -> bool:
    """Evaluate `where` straight from the words of the docstring of `vectors.filters`."""
    results = []
    for key, wanted in where.items():
        if key == "$and":
            results.append(all(plain(part, entry) for part in wanted))
        elif key == "$or":
            results.append(any(plain(part, entry) for part in wanted))
        elif key == "$not":
            results.append(not plain(wanted, entry))
        elif isinstance(wanted, dict):
            ((name, operand),) = wanted.items()
            results.append(holds(name, operand, key in entry, entry.get(key)))
        else:
            results.append(holds("$eq", wanted, key in entry, entry.get(key)))
    return all(results)


def holds(name: str, operand: Any, there: bool, value: Any) -> bool:
    match name:
        case "$exists":
            return there is operand
        case "$eq":
            return there and same(value, operand)
        case "$ne":
            return not (there and same(value, operand))
        case "$in":
            return there and any(same(value, item) for item in operand)
        case "$nin":
            return not (there and any(same(value, item) for item in operand))
        case "$contains":
            if isinstance(value, list):
                return any(same(item, operand) for item in value)
            return isinstance(value, str) and isinstance(operand, str) and operand in value
    if kind(value) != kind(operand):
        return False
    return bool(
        {
            "$gt": value > operand,
            "$gte": value >= operand,
            "$lt": value < operand,
            "$lte": value <= operand,
        }[name]
    )


def kind(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def same(a: Any, b: Any) -> bool:
    if kind(a) != kind(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)
