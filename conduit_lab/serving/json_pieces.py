"""JSON in pieces: parse large text in several short calls, so other threads can run between them.

A C parser holds the GIL until it returns: 145 to 500 ms for a body of 10 MB, during which no health
check is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

LARGE_BYTES = 2**20  # below this, splitting is not worth its cost
PIECE_BYTES = 2**18  # at most 12 ms for the slowest kind, objects with many keys

_MAX_LEVELS = 16  # of split containers; deeper ones are parsed whole
_MAX_STEPS = 8  # marks searched for a comma; valid JSON needs three
_SPACE = b" \t\n\r"
_CLOSING = {ord("["): ord("]"), ord("{"): ord("}")}
_QUOTE = ord('"')
_IS_MARK = np.zeros(256, np.bool_)
_IS_MARK[list(b'[]{}"')] = True
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1

Parse = Callable[[bytes], Any]


def parse_in_pieces(text: bytes, parse: Parse) -> Any:
    """Parse JSON text; `parse` gets pieces of at most about `PIECE_BYTES`.

    For invalid JSON raises the error of `parse`, a `ValueError`.
    """
    return _Pieces(text, parse).value()


class _Pieces:
    """A text and its structural marks: brackets outside strings, and closing quotes.

    `_depths` is the number of open containers after each mark, and `_ends` the position of the next
    mark of any kind, including opening quotes.
    """

    def __init__(self, text: bytes, parse: Parse) -> None:
        self._text = text
        self._parse = parse
        masked = text
        if b"\\" in masked:  # mask escaped quotes without moving positions
            masked = masked.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        codes = np.frombuffer(masked, np.uint8)
        places = np.flatnonzero(_IS_MARK[codes])
        kinds = codes[places]
        in_string = np.cumsum(kinds == _QUOTE, dtype=np.uint8) & 1
        kept = in_string == 0
        ends = np.append(places[1:], len(text))
        self._places, self._ends, self._kinds = places[kept], ends[kept], kinds[kept]
        self._depths = np.cumsum(_STEPS[self._kinds], dtype=np.int32)

    def value(self) -> Any:
        """Parse the whole text."""
        if not len(self._depths) or self._kinds[0] not in _CLOSING:
            return self._parse(self._text)  # one string or number
        closed = np.flatnonzero(self._depths == 0)
        if not len(closed):
            raise ValueError("the text ends inside an array or object")
        last = int(closed[0])
        before, after = self._text[: self._places[0]], self._text[self._places[last] + 1 :]
        if before.strip(_SPACE) or after.strip(_SPACE):
            raise ValueError("unexpected text around the array or object")
        return self._container(0, last, 1)

    def _container(self, opening: int, closing: int, level: int) -> Any:
        """Parse the container between two bracket marks."""
        kind = int(self._kinds[opening])
        begin, end = int(self._places[opening]), int(self._places[closing])
        if end - begin <= PIECE_BYTES or level > _MAX_LEVELS:
            return self._parse(self._text[begin : end + 1])
        if self._kinds[closing] != _CLOSING[kind]:
            raise ValueError(f"mismatched bracket at byte {end}")
        # the marks directly followed by this container's own text
        depth = self._depths[opening]
        own = np.flatnonzero(self._depths[opening:closing] == depth) + opening
        into: Any = [] if kind == ord("[") else {}
        at = begin + 1
        while at <= end:
            cut = end if end - at <= PIECE_BYTES else self._cut(own, at)
            if cut > at:
                self._add(into, at, cut)
            else:  # a child larger than a piece
                cut = self._child(own, at, end, level, into)
            at = cut + 1
        return into

    def _add(self, into: Any, at: int, cut: int) -> None:
        """Parse the children between two positions into their container."""
        text = self._text[at:cut]
        is_list = isinstance(into, list)
        piece = self._parse(b"[" + text + b"]" if is_list else b"{" + text + b"}")
        if not piece:
            raise ValueError(f"a value is missing at byte {at}")
        into.extend(piece) if is_list else into.update(piece)

    def _cut(self, own: Any, at: int) -> int:
        """Return the position of the container's last comma within a piece from `at`, or `at`."""
        limit = at + PIECE_BYTES
        last = int(np.searchsorted(self._places[own], limit)) - 1
        for number in range(last, max(last - _MAX_STEPS, -1), -1):
            first, stop = self._after(own[number])
            # no mark in between: each comma belongs to this container
            found = self._text.rfind(b",", max(first, at), min(stop, limit))
            if found > at:
                return found
        return at

    def _child(self, own: Any, at: int, end: int, level: int, into: Any) -> int:
        """Parse the child at `at`; return the position of the comma or bracket after it."""
        here = int(np.searchsorted(self._places[own], at)) - 1
        stop = end
        for mark in own[here : here + _MAX_STEPS]:
            first, last = self._after(mark)
            found = self._text.find(b",", max(first, at), last)
            if found >= 0:
                stop = found
                break
        is_list = isinstance(into, list)
        opening = int(np.searchsorted(self._places, at)) + (not is_list)  # a key ends with a mark
        closing = int(np.searchsorted(self._places, stop)) - 1
        if opening >= closing or int(self._kinds[opening]) not in _CLOSING:
            self._add(into, at, stop)
            return stop
        # the key, if any, with an empty string in place of the container
        rest = self._text[at : self._places[opening]], self._text[self._places[closing] + 1 : stop]
        around = b'""'.join(rest)
        parsed = self._parse(b"[" + around + b"]" if is_list else b"{" + around + b"}")
        value = self._container(opening, closing, level + 1)
        into.append(value) if is_list else into.update(dict.fromkeys(parsed, value))
        return stop

    def _after(self, mark: Any) -> tuple[int, int]:
        """Return the range between a mark and the next."""
        return int(self._places[mark]) + 1, int(self._ends[mark])
