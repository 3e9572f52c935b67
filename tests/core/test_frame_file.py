"""Frame files: every table round-trips unchanged or is rejected on writing."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conduit_lab import load_frame
from conduit_lab.core.frame_file import FrameFileError, same_table, save_frame, table_description

ZONED = pd.date_range("2026-01-01", periods=3, freq="D", tz="Europe/Berlin")
KEYS = pd.MultiIndex.from_tuples([("k", 1), ("l", 2)], names=["n", None])
ORDERED = pd.CategoricalDtype(["b", "a", "c"], ordered=True)


def _with_attrs() -> Any:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["units"] = {"a": ["kg", 1.5, None]}
    return frame


TABLES = {
    "numbers and text": pd.DataFrame({"a": [1, 2], "b": [1.5, np.nan], "c": ["x", None]}),
    "columns in another order": pd.DataFrame({"b": [1], "a": [2]}),
    "columns of one name": pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]),
    "columns without names": pd.DataFrame([[1, 2]]),
    "columns of levels": pd.DataFrame({("x", "a"): [1], ("x", "b"): [3]}),
    "an index of levels": pd.DataFrame({"a": [1, 2]}, index=KEYS),
    "an index of text": pd.DataFrame({"a": [1]}, index=pd.Index(["k"], name="key")),
    "an index of times": pd.Series(range(3), index=ZONED),
    "an index of months": pd.Series([1, 2], index=pd.date_range("2026", periods=2, freq="MS")),
    "a reversed range": pd.DataFrame({"a": [1, 2]}).iloc[::-1],
    "no rows": pd.DataFrame({"a": np.zeros(0, np.int8)}),
    "nothing": pd.DataFrame(),
    "times": pd.DataFrame({"z": ZONED, "t": pd.to_timedelta([1, 2, 3], "s")}),
    "nanoseconds": pd.Series(np.array(["2026-01-01T00:00:00.000000001", "NaT"], "M8[ns]")),
    "a fixed zone": pd.Series(pd.to_datetime(["2026-01-01T00:00+02:00"])),
    "periods": pd.Series(pd.period_range("2026-01", periods=2, freq="M")),
    "intervals": pd.Series(pd.interval_range(0, 2, closed="left")),
    "bins": pd.cut(pd.Series([1, 5, 9]), 3),
    "categories": pd.Series(["a", "b", None], dtype="category"),
    "ordered categories": pd.Series(["a", "b", None], dtype=ORDERED),
    "nullable numbers": pd.DataFrame(
        {"i": pd.array([1, None], "Int64"), "f": pd.array([1.5, None], "Float32")}
    ),
    "nullable truth": pd.Series([True, None], dtype="boolean"),
    "nullable text": pd.Series(["a", None], dtype="string"),
    "text of Python": pd.Series(["a", None], dtype=pd.StringDtype("python")),
    "objects": pd.Series(["a", None, np.nan, pd.NA, pd.NaT, 1, True, -0.0], dtype=object),
    "small floats": pd.Series(np.array([1, 2], np.float16)),
    "complex numbers": pd.Series([1j, complex(0.0, -0.0)]),
    "a name of parts": pd.Series([1], name=("a", 1)),
    "attributes": _with_attrs(),
    "labels that stay unique": pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
    "an index alone": pd.Index([3, 1], name="q"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_comes_back_equal(name: str, tmp_path: Path) -> None:
    save_frame(tmp_path / "table.npz", TABLES[name])
    back = load_frame(tmp_path / "table.npz")
    assert same_table(TABLES[name], back)
    assert getattr(back, "attrs", {}) == getattr(TABLES[name], "attrs", {})
    assert str(table_description(back)) == str(table_description(TABLES[name]))


def test_a_table_that_came_back_can_be_changed(tmp_path: Path) -> None:
    save_frame(tmp_path / "table.npz", pd.DataFrame({"a": [1, 2]}))
    back = load_frame(tmp_path / "table.npz")
    back["b"] = back["a"] * 2
    back.loc[0, "a"] = 7
    assert back.to_dict("list") == {"a": [7, 2], "b": [2, 4]}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pd.DataFrame({"at": [datetime.date(2026, 1, 1)]}), "column 'at' holds a date"),
        (pd.Series([[1]], name="lists"), "series 'lists' holds a list"),
        (pd.Series([1], dtype="int64[pyarrow]"), r"has the type int64\[pyarrow\]"),
        (pd.Series(pd.arrays.SparseArray([0, 1])), "has the type Sparse"),
        (pd.Index([(1, 2), "a"]), "the index holds a tuple"),
        (pd.Series([1], name=datetime.date(2026, 1, 1)), "holds a date"),
        (type("Geo", (pd.DataFrame,), {})({"a": [1]}), "a Geo is a subclass from another library"),
    ],
)
def test_other_objects_are_refused(table: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(FrameFileError, match=words):
        save_frame(tmp_path / "table.npz", table)
    assert not (tmp_path / "table.npz").exists()


def test_attributes_that_json_changes_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["pair"] = (1, 2)
    with pytest.raises(FrameFileError, match="attrs holds a dict"):
        save_frame(tmp_path / "table.npz", frame)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pd.Series([1]), pd.Series([1.0])),
        (pd.Series([1], name="a"), pd.Series([1], name="b")),
        (pd.Series(["a"]), pd.Series(["a"], dtype=object)),
        (pd.Series([0.1]), pd.Series([0.1 + 1e-16])),
        (pd.DataFrame({"a": [1], "b": [2]}), pd.DataFrame({"b": [2], "a": [1]})),
        (_with_attrs(), pd.DataFrame({"a": [1]})),
        (pd.Series([1]), pd.DataFrame({"a": [1]})),
    ],
)
def test_tables_are_compared_exactly(one: Any, other: Any) -> None:
    assert not same_table(one, other)
    assert same_table(one, one.copy())
