"""Both paths of a request, without a task and in one, and the comparison of their outcomes."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from conduit_lab import App, Caller, current_caller, new_key
from conduit_lab.core.trace.span import Span
from conduit_lab.models.model import Model
from conduit_lab.serving.gate.access_log import ACCESS_LOG
from tests.serving.conftest import SECONDS
from tests.serving.gate.connection import Client

JSON = "application/json"
SECRET, KEY = new_key("desk")

_ids = re.compile(rb'(x-request-id: |"request_id": ")\w+')


def post(path: str, body: bytes = b"[1.5, -2]", kind: str = JSON, *more: str) -> bytes:
    """Return the bytes of a request."""
    lines = [f"POST {path} HTTP/1.1", "host: localhost", f"content-type: {kind}"]
    return "\r\n".join([*lines, f"content-length: {len(body)}", *more, "\r\n"]).encode() + body


def with_key(request: bytes) -> bytes:
    """Return a request with the secret of `KEY`."""
    head, end, body = request.partition(b"\r\n\r\n")
    return b"%b\r\nx-api-key: %b%b%b" % (head, SECRET.encode(), end, body)


def served(app: App, work: Callable[[Callable[[], Client]], Awaitable[Any]], **options: Any) -> Any:
    """Run `work` on clients of the app, once its lifespan and its routes are there.

    The options are those of uvicorn.
    """

    async def main() -> Any:
        async with app.lifespan() as state:

            def connect() -> Client:
                return Client(app, state, **options)

            await connect().ask(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            for each in app._lives.states:
                each.requests.clear()
            for model in app.models:
                if isinstance(model, Model):
                    model._parts()  # else its first call takes a task, which opens it
            return await work(connect)

    return asyncio.run(main())


async def settle(client: Client) -> bytes:
    """Return the bytes that the client has got once its last request is answered."""
    async with asyncio.timeout(SECONDS):
        while client.server.tasks or not client.protocol.cycle.response_complete:
            await asyncio.sleep(0)
    return client.wire.sent


def outcome(
    app: App, requests: Sequence[bytes], *, is_direct: bool, leaves: bool = False, **options: Any
) -> dict[str, Any]:
    """Send requests of one client on one of the paths; return the answers and the counts.

    A client that `leaves` disconnects in place of waiting for the answer.
    """
    lines: list[str] = []
    errors: list[tuple[str, str, Caller | None]] = []

    class Watching:
        def span_started(self, span: Span) -> None:
            pass

        def span_ended(self, span: Span) -> None:
            errors.append((span.name, type(span.error).__name__, current_caller()))

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            address, name, method, path, status, *_ = record.args or ()
            lines.append(f"{address} {name} {method} {path} {status}")

    async def ask(connect: Callable[[], Client]) -> dict[str, Any]:
        (state,) = app._lives.states
        client = connect()
        if not is_direct:
            client.protocol._begin = None
        for each in requests:
            client.protocol.data_received(each)
            if leaves:
                await asyncio.sleep(0.01)  # until a task waits too
                client.wire.closed = True
                client.protocol.connection_lost(None)
                await client.ends()
            else:
                await settle(client)
        assert state.in_flight == state.slots.taken == 0
        return {
            "sent": _ids.sub(b"id", client.wire.sent),
            "closed": client.wire.closed,
            "requests": dict(state.requests),
            "failures": [(each.status, each.error) for each in state.failures],
            "statistics": {key: (of.calls, of.errors) for key, of in app.statistics.items()},
            "errors": errors,
            "usage": [app.metering.usage(key) for key in app.keys],
        }

    app.observers.append(Watching())
    kept, level = Kept(), ACCESS_LOG.level
    ACCESS_LOG.addHandler(kept)
    ACCESS_LOG.setLevel(logging.INFO)
    try:
        return {**served(app, ask, **options), "access": lines}
    finally:
        ACCESS_LOG.removeHandler(kept)
        ACCESS_LOG.setLevel(level)


def same_outcome(
    make: Callable[[], App], *requests: bytes, leaves: bool = False, **options: Any
) -> dict[str, Any]:
    """Send requests to an app on either path; return their outcome, the same on both."""
    direct = outcome(make(), requests, is_direct=True, leaves=leaves, **options)
    assert direct == outcome(make(), requests, is_direct=False, leaves=leaves, **options)
    return direct
