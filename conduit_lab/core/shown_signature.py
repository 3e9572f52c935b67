"""A function's signature for display: unqualified type names, without quotes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

_MODULES = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")


class _Written:
    """A type as written in a signature."""

    def __init__(self, kind: Any) -> None:
        code = kind if isinstance(kind, str) else inspect.formatannotation(kind)
        self.text = _MODULES.sub("", code)

    def __repr__(self) -> str:
        return self.text


def shown_signature(function: Callable[..., Any]) -> str:
    """Return the signature of a function; `(…)` if it has none, such as some built-ins."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return "(…)"
    parameters = [
        each
        if each.annotation is each.empty
        else each.replace(annotation=_Written(each.annotation))
        for each in signature.parameters.values()
    ]
    gives = signature.return_annotation
    if gives is not signature.empty:
        gives = _Written(gives)
    return str(signature.replace(parameters=parameters, return_annotation=gives))
