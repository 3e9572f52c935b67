"""The JSON of a request, in the one form that served apps answer in too."""

from __future__ import annotations

from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.serving import codec


def json_body(value: Any, name: str) -> bytes:
    """Return `value` as JSON for the endpoint `name`; `InputError` where it has no JSON form.

    The form of a value is that of an app's answers, see `serving/codec.py`.
    """
    try:
        return codec.dumps(value)
    except TypeError as error:
        raise InputError(
            f"{name}: an argument has {error}: pass text, numbers, lists, dicts or arrays"
        ) from error
