"""The parts of DataFrames, Series and indexes that belong to an app's state."""

from __future__ import annotations

from typing import Any

from conduit_lab.core.frame_file import FrameFileError, is_pandas_table, table_description


def table_parts(value: Any) -> tuple[str, list[tuple[str, Any]]] | None:
    """Return the line and the parts of a table; None for other objects and unsupported tables."""
    if not is_pandas_table(value):
        return None
    try:
        found = table_description(value)
    except FrameFileError:
        return None
    shown = f"{found.pop('table')} of {len(value)} rows"
    data = found.pop("data", None)
    parts = [(f"its {name}", part) for name, part in found.items()]
    if isinstance(data, list):
        parts += [
            (f"column {label!r}", each) for label, each in zip(value.columns, data, strict=True)
        ]
    elif data is not None:
        parts.append(("its data", data))
    return shown, parts
