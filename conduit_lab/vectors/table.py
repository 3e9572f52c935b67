"""Table: read a DataFrame or Arrow table as the columns of a batch; write an entry as a row."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.views import figures
from conduit_lab.vectors.entry import Entry

_OWN = ("id", "embedding", "content")

TableColumns = tuple[list[Any], Any, list[dict[str, Any]], list[str | None] | None]
"""Ids, embeddings, metadatas and contents."""


def is_table(value: Any) -> bool:
    """Return whether `value` is a DataFrame (pandas, polars) or an Arrow table."""
    return hasattr(value, "columns") and (hasattr(value, "to_dict") or hasattr(value, "to_pydict"))


def read_table(table: Any, where: str) -> TableColumns:
    """Return the columns of a table; missing cells are omitted from the metadata.

    Raises `VectorInputError`, which starts with `where`, for a table without the column `id`, with
    neither `embedding` nor `content`, or with a duplicate column.
    """
    names = _names(table)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise VectorInputError(
            f"{where} a table has the column {twice[0]!r} twice: rename or drop one"
        )
    if "id" not in names or not {"embedding", "content"} & set(names):
        index = "id" not in names and "id" in getattr(getattr(table, "index", None), "names", ())
        hint = "; 'id' is its index: pass table.reset_index()" if index else ""
        got = f"{', '.join(names) or 'none'}{hint}"
        raise VectorInputError(
            f"{where} a table expects the column 'id' and 'embedding', 'content' or both, got {got}"
        )
    data = dict(zip(names, _lists(table), strict=True))
    keys = [name for name in names if name not in _OWN]
    rows = zip(*(data[key] for key in keys), strict=True) if keys else ((),) * len(data["id"])
    metadatas = [
        {
            key: cell
            for key, value in zip(keys, row, strict=True)
            if (cell := plain_cell(value)) is not None
        }
        for row in rows
    ]
    contents = [plain_cell(text) for text in data["content"]] if "content" in data else None
    return data["id"], data.get("embedding"), metadatas, contents


def column_values(values: Any, count: int, where: str, what: str) -> list[Any]:
    """Return one value per id from a list or a column of a table; all None for None.

    Raises `VectorInputError`, which starts with `where` and names `what`, for a wrong number of
    values, and for a single text, a dict, a set or a table.
    """
    if values is None:
        return [None] * count
    listed = list(values) if isinstance(values, (list, tuple)) else _listed(values, where, what)
    if len(listed) != count:
        raise VectorInputError(
            f"{where} {what}: expected one per id, {count} for {figures.plural(count, 'id')}, "
            f"got {len(listed)}"
        )
    return listed


def _listed(values: Any, where: str, what: str) -> list[Any]:
    if hasattr(values, "to_pylist"):  # Arrow
        return list(values.to_pylist())
    single = isinstance(values, (str, bytes, Mapping, set, frozenset)) or is_table(values)
    if single or not isinstance(values, Iterable):
        raise VectorInputError(
            f"{where} {what} must be a list with one value per id, got {type(values).__name__}"
        )
    if not hasattr(values, "to_list"):
        return list(values)
    return [None if _is_missing(value) else value for value in values]


def entry_row(entry: Entry) -> dict[str, Any]:
    """Return an entry as the row of a DataFrame.

    A metadata key that is also a column's name gets the prefix `metadata.`.
    """
    own = {"id": entry.id, "content": entry.content}
    times = {
        name: datetime.datetime.fromtimestamp(getattr(entry, name), datetime.UTC)
        for name in ("created_at", "updated_at")
    }
    taken = {*own, *times, "embedding"}
    keys = {
        f"metadata.{key}" if key in taken or key.startswith("metadata.") else key: value
        for key, value in entry.metadata.items()
    }
    return {**own, **keys, **times, "embedding": entry.embedding}


def _names(table: Any) -> list[str]:
    if hasattr(table, "to_pydict"):  # Arrow's `columns` are the values
        return [str(name) for name in getattr(table, "column_names", None) or table.to_pydict()]
    return [str(name) for name in table.columns]


def _lists(table: Any) -> list[list[Any]]:
    """Return the columns of a table as lists."""
    if hasattr(table, "to_pydict"):
        return list(table.to_pydict().values())
    return [table[name].to_list() for name in table.columns]


def plain_cell(value: Any) -> Any:
    """Return a cell as a JSON value: missing cells (NaN, NaT, NA) as None, dates as ISO text."""
    if _is_missing(value):
        return None
    if hasattr(value, "tolist"):  # NumPy's
        value = value.tolist()
    return value.isoformat() if hasattr(value, "isoformat") else value


def _is_missing(value: Any) -> bool:
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")
