"""DataFrames: recognized without pandas, made with it, or an error that names the extra."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

from conduit_lab.core.errors import MissingExtra
from conduit_lab.core.frames import is_frame, to_frame


def test_a_frame_is_recognized() -> None:
    assert is_frame(pd.DataFrame({"a": [1]}))
    assert not is_frame(pd.Series([1])) and not is_frame({"columns": 1})


def test_rows_become_a_frame() -> None:
    frame = to_frame(iter([(1, "x"), (2, "y")]), ("n", "text"))
    assert list(frame.columns) == ["n", "text"] and frame.shape == (2, 2)
    assert list(to_frame([{"a": 1}]).columns) == ["a"]


def test_without_pandas_the_error_names_the_caller_and_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"Hits\.to_pandas\(\) needs pandas.*conduit-lab\[lab\]"):
        to_frame([], purpose="Hits.to_pandas()")
