"""Python source as a syntax tree."""

from __future__ import annotations

import ast

from conduit_lab.core.collector import paused_collector


def parse_module(source: str | bytes) -> ast.Module:
    """Parse statements. Raises `SyntaxError`, and `ValueError` for a null byte.

    CPython counts the depth of a tree in one place per process: a finalizer that parses while
    `ast.parse` runs, or lets another thread parse, makes it raise `SystemError`
    (python/cpython#106905). Without the collector no finalizer runs in between.
    """
    with paused_collector():
        return ast.parse(source)


def parse_expression(source: str) -> ast.expr:
    """Parse one expression. Raises as `parse_module` does."""
    with paused_collector():
        return ast.parse(source, mode="eval").body
