"""The state of a session, and that of its export, imported in this process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from conduit_lab.export.state.built_resources import compared_resources
from conduit_lab.export.state.compared import app_state, state_difference
from tests.export.session import Session, close_stores


def difference(session: Session) -> str | None:
    """Export, import `app.py`, and return the first difference between the two states."""
    return difference_of(session, session.export().folder)


def difference_of(session: Session, folder: Path) -> str | None:
    """Import the `app.py` of a folder, and return the first difference between the two states."""
    here = app_state(session.lab, session.names, session.root)
    spec = importlib.util.spec_from_file_location("app", folder / "app.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    aside = _taken_out(session.root)
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
        built = compared_resources(here)
        return state_difference(here, app_state(module.app, vars(module), folder, built=built))
    finally:
        sys.path.remove(str(folder))
        _taken_out(folder)
        sys.modules.update(aside)
        close_stores(vars(module))


def _taken_out(folder: Path) -> dict[str, ModuleType]:
    """Remove the modules from files below `folder`, which another process would import itself."""
    names = [
        name
        for name, module in sys.modules.items()
        if str(getattr(module, "__file__", "")).startswith(f"{folder}/")
    ]
    return {name: sys.modules.pop(name) for name in names}
