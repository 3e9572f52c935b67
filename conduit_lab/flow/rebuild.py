"""Rebuild a tree of combinators with some of its stages changed."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from conduit_lab.core.errors import CompositionError
from conduit_lab.core.stage import Stage
from conduit_lab.flow.combinator import Combinator

# maps a stage, whose children are already changed, to its replacement
Change = Callable[[Any], Stage]

# raised by a subclass whose constructor has a different signature
_OTHER_CONSTRUCTOR = (AttributeError, TypeError, ValueError, CompositionError)
_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


def rebuilt(stage: Stage, changes: Mapping[int, Change], opaque: tuple[type, ...] = ()) -> Any:
    """Return the tree with each stage in `changes`, keyed by `id`, replaced; the rest is shared.

    `opaque` combinators are only changed as a whole.
    """
    made: dict[int, Stage] = {}

    def of(each: Stage) -> Stage:
        if id(each) not in made:
            new = each
            if isinstance(each, Combinator) and not isinstance(each, opaque):
                new = _with_stages(each, of)
            change = changes.get(id(each))
            made[id(each)] = new if change is None else change(new)
        return made[id(each)]

    return of(stage)


def duplicate(stage: Combinator) -> Any:
    """Return another combinator with the same stages."""
    kind: Any = type(stage)
    try:
        return kind(*_arguments(stage), name=stage.name, **stage._settings())
    except _OTHER_CONSTRUCTOR:
        return copy.copy(stage)


def combinators(stage: Stage, opaque: tuple[type, ...] = ()) -> list[Combinator]:
    """Return the distinct combinators of a tree, inner ones first."""
    found: dict[int, Combinator] = {}
    seen: set[int] = set()

    def visit(each: Stage) -> None:
        if not isinstance(each, Combinator) or id(each) in seen:
            return
        seen.add(id(each))
        if not isinstance(each, opaque):
            for inner in _stages(each):
                visit(inner)
        found[id(each)] = each

    visit(stage)
    return list(found.values())


def _with_stages(stage: Combinator, change: Callable[[Stage], Stage]) -> Combinator:
    """Return a combinator with each stage changed, or itself if none changes or none can."""
    if all(change(inner) is inner for inner in _stages(stage)):
        return stage

    def of(value: Any) -> Any:
        if isinstance(value, Stage):
            return change(value)
        if isinstance(value, Mapping):
            return {key: of(item) for key, item in value.items()}
        return [of(item) for item in value] if isinstance(value, list | tuple) else value

    kind: Any = type(stage)
    try:
        arguments = [of(value) for value in _arguments(stage)]
        settings = {key: of(value) for key, value in stage._settings().items()}
        return kind(*arguments, name=stage.name, **settings)  # type: ignore[no-any-return]
    except _OTHER_CONSTRUCTOR:
        return stage


def _arguments(stage: Combinator) -> list[Any]:
    """Return the positional arguments of a combinator, stored as attributes of the same names."""
    arguments: list[Any] = []
    for parameter in inspect.signature(type(stage)).parameters.values():
        if parameter.kind not in _POSITIONAL or parameter.name == "name":
            continue
        value = getattr(stage, parameter.name)
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            arguments += value
        else:
            arguments.append(value)
    return arguments


def _stages(stage: Combinator) -> Iterator[Stage]:
    try:
        yield from _stages_in([*_arguments(stage), *stage._settings().values()])
    except AttributeError:  # a subclass that does not store its arguments as attributes
        return


def _stages_in(values: Iterable[Any]) -> Iterator[Stage]:
    for value in values:
        if isinstance(value, Stage):
            yield value
        elif isinstance(value, Mapping):
            yield from _stages_in(value.values())
        elif isinstance(value, list | tuple):
            yield from _stages_in(value)
