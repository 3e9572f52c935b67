"""with_keywords_of: a signature with the options that are handed on."""

from __future__ import annotations

import inspect
from typing import Any

from conduit_lab.core.keywords import with_keywords_of


def make(source: str, size: int = 1, *, color: str = "red", root: str = "/") -> Any:
    return source, size, color, root


@with_keywords_of(make, "root")
def make_here(source: str, **options: Any) -> Any:
    return make(source, root="/here", **options)


def test_the_parameters_of_the_source_take_the_place_of_the_options() -> None:
    shown = str(inspect.signature(make_here))
    assert shown == "(source: 'str', *, size: 'int' = 1, color: 'str' = 'red') -> 'Any'"
    assert make_here("a", size=2) == ("a", 2, "red", "/here")
