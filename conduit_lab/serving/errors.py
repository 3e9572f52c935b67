"""Error responses: a table from exceptions to status, type, message and hint, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from conduit_lab.core.errors import (
    DeadlineExceeded,
    DeviceError,
    InputError,
    MissingExtra,
    ModelLoadError,
    Overloaded,
    StoreError,
    StreamCancelled,
    TenantError,
)
from conduit_lab.core.text import clip

MAX_MESSAGE_CHARACTERS = 4000  # an error may quote the request
RETRY_SECONDS = 1  # of an overloaded server


class HttpError(Exception):
    """An error response: its status, a short type, and a message for the client.

    `hint` is the client's next step.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        *,
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})
        self.hint = hint

    @property
    def message(self) -> str:
        """The message sent to the client, clipped."""
        return clip(str(self), MAX_MESSAGE_CHARACTERS)


ErrorBody = Callable[[HttpError, str], bytes]  # from the error and its request ID


class _Row(NamedTuple):
    """The response to one class of exceptions; `message` defaults to the exception's own."""

    status: int
    kind: str
    message: str = ""
    hint: str = ""
    retry_after: int | None = None


_REASON = "the server's log has the reason under this request ID"

# The nearest base class applies; any other exception is a server fault, 500. Only the text of an
# `InputError` is safe for clients: others name files, paths and stages.
_TABLE: dict[type[BaseException], _Row] = {
    InputError: _Row(400, "bad_input"),
    Overloaded: _Row(
        429,
        "overloaded",
        "too many calls are waiting on this server",
        "retry after the number of seconds in the retry-after header",
        RETRY_SECONDS,
    ),
    DeadlineExceeded: _Row(
        504, "deadline_exceeded", "the call did not finish by its deadline", "try again later"
    ),
    ModelLoadError: _Row(
        503, "model_unavailable", f"a model of this endpoint cannot be loaded; {_REASON}"
    ),
    DeviceError: _Row(
        503, "model_unavailable", f"a device of this endpoint is not available; {_REASON}"
    ),
    MissingExtra: _Row(
        503, "model_unavailable", f"a package of this endpoint is not installed; {_REASON}"
    ),
    StoreError: _Row(
        503, "store_unavailable", f"a store of this endpoint is not available; {_REASON}"
    ),
    TenantError: _Row(404, "not_found", "nothing here is accessible to the tenant of this key"),
    StreamCancelled: _Row(
        503, "stream_cancelled", "a stream of this call was cancelled on the server"
    ),
}


def http_error(error: BaseException) -> HttpError | None:
    """Return the response to an endpoint's exception; None for a server fault, a 500."""
    if isinstance(error, HttpError):
        return error
    row = next((_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE), None)
    if row is None:
        return None
    headers = None if row.retry_after is None else {"retry-after": str(row.retry_after)}
    return HttpError(row.status, row.kind, row.message or str(error), headers, hint=row.hint)


def internal_error() -> HttpError:
    """Return the response to a server fault."""
    return HttpError(500, "internal", f"the endpoint failed; {_REASON}")


def error_body(error: HttpError, request_id: str) -> bytes:
    """Return the JSON body of an error, with the request ID for the server's log."""
    facts: dict[str, Any] = {
        "status": error.status,
        "type": error.kind,
        "message": error.message,
        "request_id": request_id,
    }
    if error.hint:
        facts["hint"] = error.hint
    return json.dumps({"error": facts}).encode()


def drop_tracebacks(error: BaseException | None) -> None:
    """Drop the tracebacks of an answered error and its causes.

    Their frames refer to the call's values and to futures that refer to the error: a cycle.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
