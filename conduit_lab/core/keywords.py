"""`with_keywords_of`: the true signature of a function that hands its `**options` on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])


def with_keywords_of(source: Callable[..., Any], *without: str) -> Callable[[_F], _F]:
    """Show the parameters of `source`, except those named, in place of a function's `**options`.

    `help` and the completion in a notebook read them from `__signature__`; calls are unchanged.
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
