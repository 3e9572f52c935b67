"""Writing the export: a folder made beside its place, proved, and only then moved there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.core.paths import display, resolve
from conduit_lab.core.streams.loop import package_loop
from conduit_lab.core.views import figures, html
from conduit_lab.export import replay as proof
from conduit_lab.export import templates
from conduit_lab.export.closure import Closure
from conduit_lab.export.requirements import requirements
from conduit_lab.export.wheel import write_wheel
from conduit_lab.serving import codec
from conduit_lab.serving.app import App
from conduit_lab.serving.recorded import Example
from conduit_lab.serving.request import Request

MANIFEST = "manifest.json"


class Export:
    """A finished export: `folder`, the `outcomes` of its replay, and `warnings`."""

    def __init__(
        self, folder: Path, outcomes: Sequence[proof.Outcome], warnings: Sequence[str]
    ) -> None:
        self.folder = folder
        self.outcomes = tuple(outcomes)
        self.warnings = tuple(warnings)

    def _rows(self) -> list[tuple[str, str, str]]:
        return [
            (
                f"{o.example.method} {o.example.path}",
                "answered" if o.example.writes else "same",
                figures.seconds(o.seconds),
            )
            for o in self.outcomes
        ]

    def __repr__(self) -> str:
        head = f"<Export {display(self.folder)} · {len(self.outcomes)} calls replayed>"
        table = html.columns(("endpoint", "replay", "time"), self._rows(), numeric=("time",))
        return "\n".join([head, table, *self.warnings])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        facts = [f"{len(self.outcomes)} calls replayed in a fresh process"]
        shown = html.header("Export", display(self.folder), facts)
        shown += html.table(("endpoint", "replay", "time"), self._rows(), numeric=("time",))
        return html.bundle(repr(self), shown + "".join(map(html.text, self.warnings)))


def export_app(
    app: App,
    folder: str | Path,
    *,
    examples: Sequence[Example],
    statements: list[str] | None = None,
    namespace: dict[str, Any] | None = None,
    replay: bool = True,
) -> Export:
    """Write `app` as a folder that runs by itself, and prove that it answers the `examples` as they
    say.

    `statements` is the source of the session and `namespace` its names, by default those of the
    module that the endpoints live in. A relative `folder` starts at the app's root; it must be new, empty, or an older export, which is
    replaced as a whole at the end. Raises `ExportError`: for a folder that holds something else, an
    endpoint without an example, anything that cannot be exported (with the chain of names that
    needs it), and a different answer.
    """
    target = resolve(folder, app.root)
    _check_target(target)
    _check_examples(app, examples)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as place:
        made = Path(place) / "export"
        made.mkdir()
        closure = _write(app, made, [_fresh(app, e) for e in examples], statements, namespace)
        outcomes = _prove(made) if replay else []
        _write_manifest(app, made, len(outcomes))
        _move(made, target, Path(place) / "old")
    return Export(target, outcomes, closure.warnings)


def _check_target(target: Path) -> None:
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not _is_export(target)):
        raise ExportError(
            f"{target} holds something that is not an export: choose another folder, or empty it yourself"
        )


def _is_export(folder: Path) -> bool:
    """Whether an export was written here; other tools have files of that name too."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and {"conduit_lab", "sha256"} <= manifest.keys()


def _check_examples(app: App, examples: Sequence[Example]) -> None:
    tried = {(example.method, example.path) for example in examples}
    missing = [
        f"{e.method} {e.path} ({e.name})" for e in app.endpoints if (e.method, e.path) not in tried
    ]
    if missing:
        raise ExportError(
            f"no recorded call of {', '.join(missing)}: call each once, so that the export can be proved"
        )


def _fresh(app: App, example: Example) -> Example:
    """Return the example as the session answers it now, where a store it reads has changed since."""
    if example.writes or not example.stale:
        return example
    endpoint = next(
        e for e in app.endpoints if (e.method, e.path) == (example.method, example.path)
    )
    request = Request(codec.dumps(example.payload), path_params=example.path_params)
    call = endpoint.signature.from_request(request)
    if endpoint.is_async:  # on the package's loop: a notebook's own is busy with the export
        result = asyncio.run_coroutine_threadsafe(endpoint.ainvoke(call), package_loop()).result()
    else:
        result = endpoint.invoke(call)
    if example.shape == "stream":
        result.result()
        result = result.kept
    return replace(example, answer=codec.loads(codec.dumps(result)))


def _write(
    app: App,
    folder: Path,
    examples: Sequence[Example],
    statements: list[str] | None,
    namespace: dict[str, Any] | None,
) -> Closure:
    closure = Closure(app, folder, statements, namespace)
    for example in examples:
        for path in example.files:
            closure.add_loaded(path, f"a recorded call of {example.method} {example.path}")
        for store, _ in example.stores:
            if store in app.stores.values() and store.url is None:
                closure.add_store(store, store.name)
    wheel = write_wheel(folder / "lib")
    (folder / "app.py").write_text(templates.app_source(app, closure), "utf-8")
    (folder / "requirements.txt").write_text(
        requirements(wheel.name, closure.packages.distributions), "utf-8"
    )
    (folder / "examples.jsonl").write_text(
        "".join(f"{example.to_json()}\n" for example in examples), "utf-8"
    )
    (folder / "test_replay.py").write_text(templates.TEST_REPLAY, "utf-8")
    (folder / "README.md").write_text(templates.readme(app, examples), "utf-8")
    return closure


def _prove(folder: Path) -> list[proof.Outcome]:
    """Replay with the wheel in `lib/` before anything that is installed; `ExportError` for the first difference."""
    wheel = next((folder / "lib").glob("*.whl"))
    outcomes = proof.replay(folder, environ={**os.environ, "PYTHONPATH": str(wheel)})
    for outcome in outcomes:
        if outcome.problem is not None:
            example = outcome.example
            raise ExportError(
                f"the exported app answers {example.method} {example.path} differently: {outcome.problem}. "
                f"Asked: {json.dumps(example.payload)[:200]}. Nothing was written"
            )
    return outcomes


def _write_manifest(app: App, folder: Path, replayed: int) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "conduit_lab": next((folder / "lib").glob("*.whl")).name.split("-")[1],
        "name": app.name,
        "python": platform.python_version(),
        "endpoints": [f"{e.method} {e.path}" for e in app.endpoints],
        "replayed": replayed,
        "sha256": {path.relative_to(folder).as_posix(): _sha256(path) for path in files},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _move(made: Path, target: Path, old: Path) -> None:
    """Put the new folder in the place of the old one; the old one comes back if that fails."""
    if target.exists():
        shutil.move(target, old)
    try:
        made.rename(target)
    except OSError:
        if old.exists():
            shutil.move(old, target)
        raise
