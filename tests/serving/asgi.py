"""One request as a raw ASGI call, with the messages that the app sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from conduit_lab import App

Message = dict[str, Any]
JSON = (b"content-type", b"application/json")


async def ask(
    app: App,
    path: str,
    body: bytes = b"",
    *,
    method: str = "POST",
    headers: Sequence[tuple[bytes, bytes]] = (JSON,),
    query: bytes = b"",
    sent: Callable[[Message], None] = lambda message: None,
    state: Mapping[str, Any] | None = None,
) -> list[Message]:
    """Return the messages of the answer; `sent` sees each one, `state` is that of a lifespan."""
    messages: list[Message] = []
    incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if incoming:
            return incoming.pop(0)
        return await _never()

    async def send(message: Any) -> None:
        messages.append(message)
        sent(message)

    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": dict(state or {}),
    }
    await app(scope, receive, send)
    return messages


async def _never() -> Message:
    import anyio

    await anyio.sleep_forever()
    raise AssertionError
