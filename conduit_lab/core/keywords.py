"""`with_keywords_of`: the full signature of a function that forwards its `**options`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])


def with_keywords_of(source: Callable[..., Any], *without: str) -> Callable[[_F], _F]:
    """Show the parameters of `source`, except `without`, in place of a function's `**options`.

    `help` and notebook completion read them from `__signature__`; calls do not change.
    """

    def decorate(function: _F) -> _F:
        own = inspect.signature(function)
        shown = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
        names = {*without, *own.parameters}
        shown += [
            each.replace(kind=each.KEYWORD_ONLY)
            for each in inspect.signature(source).parameters.values()
            if each.name not in names
        ]
        function.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
        return function

    return decorate
