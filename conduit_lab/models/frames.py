"""Tables as DataFrames, where pandas is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conduit_lab.core.errors import MissingExtra


def frame(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> Any:
    """Return a DataFrame; `MissingExtra` without pandas."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtra("pandas", "lab", "to_pandas()") from None
    return pd.DataFrame(rows, columns=list(columns))
