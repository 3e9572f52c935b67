"""RenderBudget: limits of one rendering of a chat template, charged before each operation.

Work is the number of characters read and written by an operation, about a byte each. The limit
therefore bounds both time and memory: a template holds at most as many bytes as it was charged for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from time import monotonic
from typing import Any

_MAX_STEPS = 300_000  # loop iterations and calls
_MAX_SECONDS = 2.0
_MAX_WORK_CHARACTERS = 64 * 2**20
_WORK_PER_CHARACTER = 32  # of the template's variables, added to the limit
_ELEMENT = 64  # characters that take as much memory as a list element
_MAX_INTEGER_BITS = 2**14  # division and decimal digits are quadratic; literals have fewer
_VISIT = 256  # characters that take as long as visiting an element
_SPACES = [chr(code) for code in range(0x3001) if chr(code).isspace()]


class BudgetExceeded(Exception):
    """A template exceeded its time or memory."""


class RenderBudget:
    """The remaining steps, seconds, work and output characters of one rendering.

    `limit` is the maximum length of the output and of each value, `variables` the number of
    characters in the template's variables.
    """

    def __init__(self, limit: int, variables: int = 0) -> None:
        self.limit = limit
        self._characters = limit
        self._steps = _MAX_STEPS
        self._work = _MAX_WORK_CHARACTERS + _WORK_PER_CHARACTER * variables
        self._deadline = monotonic() + _MAX_SECONDS

    def step(self) -> None:
        """Charge for a loop iteration or a call."""
        self._steps -= 1
        if self._steps < 0:
            raise BudgetExceeded(f"more than {_MAX_STEPS} loop iterations and calls")
        self._check_deadline()

    def _check_deadline(self) -> None:
        if monotonic() > self._deadline:
            raise BudgetExceeded(f"not finished after {_MAX_SECONDS:g} seconds")

    def write(self, length: int) -> None:
        """Charge for characters of the output."""
        self._characters -= length
        if self._characters < 0:
            raise BudgetExceeded(f"more than {self.limit} characters")

    def spend(self, work: int) -> None:
        """Charge for work before doing it."""
        self._work -= work
        if self._work < 0:
            raise BudgetExceeded(f"more than {_MAX_WORK_CHARACTERS} characters of work")

    def read(self, *values: Any) -> int:
        """Charge for visiting values at any depth; return the work in characters."""
        total, seen, stack = 0, 0, list(values)
        while stack:
            value = stack.pop()
            seen += 1
            if seen % 1024 == 0:
                self._check_deadline()
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
            total += own
            self.spend(own)
        return total

    def hold(self, value: Any) -> Any:
        """Return a value; raise if it is too long, or an integer with too many digits."""
        if isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
            raise BudgetExceeded(f"an integer of more than {_MAX_INTEGER_BITS} bits")
        if isinstance(value, str | bytes | list | tuple | dict) and len(value) > self.limit:
            raise BudgetExceeded(f"a value longer than {self.limit}")
        return value

    def multiply(self, left: Any, right: Any) -> None:
        """Charge for a product of numbers, or of a sequence and a number."""
        kinds = (str, list, tuple)
        sizes = [len(each) if isinstance(each, kinds) else each for each in (left, right)]
        if all(isinstance(each, int) for each in sizes):
            product = abs(sizes[0] * sizes[1])
            if product > self.limit:
                raise BudgetExceeded(f"a product beyond {self.limit}")
            if isinstance(left, list | tuple) or isinstance(right, list | tuple):
                product *= _ELEMENT
            if sizes != [left, right]:
                self.spend(product)

    def _visit(self, name: str, value: Any) -> None:
        """Charge for visiting each element of a value that a filter iterates over in Python."""
        if name in _ITERATING and (isinstance(value, str) or name in _LAZY):
            self.spend(_VISIT * len(value) if hasattr(value, "__len__") else 0)

    def call(self, name: str, value: Any, arguments: Sequence[Any]) -> None:
        """Charge for a call of a filter, a test or a method (its name starts with a dot)."""
        self.step()
        numbers = [abs(each) for each in arguments if isinstance(each, int)]
        if any(number > self.limit for number in numbers):
            raise BudgetExceeded(f"a number beyond {self.limit}")
        if isinstance(value, str) or name in _LAZY:
            self._visit(name, value)
        if name == ".join" and arguments:
            self._visit("join", arguments[0])
        if name in _CHEAP:
            return
        extra = sum(numbers)
        work = self.read(value, *arguments) + extra
        name = name.removeprefix(".")
        if name in _GROWTH:
            work = _GROWTH[name](value, arguments, work, extra)
            if work > self.limit * _ELEMENT:
                raise BudgetExceeded(f"more than {self.limit} characters of {name}")
        self.spend(work)


def count_characters(value: Any) -> int:
    """Return the number of characters in JSON-like data."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(count_characters(key) + count_characters(inner) for key, inner in value.items())
    return sum(map(count_characters, value)) if isinstance(value, list | tuple) else 1


current_budget: ContextVar[RenderBudget] = ContextVar("render_budget")


def charge_steps(values: Any) -> Iterator[Any]:
    """Yield the values of a loop, charging a step for each."""
    for value in values:
        current_budget.get().step()
        yield value


# Operations with little work, or with work that is charged elsewhere.
_CHEAP_NAMES = """
    length count first last random default d attr safe map select reject selectattr rejectattr
    items .items .keys .values .startswith .endswith abs defined undefined none string mapping
    iterable sequence number integer float boolean true false callable sameas odd even escaped
    filter test
"""
_CHEAP = frozenset(_CHEAP_NAMES.split())
# Filters that read elements only when their result is read, and may drop them without charge.
_LAZY = frozenset({"map", "select", "reject", "selectattr", "rejectattr"})
# Filters that visit each element; the characters of a string are its elements.
_ITERATING = _LAZY | {"join", "sort", "unique", "groupby", "min", "max", "list", "batch", "slice"}


def _replace_work(value: Any, arguments: Sequence[Any], work: int, _: int) -> int:
    old, new = (str(each) for each in arguments[:2]) if len(arguments) > 1 else ("", "")
    return work + str(value).count(old) * (len(new) + _ELEMENT)


def _join_work(value: Any, arguments: Sequence[Any], work: int, _: int) -> int:
    between = value if isinstance(value, str) else "".join(str(each) for each in arguments[:1])
    parts = arguments[:1] if isinstance(value, str) else [value]
    return work + len(between) * sum(len(part) for part in parts if hasattr(part, "__len__"))


def _split_work(value: Any, arguments: Sequence[Any], work: int, _: int) -> int:
    separators = arguments[:1] if arguments and arguments[0] else _SPACES
    return work + 3 * _ELEMENT * sum(str(value).count(str(each)) for each in separators)


def _lines_work(value: Any, _: Sequence[Any], work: int, extra: int) -> int:
    text = str(value)
    return work + (text.count("\n") + text.count("\t") + 1) * (extra + 3 * _ELEMENT)


def _format_work(value: Any, _: Sequence[Any], work: int, __: int) -> int:
    return work + (str(value).count("{") + str(value).count("%")) * (1000 + work)


def _json_work(_: Any, arguments: Sequence[Any], work: int, extra: int) -> int:
    separators = sum(len(str(each)) for each in arguments if isinstance(each, list | tuple))
    if extra > 100 or separators > 100:
        raise BudgetExceeded("tojson with an indent or separators of more than 100 characters")
    return 8 * work


def _strip_work(value: Any, arguments: Sequence[Any], work: int, _: int) -> int:
    characters = sum(len(each) for each in arguments if isinstance(each, str))
    return work + len(str(value)) * characters // 16


def _sort_work(_: Any, __: Sequence[Any], work: int, ___: int) -> int:
    return 24 * work


def _list_work(value: Any, _: Sequence[Any], work: int, extra: int) -> int:
    return work + _ELEMENT * (extra + (3 * len(value) if isinstance(value, str) else 0))


_Growth = Callable[[Any, Sequence[Any], int, int], int]
_GROWTH: dict[str, _Growth] = {
    "replace": _replace_work,
    "join": _join_work,
    **dict.fromkeys(("split", "rsplit"), _split_work),
    **dict.fromkeys(("indent", "expandtabs", "splitlines"), _lines_work),
    "format": _format_work,
    "tojson": _json_work,
    **dict.fromkeys(("strip", "lstrip", "rstrip", "trim"), _strip_work),
    **dict.fromkeys(("sort", "dictsort", "groupby", "unique", "min", "max"), _sort_work),
    **dict.fromkeys(("list", "batch", "slice", "reverse"), _list_work),
    **dict.fromkeys(("title", "escape", "e"), _sort_work),
}
