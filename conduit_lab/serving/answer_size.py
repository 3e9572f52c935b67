"""is_small: decide whether to encode an answer on the event loop or on a thread."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from conduit_lab.core.weight import PLAIN
from conduit_lab.models.prediction import Prediction, Predictions
from conduit_lab.serving.pydantic_models import is_model

MAX_SMALL_VALUES = 4096  # a number or 16 characters each: about 0.1 ms to encode

_CHARACTERS = 16
_NUMBERS = PLAIN - {str}


def is_small(value: Any) -> bool:
    """Return whether an answer has few values, none of them lazy.

    Visits at most 4,096 values, and never consumes an iterator.
    """
    kind = type(value)
    if kind is np.ndarray:
        return bool(value.size < MAX_SMALL_VALUES)
    return kind in _NUMBERS or _left(value, MAX_SMALL_VALUES) > 0


def _left(value: Any, room: int) -> int:
    """Return the rest of `room` after counting `value`; 0 or less if it is large or lazy."""
    kind = type(value)
    if kind in PLAIN:
        return room - 1 - (len(value) // _CHARACTERS if kind is str else 0)
    if kind is dict:
        parts: Iterable[Any] = value.values()
    elif kind is list or kind is tuple:
        if len(value) >= room or _NUMBERS.issuperset(map(type, value)):
            return room - 1 - len(value)
        parts = value
    elif isinstance(value, np.ndarray | np.generic):
        return room - int(value.size)
    elif kind is Prediction:
        return room - 2 - len(value._labels)
    elif kind is Predictions:
        return room - len(value) * (2 + len(value.labels))
    elif isinstance(value, str | bytes | bytearray):
        return room - 1 - len(value) // _CHARACTERS
    elif is_model(value):
        parts = value.__dict__.values()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    else:
        return 0 if isinstance(value, Iterable) else room - 1
    room -= 1  # containers cost time too
    for part in parts:
        room = _left(part, room)
        if room <= 0:
            return room
    return room
