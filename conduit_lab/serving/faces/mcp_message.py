"""Validation of an MCP request body, before the package `mcp` reads it.

The package answers an invalid message with the text of its validation library.
"""

from __future__ import annotations

from typing import Any

from starlette.types import Message, Receive, Scope

from conduit_lab.core.errors import InputError
from conduit_lab.serving import codec
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.body import read_json_body

# JSON-RPC 2.0, section 5.1, by error type; any other is an internal error
ERROR_CODES = {"parse_error": -32700, "bad_input": -32600, "invalid_request": -32600}


async def checked_receive(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Read and check one JSON-RPC message; return a `receive` that replays its body.

    Raises `HttpError` for an invalid body.
    """
    body = await read_json_body(scope, receive, limit, required=True)
    try:
        message = codec.loads(body)
    except InputError as error:
        raise HttpError(400, "parse_error", str(error)) from None
    if not _is_message(message):
        raise HttpError(
            400, "invalid_request", "the body expects one JSON-RPC 2.0 message, an object"
        )
    given: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return given.pop() if given else await receive()

    return again


def _is_message(value: Any) -> bool:
    """Return whether a value is a JSON-RPC 2.0 request, notification or response."""
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        return False
    number = value.get("id")
    if not (number is None or isinstance(number, str) or type(number) is int):
        return False
    if "method" in value:
        params = value.get("params")
        return isinstance(value["method"], str) and (params is None or isinstance(params, dict))
    if "error" in value:
        error = value["error"]
        return (
            isinstance(error, dict)
            and type(error.get("code")) is int
            and isinstance(error.get("message"), str)
        )
    return number is not None and isinstance(value.get("result"), dict)
