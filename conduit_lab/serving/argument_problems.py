"""Argument problems as text, as listed in the error response to an invalid request."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from conduit_lab.core.text import clip

MAX_PROBLEMS = 10  # per response; the rest are counted

_MAX_PROBLEM_CHARACTERS = 200


def missing(name: str) -> str:
    """Return the problem of a missing required argument, in pydantic's words."""
    return f"{name}: Field required"


def extra(name: str) -> str:
    """Return the problem of an unexpected argument, in pydantic's words."""
    return f"{name}: Extra inputs are not permitted"


def listed(problems: Iterable[str], count: int) -> str:
    """Return the first ten of `count` problems, each clipped, and the number of further ones."""
    named = [clip(problem, _MAX_PROBLEM_CHARACTERS) for problem in islice(problems, MAX_PROBLEMS)]
    more = count - len(named)
    return "; ".join(named) + (f"; and {more:,} more" if more > 0 else "")
