"""Syntax trees: the same, with any code that runs while they are built."""

from __future__ import annotations

import ast
import gc
from typing import Any

import pytest

from conduit_lab.core.syntax import parse_expression, parse_module

SOURCE = "\n".join(f"x{i} = [a, {i}, (a + {i}) * 2]" for i in range(300))


class Parsing:
    """Garbage whose finalizer parses source at another depth of the stack."""

    def __init__(self) -> None:
        self.circle = self

    def __del__(self) -> None:
        def at(depth: int) -> Any:
            return at(depth - 1) if depth else ast.parse("a + b")

        at(15)


@pytest.mark.parametrize("parse", [parse_module, lambda text: parse_expression(f"[{text}]")])
def test_a_finalizer_that_parses_does_no_harm(parse: Any) -> None:
    source = SOURCE if parse is parse_module else SOURCE.replace(" = ", ", ").replace("\n", ", ")
    Parsing()
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        assert isinstance(parse(source), ast.AST)
    finally:
        gc.set_threshold(*thresholds)
        gc.collect()


def test_the_collector_goes_on_after_a_syntax_error() -> None:
    with pytest.raises(SyntaxError):
        parse_module("def")
    assert gc.isenabled()
