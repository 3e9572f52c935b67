"""OpenedApp: an exported folder opened in a session, whose `app.py` ran like a cell."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import finalize

from conduit_lab.core.errors import ExportError
from conduit_lab.core.paths import find_root
from conduit_lab.core.views import figures
from conduit_lab.core.views.pieces import Line
from conduit_lab.export.assets import OWN_FILES
from conduit_lab.export.cell_run import CellRun
from conduit_lab.export.environment_keys import ENVIRONMENT_FILE
from conduit_lab.export.manifest import Manifest, named_places
from conduit_lab.export.replay import example_lines
from conduit_lab.notebook import history
from conduit_lab.notebook.opened_modules import import_from
from conduit_lab.serving.app import App
from conduit_lab.serving.recorded import Example, UnopenedStore
from conduit_lab.serving.replaceable import replaced

if TYPE_CHECKING:
    from conduit_lab.notebook.lab import Lab

_log = logging.getLogger("conduit_lab")


class OpenedApp:
    """An export opened in a session: its `folder`, and the `names` in which its app lives.

    `stores` is a folder with copies of its stores: writes by the session do not change the export.
    Relative paths of new exports are resolved against `base`. `cells` is the source that ran.
    """

    def __init__(self, folder: Path, names: dict[str, Any] | None) -> None:
        self.folder, self.base = folder, find_root()
        self.manifest = Manifest.required(folder)
        self.changed = self.manifest.changed(folder)
        found = history.namespace() if names is None else names
        self.names = _new_module(folder) if found is None else found
        self.names.setdefault("__name__", "app")
        self.cells: list[CellRun] = []
        self.stores = Path(tempfile.mkdtemp(prefix="conduit-lab-"))
        self._end = finalize(self, _remove, self.stores, os.getpid())

    def run(self, kind: type[Lab]) -> Lab:
        """Run `app.py`, creating its `App` as a lab of this `kind`, and return the lab."""
        try:
            _import_own_modules(self.folder, self.manifest)
            self._copy_stores()
            history.record_cells()
            with replaced(App, partial(self._new, kind)):
                self._run_source()
            lab = self.names.get("app")
            if not isinstance(lab, kind):
                raise ExportError(f"{self.folder / 'app.py'} expected a last line app = lab")
        except BaseException:
            self._end()
            raise
        self._restore_calls(lab)
        self._report(lab)
        return lab

    def _new(self, kind: type[Lab]) -> Lab:
        lab = object.__new__(kind)
        lab.opened = self
        return lab

    def _run_source(self) -> None:
        place = self.folder / "app.py"
        source = place.read_text("utf-8")
        try:
            with _named(self.names, place):
                exec(compile(source, str(place), "exec", dont_inherit=True), self.names)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == str(place)]
            at = f", line {lines[0]}" if lines else ""
            keys = self.folder / ENVIRONMENT_FILE
            mend = f"set the variables of {keys}, or fix it" if keys.exists() else "fix it"
            raise ExportError(f"{place}{at}: {type(error).__name__}: {error}: {mend}") from error
        self.cells = [CellRun(1, source, opened=True)]
        history.add_opened(source)

    def _copy_stores(self) -> None:
        """Copy the stores in their current state; a server may be writing to them."""
        for place in self.folder.glob("indexes/*.sqlite"):
            copy = self.stores / "indexes" / place.name
            copy.parent.mkdir(exist_ok=True)
            is_open = Path(f"{place}-wal").exists()
            options = "mode=ro" if is_open else "mode=ro&immutable=1"
            url = f"{place.as_uri()}?{options}"
            with (
                closing(sqlite3.connect(url, uri=True)) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)

    def _restore_calls(self, lab: Lab) -> None:
        """Restore the recorded calls of the export as the lab's examples."""
        versions = {name: store.version for name, store in lab.stores.items()}
        for line, found in example_lines(self.folder):
            for endpoint in lab.endpoints:
                if (endpoint.method, endpoint.path) == (found.method, found.path):
                    endpoint.varies |= found.varies
                    lab.restore_call(endpoint, line, partial(self._example, lab, line, versions))

    def _example(self, lab: Lab, line: str, versions: dict[str, int]) -> Example:
        """Return the example of a line with the stores and files that it used."""
        record, example = json.loads(line), Example.from_json(line)
        example.files = [self.folder / place for place in record.get("files", ())]
        for name in record.get("stores", ()):
            store = lab.stores.get(name)
            if store is not None:
                example.stores.append((store, versions.get(name, store.version)))
            elif (place := self.folder / "indexes" / f"{name}.sqlite").is_file():
                example.stores.append((UnopenedStore(name, place), 0))
        return example

    def _report(self, lab: Lab) -> None:
        parts = [
            (lab.endpoints, "endpoint"), (lab.models, "model"), (lab.stores, "store"),
            (lab.examples, "recorded call"),
        ]  # fmt: skip
        counts = ", ".join(figures.plural(len(part), noun) for part, noun in parts if len(part))
        history.publish(Line(f"Lab {lab.name!r} is open with {counts}", "quiet"))
        if self.changed:
            text = f"{self.folder.name} was changed after its export: {named_places(self.changed)}"
            history.publish(Line(f"△ {text}"))
            if history.namespace() is None:
                _log.warning("%s", text)


def _new_module(folder: Path) -> dict[str, Any]:
    """Return the namespace of a new module, registered so that classes and annotations find it."""
    name = "opened_" + "".join(c if c.isalnum() else "_" for c in folder.name)
    sys.modules[name] = module = ModuleType(name)
    return vars(module)


def _import_own_modules(folder: Path, manifest: Manifest) -> None:
    """Make the export's modules importable from its folder in their current state."""
    tops = {
        place.partition("/")[0].removesuffix(".py")
        for place in manifest.digests
        if place.endswith(".py") and place not in OWN_FILES
    }
    for name in list(sys.modules):
        top = name.partition(".")[0]
        if top not in tops:
            continue
        file = getattr(sys.modules[top], "__file__", None) or ""
        if file and not Path(file).is_relative_to(folder):
            raise ExportError(
                f"{top} was imported from {file}, but {folder.name} has a module with that name: "
                "restart the kernel, and open the export before importing it"
            )
    for name in [each for each in sys.modules if each.partition(".")[0] in tops]:
        del sys.modules[name]
    if tops:
        import_from(str(folder))


@contextmanager
def _named(names: dict[str, Any], place: Path) -> Iterator[None]:
    """Set `__file__` while `app.py` runs; processes started by a session must not run it."""
    before = names.get("__file__")
    names["__file__"] = str(place)
    try:
        yield
    finally:
        del names["__file__"]
        if before is not None:
            names["__file__"] = before


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not in a forked child: the parent uses it
        shutil.rmtree(folder, ignore_errors=True)
