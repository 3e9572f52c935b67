"""Writer: an exported folder, made beside its place, proved, and only then moved there."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.core.paths import resolve
from conduit_lab.core.progress import STEP, progress
from conduit_lab.export import templates
from conduit_lab.export.cell_run import CellRun
from conduit_lab.export.checks import check_source
from conduit_lab.export.closure import Closure
from conduit_lab.export.deployment.deployment import Deployment
from conduit_lab.export.environment_keys import (
    ENVIRONMENT_FILE,
    environment_file,
    environment_keys,
)
from conduit_lab.export.export_plan import ExportPlan
from conduit_lab.export.export_result import Export
from conduit_lab.export.part import Selection, chosen_endpoints
from conduit_lab.export.proof import ProofKind, ProofRun, check_kind, prove
from conduit_lab.export.proof_picture import proof_picture
from conduit_lab.export.readme import readme
from conduit_lab.export.requirements import pinned_version, requirements
from conduit_lab.export.secret import check_files
from conduit_lab.export.session_answers import asked_again, refreshed
from conduit_lab.export.state.compared import app_state
from conduit_lab.export.state.saved import save_state
from conduit_lab.export.state.walk import MAX_LINES
from conduit_lab.export.target import replaced_folder
from conduit_lab.export.wheel import write_wheel
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.recorded import Example

MANIFEST = "manifest.json"
_PICTURE = "proof.svg"
_STEPS = 4  # reading the session, writing, proving, hashing


def export_app(
    app: App,
    folder: str | Path,
    *,
    examples: Sequence[Example],
    statements: Sequence[CellRun | str] | None = None,
    namespace: dict[str, Any] | None = None,
    endpoints: Selection | None = None,
    proof: ProofKind | None = "process",
) -> Export:
    """Write `app` as a folder that runs by itself, and prove that it answers as the `examples` say.

    `statements` is the source of the session and `namespace` its names, by default those of the
    module that the endpoints live in. `endpoints` are paths, names or functions: only these are
    exported, with what they reach. A relative `folder` starts at the app's root; it must be new,
    empty, or an older export, which is replaced as a whole at the end. The `proof` runs in a
    process of this Python, in a new environment of its requirements ("venv"), or not at all (None).
    Raises `ExportError` for a folder that holds something else, an endpoint without an example, an
    object that cannot be exported (with the chain of names that needs it), and a different answer.
    """
    check_kind(proof)
    target = resolve(folder, app.root)
    check_target(target)
    chosen = chosen_endpoints(app, endpoints)
    examples = examples_of(examples, chosen)
    with progress(_STEPS if proof else _STEPS - 1, STEP, f"export {target.name}") as job:
        job.phase = "reading the session"
        closure = Closure(app, statements, namespace, endpoints=chosen, examples=examples)
        order = [(each.method, each.path) for each in closure.endpoints]
        examples.sort(key=lambda example: order.index((example.method, example.path)))
        closure.warnings += check_source(app, closure)
        with replaced_folder(target) as made:
            job.next_phase("writing files")
            _write(app, closure, made, examples)
            if proof is None:
                proved = ProofRun()
                _write_examples(made, [refreshed(app, example) for example in examples])
                check_files(made)
            else:
                job.next_phase("proving")
                cells = [
                    each if isinstance(each, str) else each.source for each in statements or ()
                ]
                proved = _prove(app, closure, made, examples, proof, cells)
            job.next_phase("hashing files")
            _write_manifest(closure, made, proved)
        plan = ExportPlan.of(closure)
        return Export(target, proved.outcomes, closure.warnings, proved.objects, plan)


def check_target(target: Path) -> None:
    """Raise `ExportError` for a folder that holds something that is not an export."""
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not _is_export(target)):
        raise ExportError(
            f"{target} expected a new, empty or exported folder, and holds something that is not "
            "an export: choose another one, or empty it yourself"
        )


def _is_export(folder: Path) -> bool:
    """Return whether an export was written here; other tools have files of that name too."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and {"conduit_lab", "sha256"} <= manifest.keys()


def examples_of(
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


def _write(app: App, closure: Closure, folder: Path, examples: Sequence[Example]) -> None:
    closure.assets.write(folder)
    packages = requirements(
        write_wheel(folder / "lib").name,
        closure.packages.distributions,
        closure.assets.places,
        app.spoken,
        large_stores=closure.assets.large_stores,
    )
    deployment = Deployment.of(app, folder, pinned_version(packages))
    texts = {
        "app.py": templates.app_source(app, closure),
        "requirements.txt": packages,
        "test_replay.py": templates.TEST_REPLAY,
        "README.md": readme(app, examples, deployment),
        **deployment.files(),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    if keys := environment_keys(folder):
        (folder / ENVIRONMENT_FILE).write_text(environment_file(keys), "utf-8")
        closure.warnings.append(
            f"the app reads {', '.join(keys)} from its environment: set {_them(keys)} where it "
            f"runs ({ENVIRONMENT_FILE} lists the names)"
        )


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _write_examples(folder: Path, examples: Sequence[Example]) -> None:
    text = "".join(f"{example.to_json()}\n" for example in examples)
    (folder / "examples.jsonl").write_text(text, "utf-8")


def _prove(
    app: App,
    closure: Closure,
    folder: Path,
    examples: Sequence[Example],
    kind: ProofKind,
    cells: Sequence[str],
) -> ProofRun:
    """Ask the session again, write its answers and its state, and prove the folder by them.

    The state comes first: a call of the session may change it, as the same call does there.
    """
    names = closure.namespace
    here = app_state(app, names.names, app.root, names.is_builtin, closure.endpoints)
    if len(here) >= MAX_LINES:
        closure.warnings.append(
            f"the endpoints reach more than {MAX_LINES:,} objects; only these were compared"
        )
    save_state(folder, here)
    answered = asked_again(app, examples, closure.warnings)
    _write_examples(folder, answered)
    check_files(folder)
    return prove(app, folder, answered, here, kind, cells)


def _write_manifest(closure: Closure, folder: Path, proved: ProofRun) -> None:
    """Write the picture of the proof, and the manifest with the digest of every other file."""
    digests = file_digests(folder)
    name = closure.namespace.app.name
    own = next((folder / "lib").glob("*.whl")).name.split("-")[1]
    if proved.outcomes:
        packages = (folder / "requirements.txt").read_text("utf-8")
        versions = {"Python": platform.python_version(), "conduit_lab": own}
        for package in ("numpy", "onnxruntime-gpu", "onnxruntime"):
            if version := pinned_version(packages, [package]):
                versions[package] = version
        total = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
        picture = proof_picture(name, proved.outcomes, proved.objects, versions, total)
        (folder / _PICTURE).write_text(picture, "utf-8")
        digests[_PICTURE] = _sha256(folder / _PICTURE)
    manifest = {
        "conduit_lab": own,
        "name": name,
        "python": platform.python_version(),
        "endpoints": [f"{e.method} {e.path}" for e in closure.endpoints],
        "replayed": len(proved.outcomes),
        "sha256": digests,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `folder`, by its place."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
