"""web_writer: write an app as a static page beside its target, prove it, then move it there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.core.paths import resolve
from conduit_lab.core.progress import STEP, progress
from conduit_lab.core.text import clip
from conduit_lab.core.version import __version__
from conduit_lab.export.agreement import difference
from conduit_lab.export.manifest import MANIFEST, file_digests
from conduit_lab.export.part import Selection, chosen_endpoints
from conduit_lab.export.replay import Outcome, comparison, recorded_examples
from conduit_lab.export.secret_files import check_files
from conduit_lab.export.session_answers import SessionAnswers, asked_again
from conduit_lab.export.target import replaced_folder
from conduit_lab.export.web.browser import browser_answers, find_chromium
from conduit_lab.export.web.site import Site
from conduit_lab.export.web.tracer import page_path
from conduit_lab.export.web.web_export import WebExport
from conduit_lab.export.writer import check_target, examples_of
from conduit_lab.serving import codec
from conduit_lab.serving.app import App
from conduit_lab.serving.recorded import Example

_STEPS = 3  # reading the session, writing, proving
_MAX_SHOWN_CHARACTERS = 300  # of a request or answer quoted in an error


def export_web(
    app: App,
    folder: str | Path,
    *,
    examples: Sequence[Example],
    endpoints: Selection | None = None,
    proof: str | None = "process",
    runtime: str | Path | None = None,
) -> WebExport:
    """Write `app` as a static page, and prove in Chromium that its answers match the `examples`.

    `endpoints` are paths, names or functions: only these are exported. `runtime` is a folder with
    the npm package onnxruntime-web; by default npm downloads it once. Pass `proof=None` without
    Chromium, or for a page without recorded calls. Raises `ExportError` for an endpoint that cannot
    run in a browser, with the reason, and for an answer that differs.
    """
    if proof not in ("process", None):
        raise ExportError(
            f"the proof of a page runs in Chromium: proof= expected None, got {proof!r}"
        )
    target = resolve(folder, app.root)
    check_target(target)
    chosen = chosen_endpoints(app, endpoints)
    found = examples_of(examples, chosen)
    warnings: list[str] = []
    with progress(_STEPS if proof else _STEPS - 1, STEP, f"export {target.name}") as job:
        job.phase = "reading the session"
        site = Site.of(app, chosen)
        if proof is not None:
            find_chromium()  # fail before the work
            with SessionAnswers(app, chosen, warnings) as session:
                found = asked_again(session, found, warnings)
        with replaced_folder(target) as made:
            job.next_phase("writing files")
            site.write(made, runtime)
            lines = "".join(f"{example.to_json()}\n" for example in found)
            (made / "examples.jsonl").write_text(lines, "utf-8")
            check_files(made)
            outcomes: list[Outcome] = []
            if proof is not None:
                job.next_phase("proving in Chromium")
                outcomes = page_outcomes(made, found)
                for outcome in outcomes:
                    _check_same(outcome)
            manifest = {
                "conduit_lab": __version__,
                "name": app.name,
                "target": "web",
                "endpoints": [f"{e.method} {e.path}" for e in chosen],
                "replayed": len(outcomes),
                "sha256": file_digests(made),
            }
            (made / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    return WebExport(target, outcomes, warnings)


def is_page(folder: Path) -> bool:
    """Return whether a folder contains an exported page."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("target") == "web"


def replay_page(folder: Path) -> list[Outcome]:
    """Make each recorded call of an exported page in headless Chromium."""
    return page_outcomes(folder, recorded_examples(folder))


def page_outcomes(folder: Path, examples: Sequence[Example]) -> list[Outcome]:
    """Make each call in the page of `folder`, and compare its answer with the example's."""
    calls = [
        {
            "method": each.method,
            "path": page_path(each.path),
            "body": codec.dumps({} if each.payload is None else each.payload).decode(),
            "parameters": codec.dumps(each.path_params).decode(),
        }
        for each in examples
    ]
    answers = browser_answers(folder, calls)
    return [_outcome(*pair) for pair in zip(examples, answers, strict=True)]


def _outcome(example: Example, report: dict[str, Any]) -> Outcome:
    how = comparison(example)
    got, problem = None, report.get("error")
    if problem is None:
        got = json.loads(report["answer"])
        problem = difference(example.answer, got, how)
    return Outcome(example, problem, report["milliseconds"] / 1000, how, got)


def _check_same(outcome: Outcome) -> None:
    """Raise `ExportError` for an answer that differs, showing both."""
    if outcome.problem is None:
        return
    example = outcome.example
    sides = [("request", example.payload), ("this session", example.answer)]
    sides += [] if outcome.got is None else [("the page", outcome.got)]
    lines = [f"the page answers {outcome.endpoint} differently: {outcome.problem}."]
    lines += [f"  {name:<16} {_short(value)}" for name, value in sides]
    raise ExportError("\n".join([*lines, "Nothing was written"]))


def _short(value: Any) -> str:
    return clip(json.dumps(value, ensure_ascii=False), _MAX_SHOWN_CHARACTERS)
