"""Limits: the bounds that a served app puts on its requests."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import Field, dataclass, fields, replace
from typing import Any

from conduit_lab.core.errors import EndpointError

MAX_BODY_BYTES = 16 * 2**20
MAX_JSON_DEPTH = 200  # an answer that holds the body again is written with recursion
ENVIRONMENT_PREFIX = "CONDUIT_LAB_"


@dataclass(frozen=True, repr=False)
class Limits:
    """The bounds of a served app's requests; the defaults suit an app on the open internet.

    `body_bytes` is the largest request body, also after decompression, and `json_depth` its deepest
    nesting. The head of a request has at most `header_bytes` in `header_count` headers (431). It
    arrives within `receive_seconds`, and so does a body, which gets a second more per 4 KiB (408).
    `concurrent_requests` are answered at once and `queued_requests` wait for their turn, further
    ones get a 429; `concurrent_streams` are sent at once. An answer that has not started within
    `deadline` seconds becomes a 504. A key makes `requests_per_minute` and `tokens_per_day` at
    most, unless it says otherwise. None sets no limit.

    An exported app reads each of them from the environment, such as `CONDUIT_LAB_BODY_BYTES`.
    """

    body_bytes: int = MAX_BODY_BYTES
    header_bytes: int = 2**15
    header_count: int = 100
    json_depth: int = MAX_JSON_DEPTH
    receive_seconds: float = 30.0
    concurrent_requests: int | None = 512
    queued_requests: int = 1024
    concurrent_streams: int | None = 1024
    deadline: float | None = None
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each, getattr(self, each.name), f"Limits({each.name}=)")
        if self.json_depth > MAX_JSON_DEPTH:
            raise EndpointError(
                f"Limits(json_depth=) expects at most {MAX_JSON_DEPTH}, got {self.json_depth}"
            )

    @classmethod
    def from_environment(
        cls, declared: Limits | None = None, environ: Mapping[str, str] = os.environ
    ) -> Limits:
        """Return the declared limits with those of the environment in their place.

        The variable of `body_bytes` is `CONDUIT_LAB_BODY_BYTES`; "none" sets no limit. Raises
        `EndpointError` for a value that is none.
        """
        given = {}
        for each in fields(cls):
            variable = ENVIRONMENT_PREFIX + each.name.upper()
            if text := environ.get(variable, "").strip():
                given[each.name] = _read(each, text, variable)
        return replace(cls() if declared is None else declared, **given)

    def __repr__(self) -> str:
        given = [(each, getattr(self, each.name)) for each in fields(self)]
        shown = [f"{each.name}={value!r}" for each, value in given if value != each.default]
        return f"Limits({', '.join(shown)})"


def setting(
    variable: str, declared: Sequence[str] | None, environ: Mapping[str, str]
) -> Sequence[str] | None:
    """Return the words of an environment variable, or those declared where it is not set."""
    words = environ.get(variable, "").replace(",", " ").split()
    return words or declared


def _read(field: Field[Any], text: str, variable: str) -> Any:
    value: Any = text
    if text.lower() == "none":
        value = None
    else:
        with suppress(ValueError):
            value = float(text) if _is_time(field) else int(text)
    _check(field, value, variable)
    return value


def _check(field: Field[Any], value: Any, where: str) -> None:
    """Raise `EndpointError` for a value that does not bound anything."""
    if value is None and "None" in str(field.type):
        return
    kinds, noun = ((int, float), "seconds") if _is_time(field) else ((int,), "an integer")
    least = 0 if field.name == "queued_requests" else 1
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    if not fits or not (0 < value < math.inf if _is_time(field) else value >= least):
        bound = "above 0" if least else "of at least 0"
        none = ", or None" if "None" in str(field.type) else ""
        raise EndpointError(f"{where} expected {noun} {bound}{none}, got {value!r}")


def _is_time(field: Field[Any]) -> bool:
    return "float" in str(field.type)
