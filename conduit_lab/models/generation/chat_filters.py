"""Filters of chat templates whose results know their data, and that count what they cost."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from string import Formatter
from typing import Any

from jinja2 import Environment, pass_environment
from jinja2.filters import do_round

from conduit_lab.models.generation.budget import Exhausted, budget
from conduit_lab.models.generation.tainted import TaintedStr, concatenated, taint_of

_WIDE = re.compile(r"\d{4}|\*")  # in a format: a field so wide is there to fill the memory
_FIELD = re.compile(r"%(?:\((\w+)\))?([-+ #0]*(?:\d+|\*)?(?:\.\d+)?[sdifr%])")


def has_data(value: Any) -> bool:
    """Return whether a value holds data; what cannot be looked through does."""
    if isinstance(value, str):
        return isinstance(value, TaintedStr) and 1 in value._taint
    if isinstance(value, Mapping):
        return any(map(has_data, value)) or any(map(has_data, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_data, value))
    return not (value is None or isinstance(value, int | float))


def text_of(value: Any) -> str:
    """Return a value as text, which is data where anything in it is."""
    if isinstance(value, str):
        return value
    budget.get().read(value)
    text = str(value)
    return TaintedStr(text) if has_data(value) else text


def spent(parts: Iterable[Any]) -> list[Any]:
    """Return parts of a text that is about to be joined."""
    found = []
    for part in parts:
        budget.get().spend(len(part) if isinstance(part, str) else 1)
        found.append(part)
    return found


def _attributes(
    environment: Environment, values: Iterable[Any], attribute: str | int | None
) -> Iterator[Any]:
    """Yield values, or what each has under a dotted name."""
    for value in values:
        for name in () if attribute is None else str(attribute).split("."):
            value = environment.getitem(value, int(name) if name.isdigit() else name)
        yield value


@pass_environment
def joined(
    environment: Environment, value: Iterable[Any], d: str = "", attribute: str | int | None = None
) -> str:
    """Return values as one text, `d` between them."""
    own = budget.get()
    texts = []
    for part in _attributes(environment, value, attribute):
        texts.append(text_of(part))
        own.spend(len(texts[-1]) + len(d))
    return TaintedStr(d, taint_of(d)).join(texts)


def percent(value: str, *args: Any, **kwargs: Any) -> str:
    """Format by `%s` and its like."""
    left = list(args)
    parts: list[str] = []
    done = 0
    template = TaintedStr(value, taint_of(value))
    for field in _FIELD.finditer(value):
        parts.append(template[done : field.start()])
        done = field.end()
        if field[2] == "%":
            parts.append("%")
            continue
        given = kwargs[field[1]] if field[1] else left.pop(0)
        parts.append(
            text_of(given) if field[2] == "s" else _made_of(f"%{_narrow(field[2])}" % given, given)
        )
    return concatenated([*parts, template[done:]])


def formatted(
    environment: Environment, value: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """Format by `{}` and its like."""
    template = TaintedStr(value, taint_of(value))
    taint = TaintedStr if has_data(template) else str
    parts: list[str] = []
    count = 0
    for literal, field, spec, conversion in Formatter().parse(value):
        parts.append(taint(literal))
        if field is None:
            continue
        first, *rest = re.split(r"[.\[]", field.replace("]", ""))
        if "{" in (spec or ""):
            raise Exhausted("a format whose width is another's value")
        given = args[int(first or count)] if first.isdigit() or not first else kwargs[first]
        count += not first
        for name in rest:
            given = environment.getitem(given, int(name) if name.isdigit() else name)
        if conversion == "r":
            given = _made_of(repr(given), given)
        parts.append(text_of(given) if not spec else _made_of(format(given, _narrow(spec)), given))
    return concatenated(parts)


def _narrow(spec: str) -> str:
    """Return what says how a field is formatted, if that does not fill the memory."""
    if _WIDE.search(spec):
        raise Exhausted("a field of a format that is too wide")
    return spec


def _made_of(text: str, *values: Any) -> str:
    return TaintedStr(text) if any(map(has_data, values)) else text


def indented(value: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Return a text with its lines indented, but the first and empty ones."""
    indent = width if isinstance(width, str) else " " * width
    parts: list[str] = [indent] if first else []
    for place, line in enumerate(concatenated((value, "\n")).splitlines()):
        if place:
            parts += ["\n", indent] if line or blank else ["\n"]
        parts.append(line)
    return concatenated(parts)


@pass_environment
def summed(
    environment: Environment,
    value: Iterable[Any],
    attribute: str | int | None = None,
    start: Any = 0,
) -> Any:
    """Return the sum of numbers."""
    return functools.reduce(_plus, _attributes(environment, value, attribute), start)


def _plus(left: Any, right: Any) -> Any:
    if not all(isinstance(each, int | float) for each in (left, right)):
        raise TypeError("sum is of numbers: join makes one text of several")
    return left + right


def rounded(value: Any, precision: int = 0, method: Any = "common") -> float:
    """Round a number."""
    if abs(precision) > 100:
        raise Exhausted("round to more than 100 digits")
    return do_round(value, precision, method)


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Return a value as JSON, not escaped for HTML as Jinja's own does it."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def strftime_now(format: str) -> str:
    """Return the local time."""
    if len(format) > 1000:
        raise Exhausted("a format of a date of more than 1000 characters")
    return datetime.now().strftime(_narrow(format))
