"""Templating: Jinja as chat templates expect it, in a sandbox that counts; imported only where a chat is rendered."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from datetime import datetime
from time import monotonic
from typing import Any

from jinja2 import Template, nodes, pass_context
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

STEPS = 300_000  # turns of loops and calls in one rendering
SECONDS = 2.0
_FORMATS = ("format", "format_map")
_WIDE = re.compile(r"\d{4}")  # in a format string: a field so wide is there to fill the memory


class Refused(TemplateError):
    """What a template says with `raise_exception`."""


class Exhausted(Exception):
    """A template that wants more time or memory than it gets; no `TemplateError`, which templates can catch."""


class _Budget:
    """What one rendering may still use."""

    def __init__(self, characters: int) -> None:
        self.most = characters
        self._characters = characters
        self._steps = STEPS
        self._end = monotonic() + SECONDS

    def step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise Exhausted(f"more than {STEPS} turns of loops and calls")
        if monotonic() > self._end:
            raise Exhausted(f"not done after {SECONDS:g} seconds")

    def write(self, length: int) -> None:
        self._characters -= length
        if self._characters < 0:
            raise Exhausted(f"more than {self.most} characters")

    def hold(self, value: Any) -> Any:
        """Return a value that is not too long."""
        if isinstance(value, str | bytes | list | tuple | dict) and len(value) > self.most:
            raise Exhausted(f"a value longer than {self.most}")
        return value

    def before(self, name: str, value: Any, arguments: Sequence[Any]) -> None:
        """Count a call or a filter as a step, and refuse one whose result would be too long to be made first."""
        self.step()
        if any(isinstance(each, int) and abs(each) > self.most for each in arguments):
            raise Exhausted(f"a number beyond {self.most}")
        number = next((abs(each) for each in arguments if isinstance(each, int)), 0)
        growth = 0
        if name == "replace" and len(arguments) > 1:
            growth = str(value).count(str(arguments[0])) * len(str(arguments[1]))
        elif name == "join":
            between, parts = (value, arguments[:1]) if isinstance(value, str) else (arguments[:1], [value])
            count = sum(len(part) for part in parts if hasattr(part, "__len__"))
            growth = count * (len(between) if isinstance(between, str) else len(str(between)))
        elif name in ("indent", "expandtabs"):
            growth = (str(value).count("\n") + str(value).count("\t") + 1) * number
        elif name == "tojson":
            growth = number * 2**18  # how often is only known at the end; 32 is deep enough
        elif name in (*_FORMATS, "strftime_now"):
            growth = self.most + 1 if any(_WIDE.search(str(each)) for each in (value, *arguments[:1])) else 0
        if growth > self.most:
            raise Exhausted(f"{name} would give more than {self.most} characters")


_budget: ContextVar[_Budget] = ContextVar("budget")


def compiled(source: str) -> Template:
    """Return the template; raises `jinja2.TemplateSyntaxError`."""
    token = _budget.set(_Budget(2**20))  # what is constant is computed now
    try:
        return _environment().from_string(source)
    finally:
        _budget.reset(token)


def render(template: Template, given: dict[str, Any], characters: int) -> str:
    """Return the text; raises `Refused`, `Exhausted`, and what goes wrong inside a template."""
    token = _budget.set(_Budget(characters))
    try:
        return template.render(given)
    finally:
        _budget.reset(token)


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox in which loops, calls, operators, filters and output count."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        for loop in template.find_all(nodes.For):
            loop.iter = _filtered(loop.iter, "_turns")
        for joined in template.find_all(nodes.Concat):
            joined.nodes = [_filtered(part, "_part") for part in joined.nodes]
        for output in template.find_all(nodes.Output):
            output.nodes = [
                _filtered(nodes.Const(node.data), "_same") if isinstance(node, nodes.TemplateData) else node
                for node in output.nodes
            ]
        return template

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        budget = _budget.get()
        name, value = getattr(__obj, "__name__", ""), getattr(__obj, "__self__", None)
        budget.before(name.removeprefix("_"), value, (*args, *kwargs.values()))
        return budget.hold(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if isinstance(getattr(value, "__self__", None), str) and getattr(value, "__name__", "") in _FORMATS:
            _budget.get().before("format", value.__self__, ())  # afterwards it is another function
        return super().wrap_str_format(value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        budget = _budget.get()
        if operator == "*":
            lengths = [len(each) if isinstance(each, str | list | tuple) else each for each in (left, right)]
            if all(isinstance(each, int) for each in lengths) and abs(lengths[0] * lengths[1]) > budget.most:
                raise Exhausted(f"a product beyond {budget.most}")
        elif operator == "**" or (operator == "%" and isinstance(left, str)):
            raise Exhausted(f"the operator {operator}, which no chat needs")
        return budget.hold(super().call_binop(context, operator, left, right))


class _Generation(Extension):
    """The tag `generation`, which marks for training what an assistant said; here it marks nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@functools.cache
def _environment() -> _Environment:
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
        finalize=_written,
    )
    environment.filters["tojson"] = _tojson
    environment.filters = {name: _counted(name, filter) for name, filter in environment.filters.items()}
    environment.filters.update(_turns=_turns, _part=_part, _same=_same)
    del environment.globals["lipsum"]  # makes as much text as it is asked for
    environment.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now)
    return environment


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _counted(name: str, filter: Callable[..., Any]) -> Callable[..., Any]:
    mark = getattr(filter, "jinja_pass_arg", None)  # whether the context, or the environment, comes first

    @functools.wraps(filter)
    def counted(*args: Any, **kwargs: Any) -> Any:
        value, *rest = args if mark is None else args[1:]
        budget = _budget.get()
        budget.before(name, value, (*rest, *kwargs.values()))
        return budget.hold(filter(*args, **kwargs))

    return counted


@pass_context  # only for that, nothing is computed before its time, and all that is written counts
def _written(context: Any, value: Any) -> str:
    return _part(value)


@pass_context
def _same(context: Any, value: Any) -> Any:
    return value


def _turns(values: Iterable[Any]) -> Iterator[Any]:
    budget = _budget.get()
    for value in values:
        budget.step()
        yield value


def _part(value: Any) -> str:
    text = str(value)
    _budget.get().write(len(text))
    return text


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # not Jinja's own, which escapes for HTML
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: Any) -> None:
    raise Refused(str(message))


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)
