"""Limits: the request limits of a served app."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import Field, dataclass, fields, replace
from typing import Any

from conduit_lab.core.errors import EndpointError

MAX_BODY_BYTES = 16 * 2**20
MAX_JSON_DEPTH = 200  # a response that echoes the body is serialized recursively
ENVIRONMENT_PREFIX = "CONDUIT_LAB_"


@dataclass(frozen=True, repr=False)
class Limits:
    """Request limits of a served app; the defaults suit an app on the open internet.

    `body_bytes` limits the request body, also after decompression, and `json_depth` its nesting. A
    request head has at most `header_bytes` in `header_count` headers (431) and must arrive within
    `receive_seconds`; so must the body, with a second more per 4 KiB (408). At most
    `concurrent_requests` run at once and `queued_requests` wait; further ones get a 429. At most
    `concurrent_streams` are sent at once. A response that has not started within `deadline` seconds
    becomes a 504. `requests_per_minute` and `tokens_per_day` are the default quota of a key. None
    means unlimited.

    An exported app reads each limit from the environment, such as `CONDUIT_LAB_BODY_BYTES`.
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
        """Return the declared limits, overridden by the environment.

        The variable of `body_bytes` is `CONDUIT_LAB_BODY_BYTES`; "none" removes a limit. Raises
        `EndpointError` for an invalid value.
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
    """Return the items of an environment variable, or `declared` if it is not set."""
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
    """Raise `EndpointError` for a value that is not a valid limit."""
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
