"""Templating: Jinja for chat templates in a sandbox with a budget; imported on the first chat."""

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

from conduit_lab.models.generation.chat_filters import (
    charge_parts,
    format_method,
    has_data,
    indent_filter,
    join_filter,
    percent_filter,
    round_filter,
    strftime_now,
    sum_filter,
    to_text,
    tojson_filter,
)
from conduit_lab.models.generation.render_budget import (
    BudgetExceeded,
    RenderBudget,
    charge_steps,
    count_characters,
    current_budget,
)
from conduit_lab.models.generation.tainted import (
    TEMPLATE_METHODS,
    TaintedStr,
    concatenated,
    taint_of,
)

_MAX_SOURCE_CHARACTERS = 256 * 2**10  # the longest published templates have about 60,000
_COMPILE_CHARACTERS = 2**20  # Jinja folds constants at compile time
# Filters that preserve each character's taint; results of other filters are entirely data.
_EXACT_NAMES = """
    trim upper lower capitalize replace join string safe format indent first last list default d
    reverse attr map select reject random selectattr rejectattr items dictsort sort unique
    groupby batch slice min max
"""
_EXACT = frozenset(_EXACT_NAMES.split())
# Filters for HTML and prose, unused by published chat templates: some are quadratic, and their
# regular expressions cannot be interrupted.
_REFUSED_NAMES = """
    center filesizeformat forceescape pprint random striptags truncate urlencode urlize wordcount
    wordwrap xmlattr
"""
_METHODS_OF = {
    dict: frozenset({"get", "items", "keys", "values", "copy"}),
    list: frozenset({"count", "index", "copy"}),
    tuple: frozenset({"count", "index"}),
    **dict.fromkeys((int, float, bool, bytes, range, set, frozenset), frozenset[str]()),
}


class TemplateRefusal(TemplateError):
    """Raised when a template calls `raise_exception`."""


def compile_template(source: str) -> Template:
    """Compile a template; raises `jinja2.TemplateSyntaxError` or `BudgetExceeded`."""
    if len(source) > _MAX_SOURCE_CHARACTERS:
        raise BudgetExceeded(
            f"expected at most {_MAX_SOURCE_CHARACTERS} characters, got {len(source)}"
        )
    token = current_budget.set(RenderBudget(_COMPILE_CHARACTERS))
    try:
        return _environment().from_string(source)
    finally:
        current_budget.reset(token)


def render_template(template: Template, given: dict[str, Any], limit: int) -> TaintedStr:
    """Render at most `limit` characters, with the taint of the variables in `given`.

    Raises `TemplateRefusal`, `BudgetExceeded`, and the errors of the template itself.
    """
    token = current_budget.set(RenderBudget(limit, count_characters(given)))
    try:
        return concatenated((template.render(given),))
    finally:
        current_budget.reset(token)


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox that charges for every operation and preserves the taint of strings."""

    intercepted_binops = frozenset({"*", "**", "+", "-", "/", "//", "%"})

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        texts = list(parts)
        current_budget.get().spend(sum(map(len, texts)))
        return concatenated(texts)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        for each in template.find_all(nodes.ScopedEvalContextModifier):
            raise TemplateSyntaxError("a chat has no HTML to autoescape", each.lineno)
        _rewrite(template)
        return template

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        own, value = current_budget.get(), getattr(__obj, "__self__", None)
        name = getattr(__obj, "__name__", "").removeprefix("_")
        allowed = TEMPLATE_METHODS if isinstance(value, str) else _METHODS_OF.get(type(value))
        if allowed is None:
            if isinstance(__obj, Macro | LoopContext):
                own.step()  # the template's own operations are charged separately
            else:
                own.call(name, None, (*args, *kwargs.values()))
            return own.hold(super().call(__context, __obj, *args, **kwargs))
        if name not in allowed:
            raise BudgetExceeded(f"the method {name} is not allowed")
        args = tuple(map(_charge_iterator, args))
        own.call(f".{name}", value, (*args, *kwargs.values()))
        if isinstance(value, str):
            if name == "format":
                return own.hold(format_method(__self, value, args, kwargs))
            if name == "join" and args:
                args = (charge_parts(args[0]),)
            __obj = getattr(TaintedStr(value, taint_of(value)), name)
        return own.hold(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        return None  # `call` does it

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        own = current_budget.get()
        own.hold(left)
        own.hold(right)
        if operator == "*":
            own.multiply(left, right)
        elif operator == "**" or (operator == "%" and isinstance(left, str)):
            raise BudgetExceeded(f"the operator {operator} is not allowed")
        elif isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            own.spend((len(left) + len(right)) * (1 if isinstance(left, str) else 16))
        return own.hold(super().call_binop(context, operator, left, right))


def _rewrite(template: nodes.Template) -> None:
    """Charge for the template's own operations: loops, output, comparisons, keys, slices."""
    for loop in template.find_all(nodes.For):
        loop.iter = _with_filter(loop.iter, "_charge_steps")
    called: Any
    for called in template.find_all((nodes.Call, nodes.Filter, nodes.Test)):
        if called.dyn_args is not None:
            called.dyn_args = _with_filter(called.dyn_args, "_charge_steps")
    for compared in template.find_all(nodes.Compare):
        compared.expr = _with_read(compared.expr)
        for operand in compared.ops:
            operand.expr = _with_read(operand.expr)
    for pair in template.find_all(nodes.Pair):
        pair.key = _with_read(pair.key)
    for item in template.find_all(nodes.Getitem):
        if not isinstance(item.arg, nodes.Slice):
            item.arg = _with_read(item.arg)
    for output in template.find_all(nodes.Output):
        output.nodes = [
            _with_filter(nodes.Const(node.data), "_same")
            if isinstance(node, nodes.TemplateData)
            else node
            for node in output.nodes
        ]
    _charge_expressions(template)


def _charge_expressions(node: nodes.Node) -> None:
    for name, value in list(node.iter_fields()):
        if isinstance(value, list):
            setattr(node, name, [_charge_expression(each) for each in value])
        else:
            setattr(node, name, _charge_expression(value))


def _charge_expression(node: Any) -> Any:
    if not isinstance(node, nodes.Node):
        return node
    _charge_expressions(node)
    if isinstance(node, nodes.Concat):
        return _with_filter(nodes.List(node.nodes, lineno=node.lineno), "_concat")
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        ends = [
            nodes.Const(None) if end is None else end
            for end in (node.arg.start, node.arg.stop, node.arg.step)
        ]
        return _with_filter(node.node, "_slice", *ends)
    return node


def _with_read(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else _with_filter(node, "_read")


def _with_filter(node: nodes.Node, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(
        cast(nodes.Expr, node), name, list(arguments), [], None, None, lineno=node.lineno
    )


class _Generation(Extension):
    """The tag `generation`, which marks assistant tokens for training and is ignored here."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@functools.cache
def _environment() -> _Environment:
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # otherwise constants are folded before they are charged
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
        finalize=_write,
    )
    environment.filters.update(
        string=to_text, safe=to_text, join=join_filter, format=percent_filter, indent=indent_filter
    )
    environment.filters.update(tojson=tojson_filter, sum=sum_filter, round=round_filter)
    for name in _REFUSED_NAMES.split():
        environment.filters[name] = _refused(name)
    environment.filters = {name: _charged(name, each) for name, each in environment.filters.items()}
    environment.filters.update(
        _charge_steps=charge_steps, _same=_same, _read=_read, _slice=_sliced, _concat=_concat
    )
    tests: dict[str, Any] = {**environment.tests}
    environment.tests = {name: _charged(name, each) for name, each in tests.items()}
    del environment.globals["lipsum"]  # unbounded text
    environment.globals.update(raise_exception=_raise_exception, strftime_now=strftime_now)
    return environment


def _refused(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise BudgetExceeded(f"the filter {name} is not allowed")

    return refuse


def _charged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter or test that charges for its calls and taints its results."""
    # set for functions that take the context or the environment first
    first = 0 if getattr(function, "jinja_pass_arg", None) is None else 1
    exact = name in _EXACT

    @functools.wraps(function)
    def charged(*args: Any, **kwargs: Any) -> Any:
        own = current_budget.get()
        args = (*args[:first], *map(_charge_iterator, args[first:]))
        own.call(name, args[first], (*args[first + 1 :], *kwargs.values()))
        result = own.hold(function(*args, **kwargs))
        if isinstance(result, str) and not exact:
            data = any(map(has_data, (*args[first:], *kwargs.values())))
            return TaintedStr(str(result), bytes([data]) * len(result))
        return result

    return charged


def _charge_iterator(value: Any) -> Any:
    """Return a value; an iterator charges its steps when it is consumed."""
    return charge_steps(value) if isinstance(value, Iterator) else value


@pass_context
def _write(context: Any, value: Any) -> str:
    text = to_text(value)
    current_budget.get().write(len(text))
    return text


@pass_context
def _same(context: Any, value: Any) -> Any:
    return value


def _read(value: Any) -> Any:
    if isinstance(value, str):
        current_budget.get().spend(len(value))
    elif not isinstance(value, int | float) and value is not None:
        current_budget.get().read(value)
    return value


def _sliced(value: Any, start: Any, stop: Any, step: Any) -> Any:
    if isinstance(value, str | list | tuple):
        current_budget.get().spend(len(value) * (2 if isinstance(value, str) else 16))
    return value[start:stop:step]


def _concat(parts: list[Any]) -> str:
    texts = [to_text(part) for part in parts]
    current_budget.get().spend(sum(map(len, texts)))
    return str(current_budget.get().hold(concatenated(texts)))


def _raise_exception(message: Any) -> None:
    raise TemplateRefusal(str(message))
