"""The form of objects that one call rebuilds: dates, decimals, collections, partials."""

from __future__ import annotations

import ast
import decimal
import functools
import gc
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from logging import Logger, RootLogger
from operator import attrgetter, itemgetter, methodcaller
from string import Template
from types import MappingProxyType, SimpleNamespace
from typing import Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

from conduit_lab.export.forms.form import Draft, Form, is_name
from conduit_lab.export.forms.value import ObjectForm
from conduit_lab.export.state.anatomy import class_of_proxy
from conduit_lab.export.statement import Statement


@dataclass(frozen=True)
class Construction:
    """A call: the public name of a callable in a module, and its arguments.

    Without `is_call` it is the named object itself.
    """

    module: str
    name: str
    arguments: Sequence[Any] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    is_call: bool = True


_LOGGING = frozenset(
    {"debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log"}
)
_CONTEXT_PARTS = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")  # of decimals
_Construct = Callable[[Any], Construction | None]


class ConstructedForm(ObjectForm):
    """An object becomes a call of its class; `construct` returns None for unusual instances.

    `fixed` marks immutable objects, for which two names may become two objects.
    """

    exact = True

    def __init__(self, construct: _Construct, *, fixed: bool = False) -> None:
        self._construct = construct
        self.aliased = not fixed

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call, with an expression per argument."""
        made = self._construct(value)
        if made is None or not all(map(is_name, made.keywords)):
            raise draft.no_form(
                f"this {type(value).__name__} has no expression", "make it in one statement"
            )
        return construction(made, draft)


class ContextVarForm(ConstructedForm):
    """A context variable becomes its name and default; a set value belongs to a context."""

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call; refuse a variable that is set in the session's context."""
        if value in copy_context():
            name = f"the variable {value.name} of {draft.name}" if draft.is_part else draft.name
            raise draft.refusal(
                f"{name} is set in the notebook's own context, which no served call has",
                "give it a default, or set it inside the function",
            )
        return super().expression(value, draft)


class ProxyForm(ConstructedForm):
    """A view of a mapping or a class shows later changes of it, so that it is made of its name."""

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call."""
        if (kind := class_of_proxy(value)) is not None:
            return f"{draft.imported('builtins', 'vars')}({draft.find(kind)})"
        mapping = gc.get_referents(value)[0]
        found = (name for name, each in list(draft.namespace.names.items()) if each is mapping)
        name = next(found, None)
        if name is None or draft.namespace.statements.newest(name) is None:
            return super().expression(value, draft)
        draft.needs.append(name)
        return f"{draft.imported('types', 'MappingProxyType')}({name})"


class LoggerForm(ConstructedForm):
    """A logger becomes its name; the statements that set its level and filters follow."""

    def statement(self, value: Any, draft: Draft) -> str:
        """Return the statement that looks it up."""
        source = super().statement(value, draft)
        made = draft.namespace.statements.maker(draft.name)
        if made is not None:
            changes = draft.namespace.changes_since(draft.name, made, draft.shown_chain)
            draft.follows += [each for each in changes if not _logs(each)]
        return source


def construction(made: Construction, draft: Draft) -> str:
    """Return the source of a call."""
    arguments = [draft.find(each) for each in made.arguments]
    arguments += [f"{key}={draft.find(each, key)}" for key, each in made.keywords.items()]
    name = draft.imported(made.module, made.name)
    return f"{name}({', '.join(arguments)})" if made.is_call else name


# Times


def _date(value: date) -> Construction:
    return Construction("datetime", "date", (value.year, value.month, value.day))


def _clock(value: datetime | time) -> tuple[list[int], dict[str, Any]]:
    shown = [value.hour, value.minute, value.second, value.microsecond]
    while len(shown) > 2 and not shown[-1]:
        shown.pop()
    rest = {"tzinfo": value.tzinfo, "fold": value.fold}
    return shown, {key: each for key, each in rest.items() if each}


def _datetime(value: datetime) -> Construction:
    shown, rest = _clock(value)
    return Construction("datetime", "datetime", (value.year, value.month, value.day, *shown), rest)


def _time(value: time) -> Construction:
    return Construction("datetime", "time", *_clock(value))


def _timedelta(value: timedelta) -> Construction:
    parts = {key: getattr(value, key) for key in ("days", "seconds", "microseconds")}
    return Construction("datetime", "timedelta", (), {k: each for k, each in parts.items() if each})


def _timezone(value: timezone) -> Construction:
    if value is UTC:
        return Construction("datetime", "timezone.utc", is_call=False)
    return Construction("datetime", "timezone", value.__getinitargs__())  # type: ignore[attr-defined]


def _zone(value: ZoneInfo) -> Construction | None:
    # from a file, or not cached
    if value.key is None or ZoneInfo(value.key) is not value:
        return None
    return Construction("zoneinfo", "ZoneInfo", (value.key,))


# Numbers and texts


def _decimal(value: Decimal) -> Construction:
    return Construction("decimal", "Decimal", (str(value),))


def _decimal_context(value: decimal.Context) -> Construction:
    """Return the call with the signals that are on, also those raised since, in `flags`."""
    parts = {key: getattr(value, key) for key in _CONTEXT_PARTS}
    signals = {key: _signals(getattr(value, key)) for key in ("flags", "traps")}
    return Construction("decimal", "Context", (), parts | signals)


def _signals(states: Mapping[Any, bool]) -> list[Any]:
    return [signal for signal, is_on in states.items() if is_on]


def _fraction(value: Fraction) -> Construction:
    return Construction("fractions", "Fraction", (value.numerator, value.denominator))


def _uuid(value: UUID) -> Construction | None:
    return (
        Construction("uuid", "UUID", (str(value),)) if value.is_safe is SafeUUID.unknown else None
    )


def _complex(value: complex) -> Construction:
    return Construction("builtins", "complex", (value.real, value.imag))


def _range(value: range) -> Construction:
    if value.step != 1:
        return Construction("builtins", "range", (value.start, value.stop, value.step))
    return Construction(
        "builtins", "range", (value.start, value.stop) if value.start else (value.stop,)
    )


def _slice(value: slice) -> Construction:
    return Construction("builtins", "slice", (value.start, value.stop, value.step))


def _bytearray(value: bytearray) -> Construction:
    return Construction("builtins", "bytearray", (bytes(value),))


def _template(value: Template) -> Construction | None:
    return _plain(value, Construction("string", "Template", (value.template,)), {"template"})


# Collections


def _plain(value: Any, made: Construction, known: set[str] | None = None) -> Construction | None:
    """Return the call for an object without extra attributes, or None."""
    return made if vars(value).keys() <= (known or set()) else None


def _counter(value: Counter[Any]) -> Construction | None:
    return _plain(value, Construction("collections", "Counter", (dict(value),)))


def _ordered(value: OrderedDict[Any, Any]) -> Construction | None:
    return _plain(value, Construction("collections", "OrderedDict", (dict(value),)))


def _defaultdict(value: defaultdict[Any, Any]) -> Construction:
    filled = (dict(value),) if value else ()
    return Construction("collections", "defaultdict", (value.default_factory, *filled))


def _deque(value: deque[Any]) -> Construction:
    bound = {} if value.maxlen is None else {"maxlen": value.maxlen}
    return Construction("collections", "deque", (list(value),), bound)


def _chain(value: ChainMap[Any, Any]) -> Construction | None:
    return _plain(value, Construction("collections", "ChainMap", value.maps), {"maps"})


def _proxy(value: MappingProxyType[Any, Any]) -> Construction:
    return Construction("types", "MappingProxyType", (gc.get_referents(value)[0],))


def _namespace(value: SimpleNamespace) -> Construction:
    return Construction("types", "SimpleNamespace", (), vars(value))


# Callables


def _partial(value: functools.partial[Any]) -> Construction | None:
    made = Construction("functools", "partial", (value.func, *value.args), value.keywords)
    return _plain(value, made)


def _partialmethod(value: functools.partialmethod[Any]) -> Construction:
    return Construction("functools", "partialmethod", (value.func, *value.args), value.keywords)


def _reduced(value: Any) -> Construction | None:
    kind, arguments = value.__reduce__()
    if kind is not type(value):  # a methodcaller with keyword arguments
        arguments, keywords = (*kind.args, *arguments), kind.keywords
        return Construction("operator", "methodcaller", arguments, keywords)
    return Construction("operator", kind.__name__, arguments)


def _context_var(value: ContextVar[Any]) -> Construction:
    try:
        rest = {"default": Context().run(value.get)}
    except LookupError:
        rest = {}
    return Construction("contextvars", "ContextVar", (value.name,), rest)


def _logs(statement: Statement) -> bool:
    """Return whether a statement only writes to a logger."""
    call = getattr(statement.node, "value", None)
    return isinstance(call, ast.Call) and getattr(call.func, "attr", "") in _LOGGING


def _logger(value: Logger) -> Construction:
    root = isinstance(value, RootLogger)
    return Construction("logging", "getLogger", () if root else (value.name,))


_FIXED: dict[type, _Construct] = {
    date: _date,
    datetime: _datetime,
    time: _time,
    timedelta: _timedelta,
    timezone: _timezone,
    ZoneInfo: _zone,
    Decimal: _decimal,
    Fraction: _fraction,
    UUID: _uuid,
    complex: _complex,
    range: _range,
    slice: _slice,
}
_CHANGING: dict[type, _Construct] = {
    bytearray: _bytearray,
    Template: _template,
    decimal.Context: _decimal_context,
    Counter: _counter,
    OrderedDict: _ordered,
    defaultdict: _defaultdict,
    deque: _deque,
    ChainMap: _chain,
    SimpleNamespace: _namespace,
    functools.partial: _partial,
    functools.partialmethod: _partialmethod,
    **dict.fromkeys((itemgetter, attrgetter, methodcaller), _reduced),
}
CONSTRUCTED: dict[type, Form] = {
    **{kind: ConstructedForm(construct, fixed=True) for kind, construct in _FIXED.items()},
    **{kind: ConstructedForm(construct) for kind, construct in _CHANGING.items()},
    **dict.fromkeys((Logger, RootLogger), LoggerForm(_logger)),
    MappingProxyType: ProxyForm(_proxy),
    ContextVar: ContextVarForm(_context_var),
}
