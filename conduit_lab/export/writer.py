"""Writer: write an exported folder beside its target, prove it, then move it there."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from functools import partial
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
from conduit_lab.export.deployment.deployment_files import deployment_files
from conduit_lab.export.environment_keys import (
    ENVIRONMENT_FILE,
    environment_file,
    environment_keys,
)
from conduit_lab.export.export_plan import ExportPlan
from conduit_lab.export.export_result import Export
from conduit_lab.export.graph_facts import record_graphs
from conduit_lab.export.manifest import MANIFEST, Manifest, file_digests, sha256
from conduit_lab.export.part import Selection, chosen_endpoints
from conduit_lab.export.proof import ProofKind, ProofRun, WrongAnswer, check_kind, prove
from conduit_lab.export.proof_picture import proof_picture
from conduit_lab.export.quantized import OptimizeKind, Quantized, QuantizedModel, check_optimize
from conduit_lab.export.readme import readme
from conduit_lab.export.requirements import CODES, PARSER, pinned_version, requirements
from conduit_lab.export.secret_files import check_files
from conduit_lab.export.session_answers import SessionAnswers, asked_again, refreshed
from conduit_lab.export.state.compared import app_state, reached_models
from conduit_lab.export.state.saved import save_state
from conduit_lab.export.state.walk import MAX_LINES
from conduit_lab.export.target import replaced_folder
from conduit_lab.export.wheel import write_wheel
from conduit_lab.models.file_model import FileModel
from conduit_lab.models.load import loose_remote_models
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.recorded import Example

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
    optimize: OptimizeKind | None = None,
) -> Export:
    """Write `app` as a self-contained folder, and prove that its answers match the `examples`.

    `statements` is the source of the session and `namespace` its names, by default those of the
    module that defines the endpoints. `endpoints` are paths, names or functions: only these are
    exported, with their dependencies. A relative `folder` starts at the app's root; it must be new,
    empty, or an older export, which is replaced as a whole at the end. The `proof` runs in another
    process of this Python, in a new environment with its requirements ("venv"), or not at all
    (None).

    With `optimize="int8"` the exported models are quantized to int8, and the proof decides: labels,
    text, order and integers must be equal, floats within 0.05, vectors within a fifth of their
    length. A model whose int8 answers differ by more stays in float32. Raises `ExportError` for a
    folder that contains anything else, an endpoint without an example, an object that cannot be
    exported (with the chain of names that needs it), and an answer that differs.
    """
    check_kind(proof)
    check_optimize(optimize, proof)
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
            quantized = None if optimize is None else Quantized(app, closure, made)
            if proof is None:
                proved = ProofRun()
                with SessionAnswers(app, closure.endpoints, closure.warnings) as session:
                    examples = [refreshed(session, example) for example in examples]
                _write_examples(made, examples, app.root)
                check_files(made)
            else:
                job.next_phase("proving")
                cells = [
                    each if isinstance(each, str) else each.source for each in statements or ()
                ]
                proved = _prove(app, closure, made, examples, proof, cells, quantized)
            models = [] if quantized is None else quantized.models
            job.next_phase("hashing files")
            _write_manifest(closure, made, proved, models)
        plan = ExportPlan.of(closure)
        return Export(target, proved.outcomes, closure.warnings, proved.objects, plan, models)


def check_target(target: Path) -> None:
    """Raise `ExportError` if the folder contains anything but an export."""
    if target.is_file() or (
        target.is_dir() and any(target.iterdir()) and Manifest.of(target) is None
    ):
        raise ExportError(
            f"{target} expected a new, empty or exported folder, got one with other files: "
            "choose another one, or empty it yourself"
        )


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
    record_graphs(closure.assets.graphs.values(), folder)
    write_wheel(folder / "lib")
    packages = _requirements(app, closure, folder, reads_graphs=True)
    is_apart = bool(loose_remote_models) or any(each.remote for each in app.models)
    models = _reached_models(app, closure) if is_apart else []
    codes = pinned_version(packages, [CODES]) is not None
    deployment = Deployment.of(app, folder, pinned_version(packages), models, codes=codes)
    texts = {
        "app.py": templates.app_source(app, closure),
        "requirements.txt": packages,
        "test_replay.py": templates.TEST_REPLAY,
        "README.md": readme(app, examples, deployment),
        **deployment_files(deployment),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    if keys := environment_keys(folder):
        (folder / ENVIRONMENT_FILE).write_text(environment_file(keys), "utf-8")
        closure.warnings.append(
            f"the app reads {', '.join(keys)} from its environment: set {_them(keys)} where it "
            f"runs ({ENVIRONMENT_FILE} lists the names)"
        )


def _requirements(app: App, closure: Closure, folder: Path, *, reads_graphs: bool) -> str:
    return requirements(
        next((folder / "lib").glob("*.whl")).name,
        closure.packages.distributions,
        closure.assets.places,
        app.spoken,
        large_stores=closure.assets.large_stores,
        takes_arrays=any(each.signature.arrays for each in closure.endpoints),
        reads_graphs=reads_graphs,
    )


def _reached_models(app: App, closure: Closure) -> list[FileModel[Any]]:
    """Return the models that the exported endpoints reach, each once."""
    names = closure.namespace
    found = {
        id(model): model
        for endpoint in closure.endpoints
        for model in reached_models(endpoint, names.names, app.root, names.is_builtin)
    }
    return list(found.values())


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _write_examples(folder: Path, examples: Sequence[Example], root: Path) -> None:
    text = "".join(f"{example.to_json(root)}\n" for example in examples)
    (folder / "examples.jsonl").write_text(text, "utf-8")


def _prove(
    app: App,
    closure: Closure,
    folder: Path,
    examples: Sequence[Example],
    kind: ProofKind,
    cells: Sequence[str],
    quantized: Quantized | None = None,
) -> ProofRun:
    """Ask the session again, write its answers and its state, and prove the folder by them.

    The state comes first: if the session itself makes the calls, they may change it. A `quantized`
    model whose answers differ goes back to float32, and the proof starts over.
    """
    names = closure.namespace
    here = app_state(app, names.names, app.root, names.is_builtin, closure.endpoints, cells)
    if len(here) >= MAX_LINES:
        closure.warnings.append(
            f"the endpoints reach more than {MAX_LINES:,} objects; only these were compared"
        )
    with SessionAnswers(app, closure.endpoints, closure.warnings) as session:
        answered = asked_again(session, examples, closure.warnings)
        while True:
            lines, calls = here, answered
            if quantized is not None:
                lines, calls = quantized.lines(here), quantized.examples(answered)
                quantized.record_facts()
            save_state(folder, lines)
            _write_examples(folder, calls, app.root)
            check_files(folder)
            start = partial(prove, app, folder, calls, lines, session, kind, cells)
            try:
                if closure.assets.graphs:
                    proved = _prove_without_parser(app, closure, folder, start)
                else:
                    proved = start(None)
            except WrongAnswer as error:
                if quantized is None or not quantized.take_back(error.outcome):
                    raise
                continue
            if quantized is not None:
                quantized.measure(proved.outcomes)
            return proved


def _prove_without_parser(
    app: App, closure: Closure, folder: Path, start: Callable[[set[str] | None], ProofRun]
) -> ProofRun:
    """Prove an app without the onnx package: `graphs.json` has the facts of its graphs.

    onnx and ml-dtypes take 48 MB; only an app that tries to import onnx requires them.
    """
    needed, missed = folder / "requirements.txt", set[str]()
    needed.write_text(_requirements(app, closure, folder, reads_graphs=False), "utf-8")
    try:
        proved = start(missed)
        if PARSER not in missed:
            return proved
    except ExportError:
        if PARSER not in missed:
            raise
    needed.write_text(_requirements(app, closure, folder, reads_graphs=True), "utf-8")
    return start(None)


def _write_manifest(
    closure: Closure, folder: Path, proved: ProofRun, quantized: Sequence[QuantizedModel]
) -> None:
    """Write the image of the proof, and the manifest with the digest of every other file."""
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
        notes = [str(model) for model in quantized]
        picture = proof_picture(name, proved.outcomes, proved.objects, versions, total, notes)
        (folder / _PICTURE).write_text(picture, "utf-8")
        digests[_PICTURE] = sha256(folder / _PICTURE)
    manifest = {
        "conduit_lab": own,
        "name": name,
        "python": platform.python_version(),
        "endpoints": [f"{e.method} {e.path}" for e in closure.endpoints],
        "replayed": len(proved.outcomes),
        **({"optimized": [model.to_json() for model in quantized]} if quantized else {}),
        "sha256": digests,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
