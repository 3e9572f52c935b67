"""A connection of `BoundedHttp` without sockets: its client and its transport."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from conduit_lab.serving.gate.http_protocol import BoundedHttp
from tests.serving.conftest import SECONDS


class Wire:
    """The transport of a connection; keeps the written bytes."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = self.reading_paused = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading_paused = True

    def resume_reading(self) -> None:
        self.reading_paused = False

    def get_extra_info(self, name: str) -> Any:
        return {"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 8)}.get(name)

    @property
    def sent(self) -> bytes:
        return b"".join(self.writes)


class Client:
    """The other end of one connection to an ASGI app."""

    def __init__(self, app: Any, state: Mapping[str, Any] | None = None, **options: Any) -> None:
        config = uvicorn.Config(
            app, http=BoundedHttp, ws="none", lifespan="off", log_config=None, **options
        )
        config.load()
        self.server = ServerState()
        self.protocol = BoundedHttp(config, self.server, dict(state or {}))
        self.wire = Wire()
        self.protocol.connection_made(self.wire)

    async def ends(self) -> None:
        """Wait until all that has been asked is answered."""
        async with asyncio.timeout(SECONDS):
            while self.server.tasks:
                await asyncio.sleep(0)

    async def ask(self, *requests: bytes) -> bytes:
        """Send requests; return the bytes of the answers."""
        before = len(self.wire.writes)
        for each in requests:
            self.protocol.data_received(each)
        await self.ends()
        return b"".join(self.wire.writes[before:])
