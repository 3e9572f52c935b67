"""How much a request may ask for, and what is answered when it asks for more."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

BODY_BYTES = 16 * 2**20
INLINE_BYTES = 2**16  # of a body parsed and checked on the event loop; larger ones on a thread


class HttpError(Exception):
    """An answer other than 200: status, a short type, and a message that is shown to the client."""

    def __init__(
        self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})


def clipped(text: str, limit: int) -> str:
    """Return `text`, cut at `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def too_large(limit: int) -> HttpError:
    """Return the 413 for a body over `limit` bytes."""
    return HttpError(413, "body_too_large", f"the body is larger than the limit of {limit} bytes")


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the whole body; 413 as soon as its declared or its real length passes `limit` bytes."""
    declared = Headers(scope=scope).get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit)
    chunks: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HttpError(400, "client_left", "the client left before the body was whole")
        chunks.append(message.get("body", b""))
        length += len(chunks[-1])
        if length > limit:
            raise too_large(limit)
        if not message.get("more_body", False):
            return b"".join(chunks)


def require_json(scope: Scope) -> None:
    """Raise a 415 unless the body is declared as JSON; an HTML form of another site can send all else unasked."""
    kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise HttpError(
            415,
            "unsupported_media_type",
            f"the body is declared as {kind or 'nothing'}: send JSON with the header content-type: application/json",
        )
