"""Errors in OpenAI's format: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from typing import Any

from conduit_lab.serving import codec
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.language.request_fields import FieldError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def openai_error_body(error: HttpError, request_id: str) -> bytes:
    """Return the body of an error response; the request ID is in the header x-request-id."""
    default = "invalid_request_error" if error.status < 500 else "server_error"
    param = error.param if isinstance(error, FieldError) and error.param else None
    kind = _TYPES.get(error.status, default)
    return codec.dumps(openai_error(error.message, kind, error.kind, param))


def openai_error(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    """Return the JSON value of an error."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
