"""Budget: what one rendering of a chat template may cost, counted before each operation.

Work is counted in characters that an operation reads and writes, about a byte each, so that the
bound holds for time and for memory: a template keeps at most what it has paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from time import monotonic
from typing import Any

STEPS = 300_000  # turns of loops and calls
SECONDS = 2.0
WORK = 64 * 2**20  # characters
WORK_PER_CHARACTER = 32  # of the template's variables, added to WORK
_ELEMENT = 64  # characters that take as much memory as an element of a list
_VISIT = 256  # characters that take the time of looking at an element
_SPACES = [chr(code) for code in range(0x3001) if chr(code).isspace()]


class Exhausted(Exception):
    """A template that wants more time or memory than it gets."""


class Budget:
    """The steps, seconds, work and characters of output that one rendering has left."""

    def __init__(self, characters: int, given: int = 0) -> None:
        self.most = characters
        self._characters = characters
        self._steps = STEPS
        self._work = WORK + WORK_PER_CHARACTER * given
        self._end = monotonic() + SECONDS

    def step(self) -> None:
        """Count a turn of a loop or a call."""
        self._steps -= 1
        if self._steps < 0:
            raise Exhausted(f"more than {STEPS} turns of loops and calls")
        self._in_time()

    def _in_time(self) -> None:
        if monotonic() > self._end:
            raise Exhausted(f"not done after {SECONDS:g} seconds")

    def write(self, length: int) -> None:
        """Count characters of the output."""
        self._characters -= length
        if self._characters < 0:
            raise Exhausted(f"more than {self.most} characters")

    def spend(self, work: int) -> None:
        """Count work that is about to be done."""
        self._work -= work
        if self._work < 0:
            raise Exhausted("more work than a chat needs")

    def read(self, *values: Any) -> int:
        """Count all that some values hold, at any depth; return how many characters that is."""
        whole, seen, stack = 0, 0, list(values)
        while stack:
            value = stack.pop()
            seen += 1
            if seen % 1024 == 0:
                self._in_time()
            own = _VISIT
            if isinstance(value, str | bytes):
                own += len(value)
            elif isinstance(value, int):
                own += value.bit_length() // 8
            elif isinstance(value, range):
                own += len(value) * _VISIT
            elif isinstance(value, Mapping):
                stack.extend(value)
                stack.extend(value.values())
            elif isinstance(value, list | tuple | set | frozenset):
                stack.extend(value)
            whole += own
            self.spend(own)
        return whole

    def hold(self, value: Any) -> Any:
        """Return a value that is not too long."""
        if isinstance(value, str | bytes | list | tuple | dict) and len(value) > self.most:
            raise Exhausted(f"a value longer than {self.most}")
        return value

    def multiply(self, left: Any, right: Any) -> None:
        """Count a product of numbers, or of a sequence and a number."""
        sizes = [
            len(each) if isinstance(each, str | list | tuple) else each for each in (left, right)
        ]
        if all(isinstance(each, int) for each in sizes):
            product = abs(sizes[0] * sizes[1])
            if product > self.most:
                raise Exhausted(f"a product beyond {self.most}")
            if isinstance(left, list | tuple) or isinstance(right, list | tuple):
                product *= _ELEMENT
            if sizes != [left, right]:
                self.spend(product)

    def call(self, name: str, value: Any, arguments: Sequence[Any]) -> None:
        """Count a call of a filter, a test or a method (its name begins with a dot)."""
        self.step()
        numbers = [abs(each) for each in arguments if isinstance(each, int)]
        if any(number > self.most for number in numbers):
            raise Exhausted(f"a number beyond {self.most}")
        if name in _CHEAP:
            return
        most = sum(numbers)
        work = self.read(value, *arguments) + most
        name = name.removeprefix(".")
        if name in _GROWTH:
            work = _GROWTH[name](value, arguments, work, most)
            if work > self.most * _ELEMENT:
                raise Exhausted(f"{name} would give more than {self.most} characters")
        self.spend(work)


def sized(value: Any) -> int:
    """Return the characters of plain data."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(sized(key) + sized(inner) for key, inner in value.items())
    return sum(map(sized, value)) if isinstance(value, list | tuple) else 1


budget: ContextVar[Budget] = ContextVar("budget")


def turns(values: Any) -> Iterator[Any]:
    """Yield the values of a loop, each of which counts."""
    for value in values:
        budget.get().step()
        yield value


# Operations that do little, or whose work is counted where it is done.
_CHEAP = frozenset(
    {
        *("length", "count", "first", "last", "random", "default", "d", "attr", "safe"),
        *(
            "map",
            "select",
            "reject",
            "selectattr",
            "rejectattr",
            "items",
            ".items",
            ".keys",
            ".values",
        ),
        *(
            "defined",
            "undefined",
            "none",
            "string",
            "mapping",
            "iterable",
            "sequence",
            "number",
            "integer",
            "float",
        ),
        *(
            "boolean",
            "true",
            "false",
            "callable",
            "sameas",
            "odd",
            "even",
            "escaped",
            "filter",
            "test",
        ),
        *(".startswith", ".endswith", "abs"),
    }
)


def _replaced(value: Any, arguments: Sequence[Any], work: int, _: int) -> int:
    old, new = (str(each) for each in arguments[:2]) if len(arguments) > 1 else ("", "")
    return work + str(value).count(old) * (len(new) + _ELEMENT)


def _joined(value: Any, arguments: Sequence[Any], work: int, _: int) -> int:
    between = value if isinstance(value, str) else "".join(str(each) for each in arguments[:1])
    parts = arguments[:1] if isinstance(value, str) else [value]
    return work + len(between) * sum(len(part) for part in parts if hasattr(part, "__len__"))


def _split(value: Any, arguments: Sequence[Any], work: int, _: int) -> int:
    separators = arguments[:1] if arguments and arguments[0] else _SPACES
    return work + 3 * _ELEMENT * sum(str(value).count(str(each)) for each in separators)


def _lines(value: Any, _: Sequence[Any], work: int, most: int) -> int:
    text = str(value)
    return work + (text.count("\n") + text.count("\t") + 1) * (most + 3 * _ELEMENT)


def _formatted(value: Any, _: Sequence[Any], work: int, __: int) -> int:
    return work + (str(value).count("{") + str(value).count("%")) * (1000 + work)


def _json(_: Any, arguments: Sequence[Any], work: int, most: int) -> int:
    separators = sum(len(str(each)) for each in arguments if isinstance(each, list | tuple))
    if most > 100 or separators > 100:
        raise Exhausted("tojson with an indent or separators of more than 100 characters")
    return 8 * work


def _stripped(value: Any, arguments: Sequence[Any], work: int, _: int) -> int:
    return (
        work + len(str(value)) * sum(len(each) for each in arguments if isinstance(each, str)) // 16
    )


def _sorted(_: Any, __: Sequence[Any], work: int, ___: int) -> int:
    return 24 * work


def _characters(value: Any, _: Sequence[Any], work: int, most: int) -> int:
    return work + _ELEMENT * (most + (3 * len(value) if isinstance(value, str) else 0))


def _slow(_: Any, __: Sequence[Any], work: int, most: int) -> int:
    return work * (work + most)


_Growth = Callable[[Any, Sequence[Any], int, int], int]
_GROWTH: dict[str, _Growth] = {
    "replace": _replaced,
    "join": _joined,
    **dict.fromkeys(("split", "rsplit"), _split),
    **dict.fromkeys(("indent", "expandtabs", "splitlines"), _lines),
    "format": _formatted,
    "tojson": _json,
    **dict.fromkeys(("strip", "lstrip", "rstrip", "trim"), _stripped),
    **dict.fromkeys(("sort", "dictsort", "groupby", "unique", "min", "max"), _sorted),
    **dict.fromkeys(("list", "batch", "slice", "reverse"), _characters),
    # rare ones, by regular expressions that are quadratic at worst
    **dict.fromkeys(("urlize", "striptags", "wordwrap", "pprint", "xmlattr"), _slow),
    **dict.fromkeys(("title", "wordcount", "urlencode", "escape", "e", "forceescape"), _sorted),
}
