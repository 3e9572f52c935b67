"""The body of a request: JSON in the same form as answers of served apps, or an array."""

from __future__ import annotations

from typing import Any, NamedTuple

from conduit_lab.core.errors import InputError
from conduit_lab.core.npy import NPY_TYPE, npy_bytes
from conduit_lab.core.spec import Array
from conduit_lab.serving import codec

JSON_CONTENT_TYPE = "application/json"


class RequestBody(NamedTuple):
    """The bytes of a request and their content type."""

    content: bytes
    content_type: str


def json_body(value: Any, name: str) -> RequestBody:
    """Serialize `value` for the endpoint `name`; raise `InputError` if it has no JSON form.

    See `serving/codec.py` for the forms.
    """
    try:
        return RequestBody(codec.dumps(value), JSON_CONTENT_TYPE)
    except TypeError as error:
        raise InputError(
            f"{name}: an argument has {error}: pass strings, numbers, lists, dicts or arrays"
        ) from error


def array_body(array: Array) -> RequestBody:
    """Return an array as a `.npy` file."""
    return RequestBody(npy_bytes(array), NPY_TYPE)
