"""The JSON of a request, in the same form as answers of served apps."""

from __future__ import annotations

from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.serving import codec


def json_body(value: Any, name: str) -> bytes:
    """Serialize `value` for the endpoint `name`; raise `InputError` if it has no JSON form.

    See `serving/codec.py` for the forms.
    """
    try:
        return codec.dumps(value)
    except TypeError as error:
        raise InputError(
            f"{name}: an argument has {error}: pass strings, numbers, lists, dicts or arrays"
        ) from error
