"""A notebook in this process: a separate shell, the export without its proof, and its state."""

from __future__ import annotations

import atexit
import decimal
import gc
import importlib.util
import io
import os
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from starlette.testclient import TestClient
from traitlets.config import Config

from conduit_lab.export import writer
from conduit_lab.export.namespace import Namespace
from conduit_lab.export.state.built_resources import compared_resources
from conduit_lab.export.state.compared import app_state, state_difference
from conduit_lab.export.state.walk import StateLine
from conduit_lab.export.wheel import write_wheel
from conduit_lab.notebook import history
from tests.export.notebooks.notebook import FAILS, Answer, Ask, Notebook, environment_of
from tests.export.notebooks.verdict import Observed, Verdict, leaked, verdict
from tests.export.session import close_stores


def run_in_process(notebook: Notebook, place: Path) -> Verdict:
    """Run the cells in a shell, export, compare the states, and ask both apps."""
    project, home = place / "project", place / "home"
    notebook.write_project(project)
    home.mkdir()
    seen = Observed()
    with _world(place) as patch, _shell(place, patch) as shell:
        for cell in notebook.sources:
            result = shell.run_cell(cell, store_history=True)
            error = result.error_before_exec or result.error_in_exec
            assert bool(error) == (FAILS in cell), f"{notebook.name}: {cell}\n{error!r}"
        names = shell.user_ns
        try:
            with shell.builtin_trap:  # as in a cell
                folder, here = _exported(names["lab"])
            seen.here = _answers(names["lab"], notebook.requests)
        except Exception as error:
            seen.error_type, seen.error = type(error).__name__, str(error)
        else:
            seen.leaked = leaked(folder, "", notebook.secrets)
            elsewhere = place / "größe ☃" / "app"
            elsewhere.parent.mkdir()
            folder.rename(elsewhere)
            session = dict(os.environ)
            for each in (project, home):
                each.rename(place / f"gone {each.name}")
            patch.undo()
            with pytest.MonkeyPatch.context() as clean:
                _enter(elsewhere, environment_of(elsewhere, session), clean)
                _ask_export(notebook, elsewhere, here, seen)
        finally:
            close_stores(names)
    seen.leaked += leaked(place / "none", seen.error, notebook.secrets)
    return verdict(notebook, seen)


def _exported(lab: Any) -> tuple[Path, list[StateLine]]:
    """Export without the proof; return the folder and the state of the session."""
    folder = lab.export("out", proof=None).folder
    names = Namespace(lab, [], history.namespace())
    return folder, app_state(lab, names.names, lab.root, names.is_builtin)


def _enter(folder: Path, environ: dict[str, str], patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    patch.syspath_prepend(str(folder))
    for name, value in environ.items():
        patch.setenv(name, value)


def _ask_export(
    notebook: Notebook, folder: Path, here: Sequence[StateLine], seen: Observed
) -> None:
    """Import the `app.py` of an export, compare its state, and ask it."""
    _forget_modules(folder.parents[1])
    sys.modules["__main__"] = ModuleType("__main__")  # the shell puts the cells' names there
    spec = importlib.util.spec_from_file_location("app", folder / "app.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["app"] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        module.app.open_resources()
        built = compared_resources(here)
        there = app_state(module.app, vars(module), folder, built=built)
        problem = state_difference(here, there)
        if problem is not None:
            seen.error_type, seen.error = "ExportError", problem
            return
        seen.there = _answers(module.app, notebook.requests)
    except Exception as error:
        seen.broken = f"{type(error).__name__}: {error}"
    finally:
        close_stores(vars(module))
        del sys.modules["app"]


def _answers(app: Any, asks: Sequence[Ask]) -> list[Answer]:
    with TestClient(app, raise_server_exceptions=False) as client:
        return [_answer(client, ask) for ask in asks]


def _answer(client: TestClient, ask: Ask) -> Answer:
    headers = {"content-type": "application/json"} if ask.body else {}
    response = client.request(ask.method, ask.target, content=ask.body or None, headers=headers)
    return Answer.read(response.status_code, response.content, response.headers["content-type"])


@contextmanager
def _world(place: Path) -> Iterator[pytest.MonkeyPatch]:
    """Enter the project with a home of its own; put back what cells may change in the process."""
    environ, states = dict(os.environ), (random.getstate(), np.random.get_state())  # noqa: NPY002
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(decimal.localcontext())
        stack.enter_context(np.errstate())
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        warnings.simplefilter("ignore")
        patch.chdir(place / "project")
        patch.setenv("HOME", str(place / "home"))
        patch.syspath_prepend(str(place / "project"))
        # files that depend on no notebook, and take most of the time
        patch.setattr(writer, "write_wheel", _copy_wheel, raising=False)
        patch.setattr(writer, "requirements", lambda *parts, **options: "", raising=False)
        try:
            yield patch
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            for name in os.environ.keys() - environ.keys():  # by `%env`
                del os.environ[name]
            _forget_modules(place)


@contextmanager
def _shell(place: Path, patch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    main = sys.modules["__main__"]
    gc.freeze()  # the shell collects garbage at its end, which takes 0.1 s among all of pytest
    patch.setenv("IPYTHONDIR", str(place / "ipython"))
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    try:
        yield shell
    finally:
        sys.modules["__main__"] = main
        InteractiveShell.clear_instance()
        atexit.unregister(shell.atexit_operations)
        shell.atexit_operations()
        gc.unfreeze()


def _forget_modules(place: Path) -> None:
    """Remove the modules from below `place`, which another process would import itself."""
    importlib.invalidate_caches()
    for name, module in list(sys.modules.items()):
        if any(path.startswith(str(place)) for path in _places(module)):
            del sys.modules[name]


def _places(module: ModuleType) -> list[str]:
    file = getattr(module, "__file__", None)
    return [file] if file else [str(path) for path in getattr(module, "__path__", ())]


_wheels: list[Path] = []


def _copy_wheel(folder: Path) -> Path:
    if not _wheels:
        place = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, place)
        _wheels.append(write_wheel(place))
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(_wheels[0], folder))
