"""Plain values as text: exact, short, and identical in every process."""

from __future__ import annotations

import hashlib
import re
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np

_MAX_CHARACTERS = 80  # of a value; longer ones are compared by digest
_SMALL_ITEMS = 64  # of a container of plain values; larger ones become a single digest
_DIGEST_BYTES = 8

# immutable: code cannot distinguish equal values
PLAIN_VALUES = (
    range, slice, date, time, timedelta, tzinfo, Decimal, Fraction, UUID, PurePath, re.Pattern,
    np.generic,
)  # fmt: skip
SCALARS = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented))

_SCALAR_IDS = frozenset(map(id, SCALARS))  # by id, as a metaclass may define its own `==`


def is_scalar(kind: type) -> bool:
    """Return whether values of exactly this type are plain."""
    return id(kind) in _SCALAR_IDS


def scalar_text(value: Any, *, typed: bool = True) -> str:
    """Return a plain value with its type; a long one is cut and gets a digest."""
    text = repr(value)
    if len(text) > _MAX_CHARACTERS:
        text = f"{text[:_MAX_CHARACTERS]}… {digest(text.encode('utf-8', 'surrogatepass'))}"
    if value is None or value is Ellipsis or value is NotImplemented or not typed:
        return text
    return f"{type(value).__name__} {text}"


def digest(content: bytes) -> str:
    """Return a short digest of `content`."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def flat_text(value: Any) -> str | None:
    """Return the text of a container of only plain values, or None; large ones get a digest."""
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else list(value)
    if not all(is_scalar(type(item)) for item in items):
        return None
    shown = [scalar_text(item) for item in items]
    if isinstance(value, set | frozenset):
        shown.sort()
    elif isinstance(value, dict):
        half = len(value)
        pairs = zip(shown[:half], shown[half:], strict=True)
        shown = [f"{key}: {item}" for key, item in pairs]
    text = f"{type(value).__name__} of {', '.join(shown) or 'nothing'}"
    if len(value) <= _SMALL_ITEMS:
        return text
    return f"{type(value).__name__} of {len(value)}: {digest(text.encode())}"
