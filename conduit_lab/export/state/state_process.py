"""`python -m conduit_lab.export.state.state_process STATE ARGUMENTS…`: an app that shows its state.

The working directory is an exported folder. STATE is the JSON file for the lines of its state, and
the arguments are those of uvicorn, which then serves the same app.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from pathlib import Path

from conduit_lab.export.state.compared import app_state
from conduit_lab.serving.app import App


def write_state(place: Path) -> None:
    """Import `app.py`, open its app, and write the lines of its state."""
    module = importlib.import_module("app")
    app: App = module.app
    app.open()
    place.write_text(json.dumps(app_state(app, vars(module), Path.cwd())), "utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    write_state(Path(sys.argv[1]))
    sys.argv[:2] = ["uvicorn"]
    runpy.run_module("uvicorn", run_name="__main__")
