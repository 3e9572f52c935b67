"""Writer: an exported folder, made beside its place, proved, and only then moved there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.core.paths import resolve
from conduit_lab.core.progress import STEP, progress
from conduit_lab.core.streams.loop import package_loop
from conduit_lab.core.text import clip
from conduit_lab.export import replay as proof
from conduit_lab.export import templates
from conduit_lab.export.cell_run import CellRun
from conduit_lab.export.closure import Closure
from conduit_lab.export.export_plan import ExportPlan
from conduit_lab.export.export_result import Export
from conduit_lab.export.part import Selection, chosen_endpoints
from conduit_lab.export.requirements import requirements
from conduit_lab.export.secret import check_files
from conduit_lab.export.state.compared import app_state, state_difference
from conduit_lab.export.state.walk import MAX_LINES, StateLine
from conduit_lab.export.target import replaced_folder
from conduit_lab.export.wheel import write_wheel
from conduit_lab.serving import codec
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.recorded import Example
from conduit_lab.serving.request import Request

_MANIFEST = "manifest.json"
_STEPS = 4  # reading the session, writing, replaying, hashing
_MAX_PAYLOAD_CHARACTERS = 200  # in an error


def export_app(
    app: App,
    folder: str | Path,
    *,
    examples: Sequence[Example],
    statements: Sequence[CellRun | str] | None = None,
    namespace: dict[str, Any] | None = None,
    endpoints: Selection | None = None,
    replay: bool = True,
) -> Export:
    """Write `app` as a folder that runs by itself, and prove that it answers as the `examples` say.

    `statements` is the source of the session and `namespace` its names, by default those of the
    module that the endpoints live in. `endpoints` are paths, names or functions: only these are
    exported, with what they reach. A relative `folder` starts at the app's root; it must be new,
    empty, or an older export, which is replaced as a whole at the end. Raises `ExportError` for a
    folder that holds something else, an endpoint without an example, an object that cannot be
    exported (with the chain of names that needs it), and a different answer.
    """
    target = resolve(folder, app.root)
    _check_target(target)
    chosen = chosen_endpoints(app, endpoints)
    examples = _of_endpoints(examples, chosen)
    with progress(_STEPS if replay else _STEPS - 1, STEP, f"export {target.name}") as job:
        job.phase = "reading the session"
        closure = Closure(app, statements, namespace, endpoints=chosen, examples=examples)
        order = [(each.method, each.path) for each in closure.endpoints]
        examples.sort(key=lambda example: order.index((example.method, example.path)))
        current = [_current(app, example) for example in examples]
        with replaced_folder(target) as made:
            job.next_phase("writing files")
            _write(app, closure, made, current)
            if replay:
                job.next_phase("replaying")
            outcomes, objects = _prove(app, closure, made) if replay else ([], 0)
            job.next_phase("hashing files")
            _write_manifest(closure, made, len(outcomes))
        return Export(target, outcomes, closure.warnings, objects, ExportPlan.of(closure))


def _check_target(target: Path) -> None:
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not _is_export(target)):
        raise ExportError(
            f"{target} expected a new, empty or exported folder, and holds something that is not "
            "an export: choose another one, or empty it yourself"
        )


def _is_export(folder: Path) -> bool:
    """Return whether an export was written here; other tools have files of that name too."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and {"conduit_lab", "sha256"} <= manifest.keys()


def _of_endpoints(
    examples: Sequence[Example], endpoints: Sequence[Endpoint[..., Any]]
) -> list[Example]:
    """Return the examples of these endpoints; each must have one."""
    served = {(e.method, e.path) for e in endpoints}
    found = [each for each in examples if (each.method, each.path) in served]
    tried = {(example.method, example.path) for example in found}
    missing = [e for e in endpoints if (e.method, e.path) not in tried]
    if missing:
        names = ", ".join(f"{e.method} {e.path} ({e.name})" for e in missing)
        raise ExportError(
            f"no recorded call of {names}: call each once, so that the export can be proved"
        )
    return found


def _current(app: App, example: Example) -> Example:
    """Return the example with the session's answer now, if a store that it read has changed."""
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


def _write(app: App, closure: Closure, folder: Path, examples: Sequence[Example]) -> None:
    closure.assets.write(folder)
    wheel = write_wheel(folder / "lib")
    texts = {
        "app.py": templates.app_source(app, closure),
        "requirements.txt": requirements(wheel.name, closure.packages.distributions, app.spoken),
        "examples.jsonl": "".join(f"{example.to_json()}\n" for example in examples),
        "test_replay.py": templates.TEST_REPLAY,
        "README.md": templates.readme(app, examples),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    check_files(folder)


def _prove(app: App, closure: Closure, folder: Path) -> tuple[list[proof.Outcome], int]:
    """Compare the state and replay, with the wheel in `lib/` in front of everything installed.

    Returns the outcomes and the number of compared objects. Raises `ExportError` for the first
    difference.
    """
    names = closure.namespace
    here = app_state(app, names.names, app.root, names.is_builtin, closure.endpoints)
    if len(here) >= MAX_LINES:
        closure.warnings.append(
            f"the endpoints reach more than {MAX_LINES:,} objects; only these were compared"
        )

    def compare(there: list[StateLine]) -> None:
        if (problem := state_difference(here, there)) is not None:
            raise ExportError(
                f"the exported app is not this session. {problem}. Nothing was written"
            )

    wheel = next((folder / "lib").glob("*.whl"))
    environ = {**os.environ, "PYTHONPATH": str(wheel)}
    outcomes = proof.replay(folder, environ=environ, on_state=compare)
    for outcome in outcomes:
        if outcome.problem is not None:
            payload = clip(json.dumps(outcome.example.payload), _MAX_PAYLOAD_CHARACTERS)
            raise ExportError(
                f"the exported app answers {outcome.endpoint} differently: {outcome.problem}. "
                f"The request was {payload}. Nothing was written"
            )
    return outcomes, len(here)


def _write_manifest(closure: Closure, folder: Path, replayed: int) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "conduit_lab": next((folder / "lib").glob("*.whl")).name.split("-")[1],
        "name": closure.namespace.app.name,
        "python": platform.python_version(),
        "endpoints": [f"{e.method} {e.path}" for e in closure.endpoints],
        "replayed": replayed,
        "sha256": {path.relative_to(folder).as_posix(): _sha256(path) for path in files},
    }
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
