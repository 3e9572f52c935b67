"""Process: the app of an exported folder in this process, which leaves in good order when it is told to."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from time import monotonic
from types import FrameType

import uvicorn

from conduit_lab.serving.app import App

GRACE_SECONDS = 10  # for what is being answered, when it is time to go


class _Leaving(uvicorn.Server):
    """A server that, told to end, first says that it is not ready, and answers for `pre_stop`
    seconds more.

    So a load balancer that asks /readyz has sent the next requests elsewhere before the port is
    closed. A second signal does not wait.
    """

    def __init__(self, config: uvicorn.Config, app: App, pre_stop: float) -> None:
        super().__init__(config)
        self._app = app
        self._pre_stop = pre_stop
        self._leaves_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave."""
        self._app.ready = False
        if self._leaves_at is not None or self._pre_stop <= 0:
            super().handle_exit(sig, frame)
            return
        self._leaves_at = monotonic() + self._pre_stop
        self._captured_signals.append(sig)  # uvicorn ends the process by it when all is done

    async def on_tick(self, counter: int) -> bool:
        """Tell whether it is time."""
        waited = self._leaves_at is not None and monotonic() >= self._leaves_at
        return await super().on_tick(counter) or waited


def serve(folder: Path, host: str, port: int, pre_stop: float = 0.0) -> int:
    """Serve `app:app` of an exported folder in this process until a signal; return the exit status."""
    os.chdir(folder)
    sys.path.insert(0, str(folder.resolve()))
    app: App = importlib.import_module("app").app
    grace = GRACE_SECONDS  # else a stream that never ends would hold the stop up
    server = _Leaving(
        uvicorn.Config(app, host, port, lifespan="on", timeout_graceful_shutdown=grace),
        app,
        pre_stop,
    )
    server.run()
    return 0 if server.started else 3
