"""Causes: explain, from an endpoint's code, why its answers differ between calls."""

from __future__ import annotations

import random
import types
from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np

from conduit_lab.export.reach import Use, own_modules, reached
from conduit_lab.export.state.anatomy import is_kind
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.recorded import Example

_CLOCKS = {
    ("time", name) for name in ("time", "time_ns", "localtime", "gmtime", "ctime", "strftime")
}
_RANDOM = {("uuid", "uuid1"), ("uuid", "uuid4"), ("posix", "urandom"), ("nt", "urandom")}
_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState)


def causes(app: App, example: Example) -> list[str]:
    """Return the reasons why the answers of an example's endpoint may vary, as verb phrases."""
    found = (e for e in app.endpoints if (e.method, e.path) == (example.method, example.path))
    endpoint = next(found, None)
    return [] if endpoint is None else list(varying(app, endpoint))


def varying(app: App, endpoint: Endpoint[..., Any]) -> dict[str, None]:
    """Return the clocks and unseeded generators that an endpoint's code uses."""
    return dict.fromkeys(_phrases(reached(endpoint, own_modules(app, endpoint))))


def _phrases(uses: Iterator[Use]) -> Iterator[str]:
    for use in uses:
        value = use.value
        holder = getattr(value, "__self__", None) if _is_routine(value) else None
        name = value.__name__ if _is_callable(value) else ""
        is_module = isinstance(holder, types.ModuleType)
        if is_module or (holder is None and _is_callable(value)):
            place = (
                str(getattr(holder, "__name__", "") if is_module else value.__module__),
                str(name),
            )
            if place in _CLOCKS:
                yield f"reads the clock ({use.name})"
            elif place in _RANDOM or place[0] == "secrets":
                yield f"draws random numbers ({use.name})"
            elif use.is_bare_call and name == "default_rng":
                yield f"draws from an unseeded generator ({use.name}())"
        elif isinstance(holder, type):
            if is_kind(holder, date) and name in ("now", "utcnow", "today"):
                yield f"reads the clock ({use.name})"
        elif holder is not None and is_kind(type(holder), _GENERATORS):
            yield f"draws from an unseeded generator ({use.name})"
        elif use.is_bare_call and isinstance(value, type) and is_kind(value, _GENERATORS):
            yield f"draws from an unseeded generator ({use.name}())"


def _is_callable(value: Any) -> bool:
    return _is_routine(value) or type(value) is types.FunctionType


def _is_routine(value: Any) -> bool:
    kinds = types.BuiltinFunctionType, types.MethodType
    return type(value) in kinds or type(value).__name__ == "cython_function_or_method"
