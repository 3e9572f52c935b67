"""Table: a DataFrame or Arrow table as the columns of a batch, and an entry as a row of one."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from typing import Any

from conduit_lab.core.errors import MissingExtra, VectorInputError
from conduit_lab.vectors.entry import Entry

_OWN = ("id", "embedding", "content")

Columns = tuple[list[Any], Any, list[dict[str, Any]], list[str | None] | None]


def is_table(value: Any) -> bool:
    """Tell whether `value` is a DataFrame (pandas, polars) or an Arrow table."""
    return hasattr(value, "columns") and (hasattr(value, "to_dict") or hasattr(value, "to_pydict"))


def columns(table: Any, where: str) -> Columns:
    """Return ids, embeddings, metadatas and contents of a table; what is missing in a cell is left out.

    Raises `VectorInputError`, which begins with `where`, for a table without the column `id`, or with neither of
    `embedding` and `content`.
    """
    data = {str(name): values for name, values in _lists(table).items()}
    if "id" not in data or not {"embedding", "content"} & data.keys():
        raise VectorInputError(
            f"{where} a table wants the column 'id' and 'embedding', 'content' or both, got {', '.join(data) or 'none'}"
        )
    names = [name for name in data if name not in _OWN]
    rows = zip(*(data[name] for name in names), strict=True) if names else ((),) * len(data["id"])
    metadatas = [
        {name: cell for name, value in zip(names, row, strict=True) if (cell := plain(value)) is not None}
        for row in rows
    ]
    contents = [plain(text) for text in data["content"]] if "content" in data else None
    return data["id"], data.get("embedding"), metadatas, contents


def row(entry: Entry) -> dict[str, Any]:
    """Return an entry as the row of a DataFrame; a key of the metadata that is a column's name gets a `metadata.`."""
    own = {"id": entry.id, "content": entry.content}
    times = {
        name: datetime.datetime.fromtimestamp(getattr(entry, name), datetime.UTC)
        for name in ("created_at", "updated_at")
    }
    taken = {*own, *times, "embedding"}
    keys = {f"metadata.{key}" if key in taken else key: value for key, value in entry.metadata.items()}
    return {**own, **keys, **times, "embedding": entry.embedding}


def _lists(table: Any) -> dict[Any, list[Any]]:
    """Return the columns of a table as lists."""
    if hasattr(table, "to_pydict"):  # Arrow
        made: dict[Any, list[Any]] = table.to_pydict()
        return made
    return {name: table[name].to_list() for name in table.columns}


def plain(value: Any) -> Any:
    """Return a cell as JSON carries it; what is missing (None, NaN, NaT, NA) is None, and a date its ISO text."""
    if hasattr(value, "tolist"):  # NumPy's
        value = value.tolist()
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value


def frame(entries: Iterable[Entry]) -> Any:
    """Return a DataFrame with a row for each entry; raises `MissingExtra` without pandas."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtra("pandas", "lab", "VectorStore.to_pandas()") from None
    return pd.DataFrame([row(entry) for entry in entries])
