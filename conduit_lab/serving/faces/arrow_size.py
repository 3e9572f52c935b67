"""The decoded size of Arrow columns, which may store one value for any number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from conduit_lab.core.errors import InputError

_REFERENCE_BYTES = 8  # per row that stores no bytes of its own, once it is a Python or pandas value
_VIEW_INTS = 4  # int32 numbers per string view; the first is its length


def batch_bytes(batch: Any) -> int:
    """Return the bytes of a record batch's values, with repeated values counted once per row.

    A null column of any length has no bytes, and a dictionary stores a string once for all rows.
    Raises `InputError` for column types that no DataFrame is written with.
    """
    rows: int = _REFERENCE_BYTES * batch.num_rows
    return rows + sum(_column_bytes(column) for column in batch.columns)


def _column_bytes(column: Any) -> int:
    from pyarrow import types

    kind = column.type
    rows = _REFERENCE_BYTES * len(column)
    if types.is_null(kind):
        return rows
    if types.is_struct(kind):
        return rows + sum(_column_bytes(column.field(n)) for n in range(kind.num_fields))
    if types.is_map(kind):
        return rows + _column_bytes(column.keys) + _column_bytes(column.items)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return rows + _column_bytes(column.values)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return rows + _viewed_bytes(column)
    if types.is_dictionary(kind):
        return rows + _shown_bytes(column)
    if kind.num_fields or types.is_run_end_encoded(kind) or _is_list_view(kind):
        raise InputError(f"the Arrow table has a column of the type {kind}: decode it first")
    return int(column.nbytes)


def _is_list_view(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list_view(kind) or types.is_large_list_view(kind))


def _viewed_bytes(column: Any) -> int:
    views = np.frombuffer(column.buffers()[1] or b"", "<i4").reshape(-1, _VIEW_INTS)
    lengths = views[column.offset : column.offset + len(column), 0]
    return int(np.abs(lengths.astype(np.int64)).sum())


def _shown_bytes(column: Any) -> int:
    """Return the bytes of a dictionary's values, counted once per row."""
    from pyarrow import compute, types

    values = column.dictionary
    kind = values.type
    if kind.num_fields or not (types.is_primitive(kind) or _has_lengths(kind)):
        raise InputError(f"the Arrow table has a dictionary of the type {kind}: decode it first")
    if types.is_primitive(kind):
        return int(_REFERENCE_BYTES * len(column))
    return compute.sum(compute.binary_length(values).take(column.indices)).as_py() or 0


def _has_lengths(kind: Any) -> bool:
    from pyarrow import types

    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
    )
