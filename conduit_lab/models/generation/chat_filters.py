"""Chat filters: Jinja filters that propagate taint to their results and charge the budget."""

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

from conduit_lab.models.generation.render_budget import BudgetExceeded, current_budget
from conduit_lab.models.generation.tainted import TaintedStr, concatenated, taint_of

_WIDE = re.compile(r"\d{4}|\*")  # a format field of four digits or of variable width
_FIELD = re.compile(r"%(?:\((\w+)\))?([-+ #0]*(?:\d+|\*)?(?:\.\d+)?[sdifr%])")


def has_data(value: Any) -> bool:
    """Return whether a value contains data; unknown types count as data."""
    if isinstance(value, str):
        return isinstance(value, TaintedStr) and 1 in value._taint
    if isinstance(value, Mapping):
        return any(map(has_data, value)) or any(map(has_data, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_data, value))
    return not (value is None or isinstance(value, int | float))


def to_text(value: Any) -> str:
    """Return a value as a string, tainted if the value contains data."""
    if isinstance(value, str):
        return value
    current_budget.get().read(value)
    text = str(value)
    return TaintedStr(text) if has_data(value) else text


def charge_parts(parts: Iterable[Any]) -> list[Any]:
    """Return the parts of a join after charging for them."""
    found = []
    for part in parts:
        current_budget.get().spend(len(part) if isinstance(part, str) else 1)
        found.append(part)
    return found


def _attributes(
    environment: Environment, values: Iterable[Any], attribute: str | int | None
) -> Iterator[Any]:
    """Yield values, or an attribute of them given by a dotted name."""
    for value in values:
        for name in () if attribute is None else str(attribute).split("."):
            value = environment.getitem(value, int(name) if name.isdigit() else name)
        yield value


@pass_environment
def join_filter(
    environment: Environment, value: Iterable[Any], d: str = "", attribute: str | int | None = None
) -> str:
    """Join values with `d` between them."""
    own = current_budget.get()
    texts = []
    for part in _attributes(environment, value, attribute):
        texts.append(to_text(part))
        own.spend(len(texts[-1]) + len(d))
    return TaintedStr(d, taint_of(d)).join(texts)


def percent_filter(value: str, *args: Any, **kwargs: Any) -> str:
    """Format with `%`."""
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
        if field[2] == "s":
            parts.append(to_text(given))
        else:
            parts.append(_taint_like(f"%{_checked_spec(field[2])}" % given, given))
    return concatenated([*parts, template[done:]])


def format_method(
    environment: Environment, value: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """Format as `str.format` does."""
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
            raise BudgetExceeded("a format with a nested field")
        given = args[int(first or count)] if first.isdigit() or not first else kwargs[first]
        count += not first
        for name in rest:
            given = environment.getitem(given, int(name) if name.isdigit() else name)
        if conversion == "r":
            given = _taint_like(repr(given), given)
        if spec:
            parts.append(_taint_like(format(given, _checked_spec(spec)), given))
        else:
            parts.append(to_text(given))
    return concatenated(parts)


def _checked_spec(spec: str) -> str:
    """Return a format spec, unless its width is too large."""
    if _WIDE.search(spec):
        raise BudgetExceeded("a format field of 1000 characters or more")
    return spec


def _taint_like(text: str, *values: Any) -> str:
    return TaintedStr(text) if any(map(has_data, values)) else text


def indent_filter(
    value: str, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
    """Indent the lines of a text, by default except the first and empty lines."""
    indent = width if isinstance(width, str) else " " * width
    parts: list[str] = [indent] if first else []
    for place, line in enumerate(concatenated((value, "\n")).splitlines()):
        if place:
            parts += ["\n", indent] if line or blank else ["\n"]
        parts.append(line)
    return concatenated(parts)


@pass_environment
def sum_filter(
    environment: Environment,
    value: Iterable[Any],
    attribute: str | int | None = None,
    start: Any = 0,
) -> Any:
    """Sum numbers."""
    return functools.reduce(_add, _attributes(environment, value, attribute), start)


def _add(left: Any, right: Any) -> Any:
    if not all(isinstance(each, int | float) for each in (left, right)):
        raise TypeError("sum expects numbers: use join for strings")
    return left + right


def round_filter(value: Any, precision: int = 0, method: Any = "common") -> float:
    """Round a number."""
    if abs(precision) > 100:
        raise BudgetExceeded("round with more than 100 digits")
    return do_round(value, precision, method)


def tojson_filter(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Return a value as JSON; unlike Jinja's own filter, without HTML escapes."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def strftime_now(format: str) -> str:
    """Format the local time."""
    if len(format) > 1000:
        raise BudgetExceeded("a date format of more than 1000 characters")
    return datetime.now().strftime(_checked_spec(format))
