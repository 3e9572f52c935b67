"""Process: serve an exported folder's app in this process or in worker processes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from conduit_lab.core.collector import resume_collector
from conduit_lab.core.errors import ServeError
from conduit_lab.serving.app import App
from conduit_lab.serving.gate.bind_rules import check_bind
from conduit_lab.serving.gate.http_protocol import BoundedHttp
from conduit_lab.serving.gate.signed_links import share_link_secret
from conduit_lab.serving.life import ALONE_VARIABLE
from conduit_lab.serving.run.log_lines import LogForm, log_config
from conduit_lab.serving.run.thread import listen
from conduit_lab.serving.run.worker_processes import WORKER_APP, Workers
from conduit_lab.serving.stop_signals import GRACE_VARIABLE, PRE_STOP_VARIABLE

PROCESS_GRACE_SECONDS = 10.0  # for open requests on shutdown
WORKER_SECONDS = 30  # to import the package on a busy machine, before the worker is replaced


def serve(
    folder: Path,
    host: str,
    port: int,
    *,
    pre_stop: float = 0.0,
    grace: float = PROCESS_GRACE_SECONDS,
    workers: int = 1,
    log: LogForm = "text",
    insecure: bool = False,
) -> int:
    """Serve `app:app` of an exported folder until a signal; return the exit status.

    After the signal /readyz answers 503; the port closes `pre_stop` seconds later, and requests
    still running `grace` seconds after that are cut. Several `workers` share the port and drain
    independently. Raises `ServeError` for an unusable port, a folder without an app, and a
    non-loopback `host` for an app without keys, unless `insecure`; `ModelLoadError` or `StoreError`
    for a resource that cannot be opened.
    """
    os.chdir(folder)
    sys.path.insert(0, str(folder.resolve()))
    os.environ[GRACE_VARIABLE], os.environ[PRE_STOP_VARIABLE] = str(grace), str(pre_stop)
    os.environ[ALONE_VARIABLE] = "1"
    app = _app(folder)
    check_bind(app, host, insecure=insecure)
    listener = listen(host, port)
    config = uvicorn.Config(
        WORKER_APP if workers > 1 else "app:app",
        host,
        listener.getsockname()[1],
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        factory=workers > 1,
        workers=workers,
        timeout_worker_healthcheck=WORKER_SECONDS,
        access_log=False,
        log_config=log_config(log),
    )
    if workers > 1:
        # spawned workers import and open everything themselves, and share mapped files
        share_link_secret()
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        listener.set_inheritable(True)
        resume_collector()
        processes = Workers(config, [listener])
        processes.run()
        return STARTUP_FAILURE if processes.failed else 0
    app.open_resources()
    import_module("conduit_lab.serving.routes")  # not on the event loop
    resume_collector()
    server: Any = uvicorn.Server(config)
    server.run(sockets=[listener])
    return 0 if server.started else STARTUP_FAILURE


def _app(folder: Path) -> App:
    app: Any = getattr(import_module("app"), "app", None)
    if not isinstance(app, App):
        got = "no `app`" if app is None else f"`app`, a {type(app).__name__}"
        raise ServeError(
            f"{folder / 'app.py'} has {got}: expected `app = App(...)`, as in an export"
        )
    return app
