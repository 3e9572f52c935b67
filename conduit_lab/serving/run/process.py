"""Process: an exported folder's app in this process, with a graceful shutdown."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from time import monotonic
from types import FrameType

import uvicorn

from conduit_lab.serving.app import App
from conduit_lab.serving.gate.bind_rules import check_bind
from conduit_lab.serving.gate.http_protocol import BoundedHttp

PROCESS_GRACE_SECONDS = 10  # for open requests at the stop


class _DrainingServer(uvicorn.Server):
    """A server that, at a signal, reports not ready and answers for `pre_stop` more seconds.

    So a load balancer that checks /readyz sends new requests elsewhere before the port closes. A
    second signal ends the wait.
    """

    def __init__(self, config: uvicorn.Config, app: App, pre_stop: float) -> None:
        super().__init__(config)
        self._app = app
        self._pre_stop = pre_stop
        self._stops_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown."""
        self._app.refuse_new()
        if self._stops_at is not None or self._pre_stop <= 0:
            super().handle_exit(sig, frame)
            return
        self._stops_at = monotonic() + self._pre_stop
        self._captured_signals.append(sig)  # uvicorn raises it again after the shutdown

    async def on_tick(self, counter: int) -> bool:
        """Return whether the server stops now."""
        waited = self._stops_at is not None and monotonic() >= self._stops_at
        return await super().on_tick(counter) or waited


def serve(
    folder: Path, host: str, port: int, pre_stop: float = 0.0, *, insecure: bool = False
) -> int:
    """Serve `app:app` of an exported folder until a signal; return the exit status."""
    os.chdir(folder)
    sys.path.insert(0, str(folder.resolve()))
    app: App = importlib.import_module("app").app
    check_bind(app, host, insecure=insecure)
    config = uvicorn.Config(
        app,
        host,
        port,
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=PROCESS_GRACE_SECONDS,  # a stream may never end
    )
    server = _DrainingServer(config, app, pre_stop)
    server.run()
    return 0 if server.started else 3
