"""Frame files: an exact copy of a pandas DataFrame, Series or Index as one `.npz`, without pickle.

Each column and index level is stored as one or two arrays; `schema` is JSON that describes how to
reassemble them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.frames import pandas

_SCHEMA = "schema"
_PLAIN_KINDS = "biufcmM"
_PURPOSE = "load_frame"


class FrameFileError(TypeError):
    """A table that a frame file cannot represent; the message names the part and its type."""


def load_frame(path: str | Path) -> Any:
    """Load the DataFrame, Series or Index that `save_frame` wrote; needs pandas."""
    pd = pandas(_PURPOSE)
    with np.load(path, allow_pickle=False) as arrays:
        schema = json.loads(str(arrays[_SCHEMA]))
        held = {name: arrays[name] for name in arrays.files}
    return _Reader(pd, held).table(schema)


def save_frame(path: str | Path, table: Any) -> None:
    """Write a DataFrame, Series or Index; raise `FrameFileError` if it would not round-trip.

    Numbers, text, times, categories and missing values are supported; other objects are not.
    """
    writer = _Writer(pandas("save_frame"))
    schema = writer.table(table)
    back = _Reader(writer.pd, writer.arrays).table(json.loads(json.dumps(schema)))
    if not same_table(table, back):
        raise FrameFileError(f"a {type(table).__name__} would not be equal after reading it back")
    text = np.array(json.dumps(schema))
    with Path(path).open("wb") as file:
        np.savez(file, allow_pickle=False, **{_SCHEMA: text}, **writer.arrays)


def same_table(one: Any, other: Any) -> bool:
    """Return whether two tables have equal values, types, order, names, index and attributes."""
    testing = pandas("same_table").testing
    compare: Callable[..., None]
    if hasattr(one, "columns"):
        compare = testing.assert_frame_equal
    elif hasattr(one, "index"):
        compare = testing.assert_series_equal
    else:
        compare = testing.assert_index_equal
    if type(one) is not type(other) or getattr(one, "attrs", {}) != getattr(other, "attrs", {}):
        return False
    try:
        compare(one, other, check_exact=True)
    except AssertionError:
        return False
    return True


def is_pandas_table(value: Any) -> bool:
    """Return whether a value is a DataFrame, Series or Index; pandas is not imported."""
    pd = sys.modules.get("pandas")
    if pd is None or not hasattr(pd, "DataFrame"):  # partially imported
        return False
    return type(value) in (pd.DataFrame, pd.Series) or isinstance(value, pd.Index)


def table_description(table: Any) -> dict[str, Any]:
    """Return the content of a table's frame file as JSON, with the arrays in place."""
    return _Writer(pandas("table_description"), inline=True).table(table)


class _Writer:
    """Splits a table into arrays and a schema; with `inline`, the arrays stay in the schema."""

    def __init__(self, pd: Any, *, inline: bool = False) -> None:
        self.pd = pd
        self._inline = inline
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        kinds = pd.arrays
        self.nullable = kinds.IntegerArray, kinds.FloatingArray, kinds.BooleanArray

    def table(self, table: Any) -> dict[str, Any]:
        pd, kind = self.pd, type(table)
        if kind is pd.DataFrame:
            columns = [
                self.vector(table.iloc[:, number].array, f"column {label!r}")
                for number, label in enumerate(table.columns)
            ]
            return {
                "table": "DataFrame",
                "index": self.index(table.index),
                "columns": self.index(table.columns),
                "data": columns,
                **self.rest(table),
            }
        if kind is pd.Series:
            return {
                "table": "Series",
                "index": self.index(table.index),
                "name": self.label(table.name),
                "data": self.vector(table.array, f"series {table.name!r}"),
                **self.rest(table),
            }
        if isinstance(table, pd.Index):
            return {"table": "Index", "index": self.index(table)}
        raise FrameFileError(f"a {kind.__name__} is a subclass from another library")

    def rest(self, table: Any) -> dict[str, Any]:
        return {
            "attrs": self.json(table.attrs, "attrs"),
            "unique": not table.flags.allows_duplicate_labels,
        }

    def index(self, index: Any) -> dict[str, Any]:
        pd, kind = self.pd, type(index)
        name = self.label(index.name)
        if kind is pd.RangeIndex:
            return {"range": [index.start, index.stop, index.step], "name": name}
        if kind is pd.MultiIndex:
            return {
                "levels": [self.index(level) for level in index.levels],
                "codes": [self.array(np.asarray(codes)) for codes in index.codes],
                "names": [self.label(each) for each in index.names],
            }
        freq = getattr(index, "freqstr", None) if hasattr(index, "freq") else None
        return {"values": self.vector(index.array, "the index"), "name": name, "freq": freq}

    def label(self, label: Any) -> Any:
        """Return a name as JSON: a string, a number, None, or a tuple of these."""
        if isinstance(label, tuple):
            return {"tuple": [self.label(each) for each in label]}
        return self.json(label, f"the name {label!r}")

    def json(self, value: Any, place: str) -> Any:
        """Return a value that JSON represents exactly."""
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            text = ""
        if not text or repr(json.loads(text)) != repr(value):
            raise FrameFileError(f"{place} holds a {type(value).__name__}")
        return value

    def array(self, array: np.ndarray[Any, Any]) -> Any:
        if self._inline:
            return array
        name = f"a{len(self.arrays)}"
        self.arrays[name] = array
        return name

    def vector(self, values: Any, place: str) -> dict[str, Any]:
        """Return the schema of one pandas array."""
        pd = self.pd
        if type(values) is pd.arrays.NumpyExtensionArray:
            values = values.to_numpy()
        dtype = values.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            return {
                "kind": "category",
                "codes": self.array(np.asarray(values.codes)),
                "categories": self.index(dtype.categories),
                "ordered": bool(dtype.ordered),
            }
        if isinstance(dtype, pd.DatetimeTZDtype):
            utc = np.asarray(values.tz_convert("UTC").tz_localize(None))
            return {"kind": "zoned", "dtype": str(dtype), "array": self.array(utc)}
        if isinstance(dtype, pd.PeriodDtype):
            return {"kind": "period", "dtype": str(dtype), "array": self.array(values.asi8)}
        if isinstance(dtype, pd.IntervalDtype):
            sides = [
                self.vector(pd.Series(each).array, place) for each in (values.left, values.right)
            ]
            return {"kind": "interval", "sides": sides, "closed": dtype.closed}
        if isinstance(dtype, pd.StringDtype):
            missing = "nan" if isinstance(dtype.na_value, float) else "NA"
            usual = pd.StringDtype(na_value=dtype.na_value)  # with the packages installed here
            return {
                "kind": "string",
                "storage": None if dtype == usual else dtype.storage,
                "missing": missing,
                "items": self.objects(values.astype(object), place),
            }
        if isinstance(dtype, np.dtype):
            array = np.asarray(values)
            if dtype.kind in _PLAIN_KINDS:
                return {"kind": "plain", "array": self.array(array)}
            if dtype.hasobject:
                return {"kind": "object", "items": self.objects(array, place)}
        if isinstance(values, self.nullable):
            absent = np.asarray(values.isna())
            filled = values.to_numpy(dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
            return {
                "kind": "nullable",
                "dtype": str(dtype),
                "array": self.array(filled),
                "missing": self.array(absent),
            }
        raise FrameFileError(f"{place} has the type {dtype}")

    def objects(self, values: Any, place: str) -> list[Any]:
        """Return objects as JSON: text, numbers, None, and missing values by name."""
        return [self.item(each, place) for each in values]

    def item(self, item: Any, place: str) -> Any:
        if item is None or type(item) in (str, bool, int):
            return item
        if type(item) is float:
            return {"float": repr(item)}
        if item is self.pd.NA or item is self.pd.NaT:
            return {"missing": "NA" if item is self.pd.NA else "NaT"}
        raise FrameFileError(f"{place} holds a {type(item).__name__}")


class _Reader:
    """Reassembles a table from the arrays of a file."""

    def __init__(self, pd: Any, arrays: dict[str, Any]) -> None:
        self.pd = pd
        self.arrays = arrays

    def table(self, schema: dict[str, Any]) -> Any:
        pd, index = self.pd, self.index(schema["index"])
        if schema["table"] == "Index":
            return index
        if schema["table"] == "Series":
            name = self.label(schema["name"])
            made = pd.Series(self.vector(schema["data"]), index=index, name=name, copy=False)
        else:
            columns = {
                number: pd.Series(self.vector(each), index=index, copy=False)
                for number, each in enumerate(schema["data"])
            }
            made = pd.DataFrame(columns, index=index, copy=False)
            made.columns = self.index(schema["columns"])
        made.attrs.update(schema["attrs"])
        return made.set_flags(allows_duplicate_labels=False) if schema["unique"] else made

    def index(self, schema: dict[str, Any]) -> Any:
        pd = self.pd
        if "levels" in schema:
            return pd.MultiIndex(
                [self.index(level) for level in schema["levels"]],
                [self.arrays[codes] for codes in schema["codes"]],
                names=[self.label(name) for name in schema["names"]],
            )
        name = self.label(schema["name"])
        if "range" in schema:
            start, stop, step = schema["range"]
            return pd.RangeIndex(start, stop, step, name=name)
        values = self.vector(schema["values"])
        made = pd.Index(values, name=name, dtype=values.dtype, tupleize_cols=False)
        if schema["freq"] is not None and hasattr(made, "_with_freq"):
            made.freq = schema["freq"]
        return made

    def label(self, label: Any) -> Any:
        if isinstance(label, dict):
            return tuple(self.label(each) for each in label["tuple"])
        return label

    def vector(self, schema: dict[str, Any]) -> Any:
        pd, kind = self.pd, schema["kind"]
        if kind == "plain":
            return self.arrays[schema["array"]]
        if kind == "category":
            dtype = pd.CategoricalDtype(self.index(schema["categories"]), schema["ordered"])
            return pd.Categorical.from_codes(self.arrays[schema["codes"]], dtype=dtype)
        if kind == "zoned":
            dtype = pd.api.types.pandas_dtype(schema["dtype"])
            naive = pd.Series(self.arrays[schema["array"]])
            return naive.dt.tz_localize("UTC").astype(dtype).array
        if kind == "period":
            dtype = pd.api.types.pandas_dtype(schema["dtype"])
            return pd.arrays.PeriodArray(self.arrays[schema["array"]], dtype=dtype)
        if kind == "interval":
            left, right = map(self.vector, schema["sides"])
            return pd.arrays.IntervalArray.from_arrays(left, right, closed=schema["closed"])
        if kind == "nullable":
            make = pd.arrays.BooleanArray
            if schema["dtype"] != "boolean":
                dtype = pd.api.types.pandas_dtype(schema["dtype"])
                make = dtype.construct_array_type()
            return make(self.arrays[schema["array"]], self.arrays[schema["missing"]])
        items = np.empty(len(schema["items"]), object)
        items[:] = [self.item(each) for each in schema["items"]]
        if kind == "object":
            return items
        missing = np.nan if schema["missing"] == "nan" else pd.NA
        dtype = pd.StringDtype(schema["storage"], na_value=missing)
        return pd.array(items, dtype=dtype)

    def item(self, item: Any) -> Any:
        if not isinstance(item, dict):
            return item
        if "float" in item:
            return float(item["float"])
        return getattr(self.pd, item["missing"])
