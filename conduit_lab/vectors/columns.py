"""Columns: the metadata of every row, and the columns that filters ask of it, each made when one first does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array
from conduit_lab.vectors.arrays import BoolArray

MAX_COLUMNS = 32  # kept at once; the one that was not used for longest goes
_BLOCK = 16_384  # values looked at together, so that other threads run in between
_SPARE = 1_024  # values that no row has any more and that are always kept


class _Missing:
    """The value of a key that an entry does not have."""

    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()
_PLAIN = {str, int, float}  # types whose values stand for themselves
_EMPTY: dict[str, Any] = {}


def is_text(value: Any) -> bool:
    """Tell whether a JSON value is text."""
    return isinstance(value, str)


def is_number(value: Any) -> bool:
    """Tell whether a JSON value is a number; `true` is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def comparable(value: Any) -> Any:
    """Return a hashable stand-in for a JSON value: two are equal exactly when the JSON values are."""
    if isinstance(value, bool):
        return (bool, value)  # Python's True equals 1, JSON's true does not
    if isinstance(value, dict):
        return (dict, frozenset((key, comparable(item)) for key, item in value.items()))
    if isinstance(value, list):
        return (list, tuple(map(comparable, value)))
    return value


class Columns:
    """The metadata of a store's rows, in the order of the rows.

    Not safe for threads: the store's lock is. Metadata that was handed in or out must not be
    changed.
    """

    def __init__(self) -> None:
        self._metadatas: list[dict[Any, Any]] = []
        self._keys: set[str] = set()  # of all rows that are or were
        self._made: dict[str | None, Column] = {}  # the one that was used last at the end

    def __len__(self) -> int:
        return len(self._metadatas)

    def append(self, metadatas: Sequence[dict[str, Any]]) -> None:
        """Add a row for each."""
        self._keys.update(*metadatas)
        self._metadatas += [
            metadata or _EMPTY for metadata in metadatas
        ]  # one object for all that have none

    def replace(self, at: Sequence[int], metadatas: Sequence[dict[str, Any]]) -> None:
        """Give the rows `at` new metadata."""
        self._keys.update(*metadatas)
        for row, metadata in zip(at, metadatas, strict=True):
            self._metadatas[row] = metadata or _EMPTY
        for key, column in self._made.items():
            for row in at:
                if row < len(column):
                    column.replace(row, self._metadatas[row].get(key, MISSING))
        self._forget_outgrown()

    def compact(self, alive: BoolArray) -> None:
        """Keep only the rows that are `alive`, bool `[n]`."""
        self._metadatas = list(compress(self._metadatas, alive.tolist()))
        for column in self._made.values():
            column.compact(alive)
        self._forget_outgrown()

    def metadata(self, at: int) -> dict[str, Any]:
        """Return the metadata of row `at`: the stored object, not a copy."""
        return self._metadatas[at]

    def column(self, key: str) -> Column:
        """Return the column of `key`, up to date."""
        name = (
            key if key in self._keys else None
        )  # None is no row's key: one column stands for all unknown keys
        column = self._made.pop(name, None)
        if column is None:
            column = Column()
        self._made[name] = column
        if len(self._made) > MAX_COLUMNS:
            del self._made[next(iter(self._made))]
        if len(column) < len(self):
            rows: Iterable[Mapping[Any, Any]] = map(
                self._metadatas.__getitem__, range(len(column), len(self))
            )
            column.append((row.get(name, MISSING) for row in rows), len(self) - len(column))
        return column

    def _forget_outgrown(self) -> None:
        """Drop columns that mostly hold values no row has any more; the next filter makes them anew."""
        for key in [
            key for key, column in self._made.items() if column.size > 2 * len(column) + _SPARE
        ]:
            del self._made[key]


class Column:
    """The values of one key: the distinct ones, and for each row the number of its own.

    A test is made on the distinct values, and the rows look its answers up.
    """

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._code_of: dict[Any, int] = {}  # by what `comparable` makes of the value
        self._codes = _Rows(np.int32)
        self._numbers = _Order(is_number, _number_keys)
        self._texts = _Order(is_text, _text_keys)
        self._holders: dict[
            Any, list[int]
        ] = {}  # for each item of a list the codes of the lists that have it
        self._parts: dict[int, str] = {}  # the texts by their codes
        self._searched = 0  # values that are in these two

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def size(self) -> int:
        """Number of distinct values, those that no row has any more included."""
        return len(self._values)

    def append(self, values: Iterable[Any], count: int) -> None:
        """Add `count` rows, `MISSING` for those without the key."""
        self._codes.put(len(self), np.fromiter(map(self._code, values), np.int32, count))

    def replace(self, at: int, value: Any) -> None:
        """Give row `at` a new value."""
        self._codes.rows[at] = self._code(value)

    def compact(self, alive: BoolArray) -> None:
        """Keep only the rows that are `alive`, bool `[n]`; of newer rows the column does not know yet."""
        kept = self._codes.rows[alive[: len(self)]]
        self._codes = _Rows(np.int32)
        self._codes.put(0, kept)

    def among(self, wanted: Set[Any]) -> BoolArray:
        """Return for each row whether its value is one of `wanted`, given as `comparable` makes them."""
        codes = [self._code_of[key] for key in self._code_of.keys() & wanted]
        if not codes:
            return np.zeros(len(self), np.bool_)
        if len(codes) == 1:
            return np.equal(self._codes.rows, codes[0])
        return self._looked_up(self._table(codes))

    def ordered(self, ahead: np.ufunc, wanted: Any, test: Callable[[Any], bool]) -> BoolArray:
        """Return for each row whether `test`, an order such as `> wanted`, holds.

        `ahead` is the same order without equality, `np.less` or `np.greater`; `wanted` is a number
        or text.
        """
        order = self._texts if isinstance(wanted, str) else self._numbers
        return self._looked_up(order.table(self._values, ahead, wanted, test))

    def containing(self, wanted: Any) -> BoolArray:
        """Return for each row whether it is a list with the item `wanted`, or text of which `wanted` is a part."""
        for code in range(self._searched, self.size):
            match self._values[code]:
                case str() as text:
                    self._parts[code] = text
                case list() as items:
                    for item in set(map(comparable, items)):
                        self._holders.setdefault(item, []).append(code)
        self._searched = self.size
        codes = self._holders.get(comparable(wanted), [])
        if isinstance(wanted, str):
            codes = [*codes, *(code for code, text in self._parts.items() if wanted in text)]
        return self._looked_up(self._table(codes))

    def _code(self, value: Any) -> int:
        key = value if type(value) in _PLAIN else comparable(value)
        code = self._code_of.get(key)
        if code is None:
            code = self.size
            self._values.append(
                value
            )  # first, so that Ctrl-C in between leaves no code without a value
            self._code_of[key] = code
        return code

    def _table(self, codes: list[int]) -> BoolArray:
        """Return for each distinct value whether it is one of `codes`."""
        table = np.zeros(self.size, np.bool_)
        table[codes] = True
        return table

    def _looked_up(self, table: BoolArray) -> BoolArray:
        """Return for each row what `table` says of its value."""
        mask: BoolArray = table.take(self._codes.rows)
        return mask


class _Order:
    """The order of one kind of value, numbers or text, by keys that NumPy compares.

    Where the keys of two values differ, the values differ the same way. Where they do not (integers
    beyond 2^53, text with a long beginning in common), the values themselves are asked.
    """

    def __init__(self, alike: Callable[[Any], bool], keys: Callable[[list[Any]], Array]) -> None:
        self._is_alike = alike
        self._make_keys = keys
        none = keys([])
        self._keys = _Rows(none.dtype, none.shape[1])
        self._alike = _Rows(np.bool_)  # the values that are of this kind
        self._seen = 0

    def table(
        self, values: list[Any], ahead: np.ufunc, wanted: Any, test: Callable[[Any], bool]
    ) -> BoolArray:
        """Return for each of `values`, which only ever get more, whether `test` holds."""
        self._catch_up(values)
        found = np.zeros(len(values), np.bool_)
        same = self._alike.rows.copy()
        for words, word in zip(self._keys.rows.T, self._make_keys([wanted])[0], strict=True):
            found |= same & ahead(words, word)
            same &= words == word
        for code in np.flatnonzero(same).tolist():
            found[code] = test(values[code])
        return found

    def _catch_up(self, values: list[Any]) -> None:
        """Make the keys of the values that came since the last time."""
        while new := values[self._seen : self._seen + _BLOCK]:
            alike = np.fromiter(map(self._is_alike, new), np.bool_, len(new))
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
    """Return the first 16 bytes of each text as two numbers, `[n, 2]`; UTF-8 sorts as Python's text does."""
    beginnings = np.array([text[:16].encode() for text in texts], "S16")
    return beginnings.view(">u8").astype(np.uint64).reshape(-1, 2)


class _Rows:
    """A NumPy array that grows at its end; capacity doubles, so that one by one stays linear."""

    def __init__(self, dtype: npt.DTypeLike, *shape: int) -> None:
        self._data: Array = np.empty((0, *shape), dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def rows(self) -> Array:
        """What is in it, as a view."""
        return self._data[: self._length]

    def put(self, at: int, rows: Array) -> None:
        """Let `rows` begin at row `at` and end the array."""
        length = at + len(rows)
        if length > len(self._data):
            data = np.empty((max(length, 2 * at), *self._data.shape[1:]), self._data.dtype)
            data[:at] = self._data[:at]
            self._data = data
        self._data[at:length] = rows
        self._length = length
