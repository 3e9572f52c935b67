"""The error answers of the served app: status, type, message and request ID, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from conduit_lab.core.errors import InputError
from conduit_lab.core.text import clip

MAX_MESSAGE_CHARACTERS = 4000  # an error may quote the request


class HttpError(Exception):
    """An error answer: its status, a short type, and a message that the client sees."""

    def __init__(
        self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})

    @property
    def message(self) -> str:
        """The message that the client sees, of bounded length."""
        return clip(str(self), MAX_MESSAGE_CHARACTERS)


ErrorBody = Callable[[HttpError, str], bytes]  # the body of an error answer, with the request ID


def error_body(error: HttpError, request_id: str) -> bytes:
    """Return the JSON body of an error; the request ID finds the error in the server's log."""
    facts = {
        "status": error.status,
        "type": error.kind,
        "message": error.message,
        "request_id": request_id,
    }
    return json.dumps({"error": facts}).encode()


def http_error(error: Exception) -> HttpError | None:
    """Return the answer for a mistake of the client; None for a fault of the server.

    The client sees the message of an `InputError`. A fault stays in the server's log.
    """
    if isinstance(error, HttpError):
        return error
    return HttpError(400, "bad_input", str(error)) if isinstance(error, InputError) else None


def internal_error() -> HttpError:
    """Return the answer for a fault of the server."""
    message = "the endpoint failed; the server's log has the reason under this id"
    return HttpError(500, "internal", message)


def drop_tracebacks(error: BaseException | None) -> None:
    """Drop the tracebacks of an answered error and of its causes.

    Their frames hold the values of the call, and futures that hold the error: a cycle.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
