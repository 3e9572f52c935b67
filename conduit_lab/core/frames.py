"""DataFrames: recognize them, and create them if pandas is installed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from conduit_lab.core.errors import MissingExtra


def is_frame(value: Any) -> bool:
    """Return whether `value` is, or behaves like, a pandas DataFrame; pandas is not imported."""
    return hasattr(value, "itertuples") and hasattr(value, "columns")


def to_frame(
    rows: Iterable[Any], columns: Sequence[str] | None = None, *, purpose: str = "to_pandas()"
) -> Any:
    """Return a DataFrame with one row per item of `rows`; raise `MissingExtra` without pandas.

    `purpose` names the caller in that error.
    """
    return pandas(purpose).DataFrame(list(rows), columns=None if columns is None else list(columns))


def pandas(purpose: str) -> Any:
    """Return the pandas module; raise a `MissingExtra` that names `purpose` if not installed."""
    try:
        import pandas as module
    except ImportError:
        raise MissingExtra("pandas", "lab", purpose) from None
    return module
