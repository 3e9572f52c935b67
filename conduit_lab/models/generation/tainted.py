# ruff: noqa: D102 - the methods are those of str
"""TaintedStr: a string that tracks which of its characters are data, throughout a template.

Taint tracking prevents user data from being read as control tokens of the model: only characters of
the template itself may form one (see `control_tokens.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, SupportsIndex

# The string methods that templates may call; each result keeps its taint.
_METHOD_NAMES = """
    strip lstrip rstrip removeprefix removesuffix replace join format split rsplit splitlines
    partition rpartition upper lower title capitalize casefold swapcase center ljust rjust zfill
    expandtabs startswith endswith find rfind index rindex count isalnum isalpha isascii
    isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper
"""
TEMPLATE_METHODS = frozenset(_METHOD_NAMES.split())


class TaintedStr(str):
    """A string with one taint byte per character: 1 for data, 0 for template text.

    Operations that move characters preserve their taint; results of other operations are data.
    """

    __slots__ = ("_taint",)

    _taint: bytes

    def __new__(cls, text: str = "", taint: bytes | None = None) -> TaintedStr:
        """Return a string; without `taint` all of it is data, unless `text` is already tainted."""
        made = super().__new__(cls, text)
        if taint is None:
            taint = text._taint if isinstance(text, TaintedStr) else b"\1" * len(text)
        made._taint = taint
        return made

    def __str__(self) -> str:
        return self

    def __iter__(self) -> Iterator[str]:
        for character, taint in zip(super().__iter__(), self._taint, strict=True):
            yield TaintedStr(character, bytes([taint]))

    def __getitem__(self, key: SupportsIndex | slice) -> TaintedStr:
        taint = self._taint[key]
        return TaintedStr(
            super().__getitem__(key), taint if isinstance(taint, bytes) else bytes([taint])
        )

    def __add__(self, other: str) -> TaintedStr:
        return concatenated((self, other))

    def __radd__(self, other: str) -> TaintedStr:
        return concatenated((other, self))

    def __mul__(self, count: SupportsIndex) -> TaintedStr:
        return TaintedStr(super().__mul__(count), self._taint * count)

    __rmul__ = __mul__

    def strip(self, chars: str | None = None, /) -> TaintedStr:
        return self.lstrip(chars).rstrip(chars)

    def lstrip(self, chars: str | None = None, /) -> TaintedStr:
        return self[len(self) - len(super().lstrip(chars)) :]

    def rstrip(self, chars: str | None = None, /) -> TaintedStr:
        return self[: len(super().rstrip(chars))]

    def removeprefix(self, prefix: str, /) -> TaintedStr:
        return self[len(prefix) :] if prefix and self.startswith(prefix) else self

    def removesuffix(self, suffix: str, /) -> TaintedStr:
        return self[: -len(suffix)] if suffix and self.endswith(suffix) else self

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> TaintedStr:
        if old:
            return _join(new, self.split(old, count))
        left = int(count) if int(count) >= 0 else len(self) + 1
        parts: list[str] = []
        for place, character in enumerate(self):
            parts += [new, character] if place < left else [character]
        return concatenated([*parts, *([new] if len(self) < left else [])])

    def join(self, parts: Iterable[str], /) -> TaintedStr:
        return _join(self, parts)

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._tainted_pieces(super().split(sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._tainted_pieces(super().rsplit(sep, maxsplit), sep)

    def _tainted_pieces(self, pieces: list[str], separator: str | None) -> list[str]:
        """Return the pieces of a split with their taint."""
        found: list[str] = []
        start = 0
        for piece in pieces:
            if separator is None:
                start = self.find(piece, start)
            found.append(TaintedStr(piece, self._taint[start : start + len(piece)]))
            start += len(piece) + len(separator or "")
        return found

    def splitlines(self, keepends: bool = False) -> list[str]:
        found: list[str] = []
        start = 0
        for line, kept in zip(super().splitlines(), super().splitlines(True), strict=True):
            found.append(self[start : start + len(kept if keepends else line)])
            start += len(kept)
        return found

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        return self._tainted_partition(self.find(sep), sep, (self, TaintedStr(), TaintedStr()))

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        return self._tainted_partition(self.rfind(sep), sep, (TaintedStr(), TaintedStr(), self))

    def _tainted_partition(
        self, place: int, sep: str, otherwise: tuple[str, str, str]
    ) -> tuple[str, str, str]:
        if place < 0 or not sep:
            super().partition(sep)  # raises for an empty separator
            return otherwise
        return self[:place], self[place : place + len(sep)], self[place + len(sep) :]

    def upper(self) -> TaintedStr:
        return self._mapped(super().upper())

    def lower(self) -> TaintedStr:
        return self._mapped(super().lower())

    def title(self) -> TaintedStr:
        return self._mapped(super().title())

    def capitalize(self) -> TaintedStr:
        return self._mapped(super().capitalize())

    def casefold(self) -> TaintedStr:
        return self._mapped(super().casefold())

    def swapcase(self) -> TaintedStr:
        return self._mapped(super().swapcase())

    def _mapped(self, text: str) -> TaintedStr:
        """Return a string of mapped characters; all of it is data if their number changed."""
        if len(text) == len(self):
            return TaintedStr(text, self._taint)
        return TaintedStr(text) if 1 in self._taint else TaintedStr(text, bytes(len(text)))

    def center(self, width: SupportsIndex, fill: str = " ", /) -> TaintedStr:
        return self._mapped(super().center(width, fill))

    def ljust(self, width: SupportsIndex, fill: str = " ", /) -> TaintedStr:
        return self._mapped(super().ljust(width, fill))

    def rjust(self, width: SupportsIndex, fill: str = " ", /) -> TaintedStr:
        return self._mapped(super().rjust(width, fill))

    def zfill(self, width: SupportsIndex, /) -> TaintedStr:
        return self._mapped(super().zfill(width))

    def expandtabs(self, tabsize: SupportsIndex = 8) -> TaintedStr:
        return self._mapped(super().expandtabs(tabsize))


def taint_of(text: str) -> bytes:
    """Return the taint of a string, one byte per character, 1 for data."""
    return text._taint if isinstance(text, TaintedStr) else bytes(len(text))


def concatenated(parts: Iterable[str]) -> TaintedStr:
    """Return the concatenation of the parts, each with its taint."""
    texts = list(parts)
    return TaintedStr("".join(texts), b"".join(map(taint_of, texts)))


def _join(separator: str, parts: Iterable[str]) -> TaintedStr:
    texts = list(parts)
    return TaintedStr(str.join(separator, texts), taint_of(separator).join(map(taint_of, texts)))


def taint(value: Any) -> Any:
    """Return JSON-like data with every string tainted, keys included."""
    if isinstance(value, str):
        return TaintedStr(value)
    if isinstance(value, Mapping):
        return {taint(key): taint(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [taint(inner) for inner in value]
    return value
