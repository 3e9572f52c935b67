"""Convert error responses of a served app to the package's exceptions."""

from __future__ import annotations

import json
from typing import Any

from conduit_lab.core.errors import (
    RemoteDeadlineExceeded,
    RemoteError,
    RemoteInputError,
    RemoteOverloaded,
    RemoteUnknownName,
)
from conduit_lab.core.text import clip, one_line

_MAX_MESSAGE_CHARACTERS = 4000
_MAX_FACT_CHARACTERS = 200

_KINDS: dict[int, type[RemoteError]] = {
    400: RemoteInputError,
    404: RemoteUnknownName,
    408: RemoteDeadlineExceeded,
    410: RemoteUnknownName,
    413: RemoteInputError,
    415: RemoteInputError,
    422: RemoteInputError,
    429: RemoteOverloaded,
    504: RemoteDeadlineExceeded,
}
_KEY_HINTS = {
    401: 'pass the app\'s key: connect(url, key=os.environ["…"])',
    403: "use a key that may do this",
}


def answer_error(status: int, body: bytes, request_id: str, what: str) -> RemoteError:
    """Return the exception for an error response; `what` names the request."""
    facts = _facts(body)
    message = _text(facts.get("message"), _MAX_MESSAGE_CHARACTERS) or _without_facts(body, what)
    hint = _text(facts.get("hint")) or _KEY_HINTS.get(status, "")
    request_id = _text(facts.get("request_id")) or one_line(request_id, _MAX_FACT_CHARACTERS)
    shown = [what, message, *([hint] if hint and hint not in message else [])]
    text = ": ".join(shown) + (f" (request {request_id})" if request_id else "")
    kind = _KINDS.get(status, RemoteError)
    return kind(
        f"{text}" if kind is not RemoteError else f"{text} [{status}]",
        status=status,
        kind=_text(facts.get("type")),
        hint=hint,
        request_id=request_id,
    )


def event_error(data: bytes, request_id: str, what: str) -> RemoteError:
    """Return the exception for a stream's final `error` event."""
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError):
        facts = {}
    facts = facts if isinstance(facts, dict) else {}
    message = _text(facts.get("message"), _MAX_MESSAGE_CHARACTERS) or "the stream failed"
    hint = _text(facts.get("hint"))
    request_id = _text(facts.get("request_id")) or request_id
    shown = ": ".join([what, message, *([hint] if hint else [])])
    return RemoteError(
        f"{shown} (request {request_id})" if request_id else shown,
        kind=_text(facts.get("type")),
        hint=hint,
        request_id=request_id,
    )


def _facts(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    facts = answer.get("error") if isinstance(answer, dict) else None
    return facts if isinstance(facts, dict) else {}


def _without_facts(body: bytes, what: str) -> str:
    """Return the message for a response of another server, such as a proxy's error page."""
    line = one_line(body[:1000].decode("utf-8", "replace"), _MAX_FACT_CHARACTERS)
    return f"the server answered {line!r}" if line else "the server gave no reason"


def _text(value: Any, limit: int = _MAX_FACT_CHARACTERS) -> str:
    return clip(value, limit) if isinstance(value, str) else ""
