"""Columns: the metadata of all rows, and a column per key, built when a filter first needs it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array
from conduit_lab.vectors.arrays import BoolArray
from conduit_lab.vectors.entry import copy_json

MAX_COLUMNS = 32  # in memory; the least recently used column is dropped
_BLOCK_VALUES = 16_384  # read together; other threads run in between
_MIN_UNUSED_VALUES = 1_024  # that a column may hold without any row


class _Missing:
    """The value of a missing key."""

    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()
_PLAIN = {str, int, float}  # types whose values are their own key
_EMPTY: dict[str, Any] = {}
_CONTAINERS = (dict, list)


def is_text(value: Any) -> bool:
    """Return whether a JSON value is text."""
    return isinstance(value, str)


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number, which `true` is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def comparable(value: Any) -> Any:
    """Return a hashable key for a JSON value: keys are equal exactly if the values are."""
    if isinstance(value, bool):
        return (bool, value)  # Python's True equals 1, JSON's true does not
    if isinstance(value, dict):
        return (dict, frozenset((key, comparable(item)) for key, item in value.items()))
    if isinstance(value, list):
        return (list, tuple(map(comparable, value)))
    return value


class MetadataColumns:
    """The metadata of a store's rows, in row order.

    Not thread-safe: the backend holds a lock. Callers must not change metadata given or returned.
    """

    def __init__(self) -> None:
        self._metadatas: list[dict[Any, Any]] = []
        self._keys: set[str] = set()  # of all rows, including deleted ones
        self._built: dict[str | None, Column] = {}  # the most recently used last

    def __len__(self) -> int:
        return len(self._metadatas)

    @property
    def keys(self) -> set[str]:
        """A copy of the keys of all rows, including deleted ones."""
        return self._keys.copy()

    def append(self, metadatas: Sequence[dict[str, Any]]) -> None:
        """Append one row per metadata dict."""
        self._keys.update(*metadatas)
        # One shared object for all empty dicts.
        self._metadatas += [metadata or _EMPTY for metadata in metadatas]

    def replace(self, at: Sequence[int], metadatas: Sequence[dict[str, Any]]) -> None:
        """Replace the metadata of the rows `at`."""
        self._keys.update(*metadatas)
        for row, metadata in zip(at, metadatas, strict=True):
            self._metadatas[row] = metadata or _EMPTY
        for key, column in self._built.items():
            for row in at:
                if row < len(column):
                    column.replace(row, self._metadatas[row].get(key, MISSING))
        self._drop_outgrown()

    def compact(self, live: BoolArray) -> None:
        """Keep only the `live` rows, bool `[n]`."""
        self._metadatas = list(compress(self._metadatas, live.tolist()))
        for column in self._built.values():
            column.compact(live)
        self._drop_outgrown()

    def metadata(self, at: int) -> dict[str, Any]:
        """Return the metadata of row `at`: the stored object, not a copy."""
        return self._metadatas[at]

    def copies(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return copies of the metadata of some rows, which callers may change."""
        copies = []
        for at in rows:
            metadata = self._metadatas[at].copy()
            for key, value in metadata.items():
                if type(value) in _CONTAINERS:  # no call per scalar: this runs for each hit
                    metadata[key] = copy_json(value)
            copies.append(metadata)
        return copies

    def column(self, key: str) -> Column:
        """Return the column of `key`, up to date."""
        name = key if key in self._keys else None  # one column for all unknown keys
        column = self._built.pop(name, None)
        if column is None:
            column = Column()
        self._built[name] = column
        if len(self._built) > MAX_COLUMNS:
            del self._built[next(iter(self._built))]
        if len(column) < len(self):
            new = range(len(column), len(self))
            rows: Iterable[Mapping[Any, Any]] = map(self._metadatas.__getitem__, new)
            column.append((row.get(name, MISSING) for row in rows), len(self) - len(column))
        return column

    def _drop_outgrown(self) -> None:
        """Drop columns whose values mostly belong to no row; the next filter rebuilds them."""
        for key, column in list(self._built.items()):
            if column.size > 2 * len(column) + _MIN_UNUSED_VALUES:
                del self._built[key]


class Column:
    """The distinct values of one key, and the code of each row's value.

    A test runs once per distinct value; each row then looks up the result.
    """

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._code_of: dict[Any, int] = {}  # by the value's `comparable` key
        self._codes = _Rows(np.int32)
        self._numbers = _Order(is_number, _number_keys)
        self._texts = _Order(is_text, _text_keys)
        self._holders: dict[Any, list[int]] = {}  # by item: the codes of lists that contain it
        self._parts: dict[int, str] = {}  # the texts by code
        self._searched = 0  # values covered by these two

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def size(self) -> int:
        """Number of distinct values, including values without a row."""
        return len(self._values)

    def append(self, values: Iterable[Any], count: int) -> None:
        """Add `count` rows, `MISSING` for those without the key."""
        self._codes.put(len(self), np.fromiter(map(self._code, values), np.int32, count))

    def replace(self, at: int, value: Any) -> None:
        """Replace the value of row `at`."""
        self._codes.rows[at] = self._code(value)

    def compact(self, live: BoolArray) -> None:
        """Keep only the `live` rows, bool `[n]`; rows newer than the column are not in it."""
        kept = self._codes.rows[live[: len(self)]]
        self._codes = _Rows(np.int32)
        self._codes.put(0, kept)

    def among(self, keys: Set[Any]) -> BoolArray:
        """Return per row whether the `comparable` key of its value is in `keys`."""
        codes = [self._code_of[key] for key in self._code_of.keys() & keys]
        if not codes:
            return np.zeros(len(self), np.bool_)
        if len(codes) == 1:
            return np.equal(self._codes.rows, codes[0])
        return self._of_rows(self._table(codes))

    def ordered(self, ahead: np.ufunc, operand: Any, test: Callable[[Any], bool]) -> BoolArray:
        """Return per row whether `test`, a comparison such as `> operand`, holds.

        `ahead` is the strict form of the comparison, `np.less` or `np.greater`; `operand` is a
        number or text.
        """
        order = self._texts if isinstance(operand, str) else self._numbers
        return self._of_rows(order.table(self._values, ahead, operand, test))

    def containing(self, item: Any) -> BoolArray:
        """Return per row whether it is a list with this item or a text with this substring."""
        for code in range(self._searched, self.size):
            match self._values[code]:
                case str() as text:
                    self._parts[code] = text
                case list() as items:
                    for key in set(map(comparable, items)):
                        self._holders.setdefault(key, []).append(code)
        self._searched = self.size
        codes = self._holders.get(comparable(item), [])
        if isinstance(item, str):
            codes = [*codes, *(code for code, text in self._parts.items() if item in text)]
        return self._of_rows(self._table(codes))

    def _code(self, value: Any) -> int:
        key = value if type(value) in _PLAIN else comparable(value)
        code = self._code_of.get(key)
        if code is None:
            code = self.size
            self._values.append(value)  # first: Ctrl-C may come in between
            self._code_of[key] = code
        return code

    def _table(self, codes: list[int]) -> BoolArray:
        """Return per distinct value whether its code is in `codes`."""
        table = np.zeros(self.size, np.bool_)
        table[codes] = True
        return table

    def _of_rows(self, table: BoolArray) -> BoolArray:
        """Return per row the entry of `table` for its value."""
        mask: BoolArray = table.take(self._codes.rows)
        return mask


class _Order:
    """The order of one kind of value, numbers or text, by keys that NumPy can compare.

    Values with different keys are ordered by their keys. If keys are equal (integers beyond 2^53,
    text with a long common prefix), the values themselves are compared.
    """

    def __init__(self, is_kind: Callable[[Any], bool], keys: Callable[[list[Any]], Array]) -> None:
        self._is_kind = is_kind
        self._make_keys = keys
        none = keys([])
        self._keys = _Rows(none.dtype, none.shape[1])
        self._alike = _Rows(np.bool_)  # whether each value is of this kind
        self._seen = 0

    def table(
        self, values: list[Any], ahead: np.ufunc, operand: Any, test: Callable[[Any], bool]
    ) -> BoolArray:
        """Return whether `test` holds for each of `values`, a list that only grows."""
        self._catch_up(values)
        found = np.zeros(len(values), np.bool_)
        same = self._alike.rows.copy()
        for words, word in zip(self._keys.rows.T, self._make_keys([operand])[0], strict=True):
            found |= same & ahead(words, word)
            same &= words == word
        for code in np.flatnonzero(same).tolist():
            found[code] = test(values[code])
        return found

    def _catch_up(self, values: list[Any]) -> None:
        """Compute the keys of new values."""
        while new := values[self._seen : self._seen + _BLOCK_VALUES]:
            alike = np.fromiter(map(self._is_kind, new), np.bool_, len(new))
            keys = np.zeros((len(new), self._keys.rows.shape[1]), self._keys.rows.dtype)
            keys[alike] = self._make_keys(list(compress(new, alike)))
            self._alike.put(self._seen, alike)
            self._keys.put(self._seen, keys)
            self._seen += len(new)


def _number_keys(numbers: list[Any]) -> npt.NDArray[np.float64]:
    """Return the float nearest to each number, `[n, 1]`."""
    return np.fromiter(map(_nearest, numbers), np.float64, len(numbers))[:, np.newaxis]


def _nearest(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _text_keys(texts: list[Any]) -> npt.NDArray[np.uint64]:
    """Return the first 16 bytes of each text as two numbers `[n, 2]`; UTF-8 sorts as str does."""
    prefixes = np.array([text[:16].encode() for text in texts], "S16")
    return prefixes.view(">u8").astype(np.uint64).reshape(-1, 2)


class _Rows:
    """A growable NumPy array; its capacity doubles, so appends take amortized O(1)."""

    def __init__(self, dtype: npt.DTypeLike, *shape: int) -> None:
        self._data: Array = np.empty((0, *shape), dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def rows(self) -> Array:
        """A view of the rows."""
        return self._data[: self._length]

    def put(self, at: int, rows: Array) -> None:
        """Write `rows` starting at row `at`; they become the end of the array."""
        length = at + len(rows)
        if length > len(self._data):
            data = np.empty((max(length, 2 * at), *self._data.shape[1:]), self._data.dtype)
            data[:at] = self._data[:at]
            self._data = data
        self._data[at:length] = rows
        self._length = length
