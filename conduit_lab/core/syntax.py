"""Parse Python source into a syntax tree."""

from __future__ import annotations

import ast

from conduit_lab.core.collector import paused_collector


def parse_module(source: str | bytes) -> ast.Module:
    """Parse statements; raise `SyntaxError`, or `ValueError` for a null byte.

    CPython tracks the depth of a tree globally per process: a finalizer that parses while
    `ast.parse` runs, or lets another thread parse, makes it raise `SystemError`
    (python/cpython#106905). With the collector paused, no finalizer runs in between.
    """
    with paused_collector():
        return ast.parse(source)


def parse_expression(source: str) -> ast.expr:
    """Parse one expression; raises like `parse_module`."""
    with paused_collector():
        return ast.parse(source, mode="eval").body
