"""Templating: Jinja as chat templates expect it, in a sandbox that counts; imported only where a chat is rendered."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from jinja2 import Template, nodes, pass_context
from jinja2.exceptions import TemplateError, TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from conduit_lab.models.generation.budget import Budget, Exhausted, budget, sized, turns
from conduit_lab.models.generation.chat_filters import (
    formatted,
    has_data,
    indented,
    joined,
    percent,
    rounded,
    spent,
    strftime_now,
    summed,
    text_of,
    tojson,
)
from conduit_lab.models.generation.tainted import METHODS, TaintedStr, concatenated, taint_of

MAX_SOURCE = 256 * 2**10  # characters of a template; the longest that models have are about 60,000
# Filters whose results keep each character's taint; those of others are data as a whole.
_EXACT = frozenset(
    {
        *(
            "trim",
            "upper",
            "lower",
            "capitalize",
            "replace",
            "join",
            "string",
            "safe",
            "format",
            "indent",
        ),
        *(
            "first",
            "last",
            "list",
            "default",
            "d",
            "reverse",
            "attr",
            "map",
            "select",
            "reject",
            "random",
        ),
        *(
            "selectattr",
            "rejectattr",
            "items",
            "dictsort",
            "sort",
            "unique",
            "groupby",
            "batch",
            "slice",
            "min",
            "max",
        ),
    }
)
_METHODS_OF = {
    dict: frozenset({"get", "items", "keys", "values", "copy"}),
    list: frozenset({"count", "index", "copy"}),
    tuple: frozenset({"count", "index"}),
    **dict.fromkeys((int, float, bool, bytes, range, set, frozenset), frozenset[str]()),
}


class Refused(TemplateError):
    """What a template says with `raise_exception`."""


def compiled(source: str) -> Template:
    """Return the template; raises `jinja2.TemplateSyntaxError`, `Exhausted` for a long one."""
    if len(source) > MAX_SOURCE:
        raise Exhausted(f"it has {len(source)} characters, the limit is {MAX_SOURCE}")
    token = budget.set(Budget(2**20))  # constants are computed while the template is compiled
    try:
        return _environment().from_string(source)
    finally:
        budget.reset(token)


def render(template: Template, given: dict[str, Any], characters: int) -> TaintedStr:
    """Return the text; raises `Refused`, `Exhausted`, and what goes wrong inside a template.

    Which characters of the text are data is known as of `given`.
    """
    token = budget.set(Budget(characters, sized(given)))
    try:
        return concatenated((template.render(given),))
    finally:
        budget.reset(token)


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox in which every operation counts, and texts know which characters are data."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        texts = list(parts)
        budget.get().spend(sum(map(len, texts)))
        return concatenated(texts)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        for each in template.find_all(nodes.ScopedEvalContextModifier):
            raise TemplateSyntaxError(
                "a chat has no HTML: autoescape has no place here", each.lineno
            )
        _rewrite(template)
        return template

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        own, value = budget.get(), getattr(__obj, "__self__", None)
        name = getattr(__obj, "__name__", "").removeprefix("_")
        allowed = METHODS if isinstance(value, str) else _METHODS_OF.get(type(value))
        if allowed is None:
            if isinstance(__obj, Macro | LoopContext):
                own.step()  # the template's own parts count inside
            else:
                own.call(name, None, (*args, *kwargs.values()))
            return own.hold(super().call(__context, __obj, *args, **kwargs))
        if name not in allowed:
            raise Exhausted(f"the method {name}, which no chat needs")
        args = tuple(map(_counted_once, args))
        own.call(f".{name}", value, (*args, *kwargs.values()))
        if isinstance(value, str):
            if name == "format":
                return own.hold(formatted(__self, value, args, kwargs))
            if name == "join" and args:
                args = (spent(args[0]),)
            __obj = getattr(TaintedStr(value, taint_of(value)), name)
        return own.hold(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        return None  # `call` formats

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        own = budget.get()
        if operator == "*":
            own.multiply(left, right)
        elif operator == "**" or (operator == "%" and isinstance(left, str)):
            raise Exhausted(f"the operator {operator}, which no chat needs")
        elif isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            own.spend((len(left) + len(right)) * (1 if isinstance(left, str) else 16))
        return own.hold(super().call_binop(context, operator, left, right))


def _rewrite(template: nodes.Template) -> None:
    """Make the template's own operations count: loops, output, comparisons, keys, slices."""
    for loop in template.find_all(nodes.For):
        loop.iter = _filtered(loop.iter, "_turns")
    for compared in template.find_all(nodes.Compare):
        compared.expr = _read_first(compared.expr)
        for operand in compared.ops:
            operand.expr = _read_first(operand.expr)
    for pair in template.find_all(nodes.Pair):
        pair.key = _read_first(pair.key)
    for item in template.find_all(nodes.Getitem):
        if not isinstance(item.arg, nodes.Slice):
            item.arg = _read_first(item.arg)
    for output in template.find_all(nodes.Output):
        output.nodes = [
            _filtered(nodes.Const(node.data), "_same")
            if isinstance(node, nodes.TemplateData)
            else node
            for node in output.nodes
        ]
    _replace_expressions(template)


def _replace_expressions(node: nodes.Node) -> None:
    for name, value in list(node.iter_fields()):
        if isinstance(value, list):
            setattr(node, name, [_replaced(each) for each in value])
        else:
            setattr(node, name, _replaced(value))


def _replaced(node: Any) -> Any:
    if not isinstance(node, nodes.Node):
        return node
    _replace_expressions(node)
    if isinstance(node, nodes.Concat):
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "_concat")
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        ends = [
            nodes.Const(None) if end is None else end
            for end in (node.arg.start, node.arg.stop, node.arg.step)
        ]
        return _filtered(node.node, "_slice", *ends)
    return node


def _read_first(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else _filtered(node, "_read")


def _filtered(node: nodes.Node, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(
        cast(nodes.Expr, node), name, list(arguments), [], None, None, lineno=node.lineno
    )


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
        optimized=False,  # only for that, nothing is computed before its time
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
        finalize=_written,
    )
    environment.filters.update(
        string=text_of, safe=text_of, join=joined, format=percent, indent=indented
    )
    environment.filters.update(tojson=tojson, sum=summed, round=rounded)
    environment.filters = {name: _counted(name, each) for name, each in environment.filters.items()}
    environment.filters.update(
        _turns=turns, _same=_same, _read=_read, _slice=_sliced, _concat=_concat
    )
    tests: dict[str, Any] = {**environment.tests}
    environment.tests = {name: _counted(name, each) for name, each in tests.items()}
    del environment.globals["lipsum"]  # makes as much text as it is asked for
    environment.globals.update(raise_exception=_raise_exception, strftime_now=strftime_now)
    return environment


def _counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    mark = getattr(
        function, "jinja_pass_arg", None
    )  # whether the context, or the environment, comes first
    first = 0 if mark is None else 1
    exact = name in _EXACT

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        own = budget.get()
        args = (*args[:first], *map(_counted_once, args[first:]))
        own.call(name, args[first], (*args[first + 1 :], *kwargs.values()))
        result = own.hold(function(*args, **kwargs))
        if isinstance(result, str) and not exact:
            known = not any(map(has_data, (*args[first:], *kwargs.values())))
            return TaintedStr(str(result), bytes(len(result)) if known else b"\1" * len(result))
        return result

    return counted


def _counted_once(value: Any) -> Any:
    """Return a value; what can only be iterated over once counts then."""
    return turns(value) if isinstance(value, Iterator) else value


@pass_context
def _written(context: Any, value: Any) -> str:
    text = text_of(value)
    budget.get().write(len(text))
    return text


@pass_context
def _same(context: Any, value: Any) -> Any:
    return value


def _read(value: Any) -> Any:
    if isinstance(value, str):
        budget.get().spend(len(value))
    elif not isinstance(value, int | float) and value is not None:
        budget.get().read(value)
    return value


def _sliced(value: Any, start: Any, stop: Any, step: Any) -> Any:
    if isinstance(value, str | list | tuple):
        budget.get().spend(len(value) * (2 if isinstance(value, str) else 16))
    return value[start:stop:step]


def _concat(parts: list[Any]) -> str:
    texts = [text_of(part) for part in parts]
    budget.get().spend(sum(map(len, texts)))
    return str(budget.get().hold(concatenated(texts)))


def _raise_exception(message: Any) -> None:
    raise Refused(str(message))
