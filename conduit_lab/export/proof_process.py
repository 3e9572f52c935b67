"""`python -m conduit_lab.export.proof_process SETTINGS`: run an exported app in its clean world.

The working directory is the exported folder. SETTINGS is a JSON file with the `port`, the paths of
the `reports` and `state` files, the `hidden` and `shown` folders, and the names of the `built`
resources whose objects are compared.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from conduit_lab.core.collector import paused_collector, resume_collector
from conduit_lab.export.hidden_files import Report, hide_files, reporter
from conduit_lab.export.required_packages import refuse_others


def serve_proof(settings: dict[str, Any]) -> None:
    """Report the state of the app in the working directory, then serve it until a signal."""
    folder = str(Path.cwd())
    report = reporter(settings["reports"])
    requirements = Path("requirements.txt")
    if requirements.is_file():
        refuse_others(requirements.read_text("utf-8"), folder, report)
    sys.path.insert(0, folder)
    hide_files([folder, *settings["shown"]], settings["hidden"], report)
    _report_failures(folder, report)
    # imports leave no garbage, and each full pass would read all modules loaded so far
    with paused_collector():
        _show_state(Path(folder), settings["state"], settings["built"])
        resume_collector()

    import runpy

    sys.argv = ["uvicorn", "app:app", "--port", str(settings["port"]), "--log-level", "warning"]
    runpy.run_module("uvicorn", run_name="__main__")


def _show_state(folder: Path, state: str, built: list[str]) -> None:
    """Import the app; with a file for the `state`, open its models and stores, and write it."""
    import importlib

    app: Any = importlib.import_module("app").app
    from conduit_lab.runtime.checks import content
    from conduit_lab.runtime.sessions import session

    content.stat_settled_ns = 0  # only this process uses this copy, which was just written
    # the session uses the processor too, and a short text gains little from a second thread
    session.threads_spin = False
    session.default_threads = max(1, (os.cpu_count() or 1) // 2)
    if state:
        from conduit_lab.export.state.compared import app_state

        app.open_resources()
        lines = app_state(app, vars(sys.modules["app"]), folder, built=built)
        Path(state).write_text(json.dumps(lines), "utf-8")


def _report_failures(folder: str, report: Report) -> None:
    """Report the traceback of each failed request, with its ID."""
    import logging
    import traceback

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            if error is None:
                return
            shown = traceback.TracebackException.from_exception(error)
            places = [frame.filename for frame in shown.stack]
            own = [place.startswith(f"{folder}{os.sep}") for place in places]
            first = own.index(True) if any(own) else 0
            shown.stack[:] = shown.stack[first:]
            text = "".join(shown.format()).replace(f"{folder}{os.sep}", "")
            request = str(getattr(record, "request_id", ""))
            report({"kind": "failure", "request": request, "text": text.strip()})

    logging.getLogger("conduit_lab").addHandler(Handler())


if __name__ == "__main__":
    serve_proof(json.loads(Path(sys.argv[1]).read_text("utf-8")))
