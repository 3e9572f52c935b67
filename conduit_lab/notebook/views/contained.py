"""Containers and arrays as a cell's value: show cards of their items.

Only `text/html` is added: code and terminals see the dict, list or array as before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from conduit_lab.core.text import clip, one_line
from conduit_lab.core.views import figures, html
from conduit_lab.core.views.pieces import Columns, Line, Strip, ViewPiece
from conduit_lab.core.views.sections import Named
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.models.generation.result import Token

MAX_HELD_VALUES = 12
MAX_STRIPS = 6
MIN_STRIP_VALUES = 33  # shorter arrays are shown as numbers
MIN_ROW_VALUES = 64
MAX_READ_VALUES = 1_000_000
MAX_READ_TOKENS = 2_000
MAX_TOKEN_CHARACTERS = 1_000

_MAX_SEARCHED = 100  # values searched for one that has a view
_MAX_DEPTH = 3  # of nested containers
_MAX_LINE_CHARACTERS = 200
_TOKEN_COLUMNS = ("token", "id", "probability", "after")


def register_contained(shell: Any) -> None:
    """Make `shell` show plain dicts, lists, tuples and arrays of the package's values as cards."""
    formatter = shell.display_formatter.formatters["text/html"]
    for kind in (dict, list, tuple, np.ndarray):
        formatter.for_type(kind, contained_html)


def contained_html(value: Any) -> str | None:
    """Return the cards of a plain container or array; None if its own text is better."""
    view = contained_view(value)
    return None if view is None else view.html()


def contained_view(value: Any, depth: int = 0) -> View | None:
    """Return the view of a container that contains a value with a view, or of a long array."""
    kind = type(value)  # a subclass has its own display
    if kind is np.ndarray:
        return _array_view(value)
    if kind not in (dict, list, tuple) or not value or depth == _MAX_DEPTH:
        return None
    held: Iterable[Any] = value.values() if kind is dict else value
    if all(isinstance(each, Token) for each in islice(held, _MAX_SEARCHED)):
        return _tokens_view(list(islice(held, MAX_READ_TOKENS)), len(value))
    if not any(_view_of(each, depth) for each in islice(held, _MAX_SEARCHED)):
        return None
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    named = [Named(str(key), _shown(each, depth)) for key, each in islice(pairs, MAX_HELD_VALUES)]
    more = len(value) - len(named)
    pieces: list[ViewPiece] = [Columns([[each] for each in named])]
    pieces += [Line(figures.plural(more, "more value"), "quiet")] if more > 0 else []
    return View(kind.__name__, "", [figures.plural(len(value), "value")], pieces=pieces)


def _tokens_view(tokens: Sequence[Token], total: int) -> View:
    """Return one row per token, with a bar for its probability under the model's own logits."""
    rows = []
    for token in tokens[: html.MAX_ROWS]:
        share = math.exp(min(0.0, token.logprob))
        cell = html.Cell(f"{share:.3f}", share=share)
        rows.append((repr(str(token)), token.id, cell, figures.seconds(token.time)))
    table = Table(_TOKEN_COLUMNS, rows, numeric=_TOKEN_COLUMNS[1:], total=total)
    text = Line(clip("".join(tokens), MAX_TOKEN_CHARACTERS))
    return View("tokens", "", [figures.plural(total, "token")], pieces=[text, table])


def _view_of(value: Any, depth: int) -> View | None:
    if isinstance(value, Viewed):
        return value._view()
    return contained_view(value, depth + 1)


def _shown(value: Any, depth: int) -> View | Line:
    view = _view_of(value, depth)
    return Line(one_line(repr(value), _MAX_LINE_CHARACTERS)) if view is None else view


def _array_view(array: Any) -> View | None:
    """Return an array's rows as strips; None if it is more readable as numbers."""
    if array.dtype.kind != "f" or array.size > MAX_READ_VALUES:
        return None
    least = {1: MIN_STRIP_VALUES, 2: MIN_ROW_VALUES}.get(array.ndim)
    if least is None or not len(array) or array.shape[-1] < least:
        return None
    rows = array.reshape(-1, array.shape[-1])
    shape = " × ".join(map(figures.count, array.shape))
    pieces: list[ViewPiece] = [Strip(row.tolist()) for row in rows[:MAX_STRIPS]]
    more = len(rows) - MAX_STRIPS
    pieces += [Line(figures.plural(more, "more row"), "quiet")] if more > 0 else []
    return View(str(array.dtype), shape, [_lengths(rows)], pieces=pieces)


def _lengths(rows: Any) -> str:
    """Return the range of the rows' Euclidean lengths, or the number of non-finite values."""
    missing = int(rows.size - np.isfinite(rows).sum())
    if missing:
        return (
            f"{figures.plural(missing, 'value')} that {'is' if missing == 1 else 'are'} not finite"
        )
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    shortest, longest = f"{lengths.min():.3g}", f"{lengths.max():.3g}"
    return f"length {longest}" if shortest == longest else f"lengths {shortest} to {longest}"
