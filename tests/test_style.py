"""The word list of `docs/style.md`, checked over code, documentation and notebooks."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.lint

ROOT = Path(__file__).parents[1]
EXEMPT = {"docs/style.md", "tests/test_style.py"}  # they quote the phrases

# Files that still hold a phrase. A file without one must go from here.
UNREVISED: set[str] = {
    "benchmarks/measure.py",
    "benchmarks/responsiveness.py",
    "benchmarks/streams.py",
    "conduit_lab/core/errors.py",
    "conduit_lab/core/spec.py",
    "conduit_lab/core/streams/media.py",
    "conduit_lab/core/streams/merge.py",
    "conduit_lab/core/streams/pushed.py",
    "conduit_lab/core/streams/reader.py",
    "conduit_lab/core/streams/stream.py",
    "conduit_lab/core/streams/wakeups.py",
    "conduit_lab/core/trace/recorder.py",
    "conduit_lab/core/views/view.py",
    "conduit_lab/export/closure.py",
    "conduit_lab/export/example.py",
    "conduit_lab/export/packages.py",
    "conduit_lab/export/requirements.py",
    "conduit_lab/export/statements.py",
    "conduit_lab/flow/ensemble.py",
    "conduit_lab/flow/fallback.py",
    "conduit_lab/flow/model_fusion.py",
    "conduit_lab/flow/packing.py",
    "conduit_lab/flow/rag.py",
    "conduit_lab/flow/sequential.py",
    "conduit_lab/flow/votes.py",
    "conduit_lab/models/__init__.py",
    "conduit_lab/models/benchmark.py",
    "conduit_lab/models/callable.py",
    "conduit_lab/models/config.py",
    "conduit_lab/models/file_model.py",
    "conduit_lab/models/generation/__init__.py",
    "conduit_lab/models/generation/budget.py",
    "conduit_lab/models/generation/chat.py",
    "conduit_lab/models/generation/chat_filters.py",
    "conduit_lab/models/generation/constraint.py",
    "conduit_lab/models/generation/decoder_folder.py",
    "conduit_lab/models/generation/drawing.py",
    "conduit_lab/models/generation/generator.py",
    "conduit_lab/models/generation/prompts.py",
    "conduit_lab/models/generation/result.py",
    "conduit_lab/models/generation/sampling.py",
    "conduit_lab/models/generation/scheduler.py",
    "conduit_lab/models/generation/templating.py",
    "conduit_lab/models/generation/text.py",
    "conduit_lab/models/graphs.py",
    "conduit_lab/models/inputs.py",
    "conduit_lab/models/load.py",
    "conduit_lab/models/model.py",
    "conduit_lab/models/prediction.py",
    "conduit_lab/models/registry.py",
    "conduit_lab/notebook/views/flusher.py",
    "conduit_lab/notebook/views/stream/view.py",
    "conduit_lab/runtime/batching/batcher.py",
    "conduit_lab/runtime/batching/joining.py",
    "conduit_lab/runtime/batching/waiting.py",
    "conduit_lab/runtime/checks/content.py",
    "conduit_lab/runtime/checks/damage.py",
    "conduit_lab/runtime/checks/graph.py",
    "conduit_lab/runtime/decoding/decoder.py",
    "conduit_lab/runtime/decoding/decoder_io.py",
    "conduit_lab/runtime/decoding/kv_cache.py",
    "conduit_lab/runtime/hardware/devices.py",
    "conduit_lab/runtime/hardware/machine.py",
    "conduit_lab/runtime/measuring/probe.py",
    "conduit_lab/runtime/measuring/timing.py",
    "conduit_lab/runtime/measuring/tuning.py",
    "conduit_lab/runtime/rewriting/derived_files.py",
    "conduit_lab/runtime/rewriting/graph_fusion.py",
    "conduit_lab/runtime/rows/dataflow.py",
    "conduit_lab/runtime/sessions/cache.py",
    "conduit_lab/runtime/sessions/deadline.py",
    "conduit_lab/runtime/sessions/npz.py",
    "conduit_lab/runtime/sessions/order.py",
    "conduit_lab/runtime/sessions/session.py",
    "conduit_lab/serving/app.py",
    "conduit_lab/serving/endpoint.py",
    "conduit_lab/serving/faces/events.py",
    "conduit_lab/serving/faces/json_face.py",
    "conduit_lab/serving/faces/resume.py",
    "conduit_lab/serving/run/process.py",
    "conduit_lab/vectors/backend.py",
    "conduit_lab/vectors/columns.py",
    "conduit_lab/vectors/conditions.py",
    "conduit_lab/vectors/disk/files.py",
    "conduit_lab/vectors/disk/livefile.py",
    "conduit_lab/vectors/disk/record.py",
    "conduit_lab/vectors/disk/schema.py",
    "conduit_lab/vectors/disk/snapshot.py",
    "conduit_lab/vectors/disk/storage.py",
    "conduit_lab/vectors/documents/document.py",
    "conduit_lab/vectors/documents/pdf.py",
    "conduit_lab/vectors/documents/records.py",
    "conduit_lab/vectors/documents/reindex.py",
    "conduit_lab/vectors/documents/sheet.py",
    "conduit_lab/vectors/documents/sources.py",
    "conduit_lab/vectors/embedding.py",
    "conduit_lab/vectors/entry.py",
    "conduit_lab/vectors/evaluate.py",
    "conduit_lab/vectors/filters.py",
    "conduit_lab/vectors/hits.py",
    "conduit_lab/vectors/identity.py",
    "conduit_lab/vectors/index/accelerators.py",
    "conduit_lab/vectors/index/blocks.py",
    "conduit_lab/vectors/index/building.py",
    "conduit_lab/vectors/index/candidates.py",
    "conduit_lab/vectors/index/codes.py",
    "conduit_lab/vectors/index/hnsw.py",
    "conduit_lab/vectors/index/index.py",
    "conduit_lab/vectors/index/packed.py",
    "conduit_lab/vectors/index/principal_axes.py",
    "conduit_lab/vectors/index/scan.py",
    "conduit_lab/vectors/index/scoring.py",
    "conduit_lab/vectors/local.py",
    "conduit_lab/vectors/questions.py",
    "conduit_lab/vectors/rank_fusion.py",
    "conduit_lab/vectors/ranking.py",
    "conduit_lab/vectors/remote/connections.py",
    "conduit_lab/vectors/remote/place.py",
    "conduit_lab/vectors/remote/postgres.py",
    "conduit_lab/vectors/remote/qdrant.py",
    "conduit_lab/vectors/remote/rescoring.py",
    "conduit_lab/vectors/remote/where.py",
    "conduit_lab/vectors/remote/where_qdrant.py",
    "conduit_lab/vectors/remote/where_sql.py",
    "conduit_lab/vectors/store.py",
    "conduit_lab/vectors/table.py",
    "data/make/minilm.py",
    "docs/architecture.md",
    "docs/generation.md",
    "docs/gpu.md",
    "notebooks/01_tour.ipynb",
    "tests/browser/test_stream_page.py",
    "tests/docs/test_streaming_page.py",
    "tests/export/test_closure_source.py",
    "tests/export/test_refusals.py",
    "tests/flow/test_packing.py",
    "tests/flow/test_threshold.py",
    "tests/models/generation/longrope.py",
    "tests/models/generation/test_chat_control.py",
    "tests/models/generation/test_constraint.py",
    "tests/models/generation/test_drawing.py",
    "tests/models/generation/test_generator.py",
    "tests/models/generation/test_sampling.py",
    "tests/models/generation/test_text.py",
    "tests/models/generation/writers.py",
    "tests/models/test_config.py",
    "tests/models/test_exact_casts.py",
    "tests/models/test_kinds.py",
    "tests/notebook/test_stream_output.py",
    "tests/runtime/batching/batches.py",
    "tests/runtime/batching/test_batching_property.py",
    "tests/runtime/checks/test_optimizers.py",
    "tests/runtime/fake_device.py",
    "tests/runtime/hardware/test_devices.py",
    "tests/runtime/measuring/test_probe.py",
    "tests/runtime/rewriting/test_child.py",
    "tests/runtime/rows/test_dataflow.py",
    "tests/runtime/sessions/test_fallback.py",
    "tests/serving/test_process.py",
    "tests/vectors/conformance.py",
    "tests/vectors/disk/test_changes.py",
    "tests/vectors/disk/test_kill.py",
    "tests/vectors/disk/test_livefile.py",
    "tests/vectors/disk/test_snapshot.py",
    "tests/vectors/disk/test_storage.py",
    "tests/vectors/documents/test_document.py",
    "tests/vectors/documents/test_reindex.py",
    "tests/vectors/remote/test_postgres.py",
    "tests/vectors/remote/test_qdrant.py",
    "tests/vectors/test_conformance.py",
    "tests/vectors/test_opening.py",
    "tests/vectors/test_ranking.py",
    "tests/vectors/test_reranking.py",
    "tests/vectors/test_store_forked.py",
    "tests/vectors/test_store_ways.py",
    "tests/vectors/test_table.py",
}

PHRASES = {
    r"wants?\b(?! to\b)|wanted": "expected …, got …",
    r"return (?:what|who)": "name what is returned",
    r"tells? (?:whether|what|how)": "return whether; report",
    r"(?:is|are|was|were|be|been) told": "name the parameter, or use get, receive",
    r"anew": "again; rebuild",
    r"who (?:waits?|waited|has waited|asks?|left)": "name the client, caller or reader",
    r"(?:in|keeps?) company|joined company": "batched together",
    r"door ?bells?|rings? (?:the|a|its|every) bells?|the bells?": "wakeup, notify",
    r"good order": "shut down gracefully",
    r"bur(?:y|ies|ied)": "tombstone",
    r"looked (?:at|after)": "check; compare; update",
    r"sees? to": "handle",
    r"(?:one|two|once|\d+) an? (?:row|text|sample|token|chunk|layer|request|call|file)": "per",
    r"hands? (?:it |them )?over": "pass; fall back",
}
PATTERN = re.compile(
    "|".join(f"(?P<p{i}>\\b(?:{phrase})\\b)" for i, phrase in enumerate(PHRASES)), re.IGNORECASE
)
STRING = tokenize.STRING
HEADLESS = re.compile(r"\s*(?:what|who|which|whatever|so many)\b", re.IGNORECASE)


def _problems(text: str, *, is_docstring: bool = False) -> Iterator[str]:
    for match in PATTERN.finditer(" ".join(text.split())):
        advice = list(PHRASES.values())[int((match.lastgroup or "p0")[1:])]
        yield f"{match.group()!r}: {advice}"
    if is_docstring and HEADLESS.match(text):
        yield f"{text.splitlines()[0]!r}: start with a verb or a noun"


def _docstrings(source: str) -> dict[int, str]:
    """Return each docstring by the line it starts on."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return {
        node.body[0].lineno: docstring
        for node in ast.walk(ast.parse(source))
        if isinstance(node, documented) and (docstring := ast.get_docstring(node))
    }


def _code_problems(source: str, *, strings: bool) -> Iterator[str]:
    """Check docstrings and comments, and with `strings` every string literal."""
    docstrings = _docstrings(source)
    for line, docstring in docstrings.items():
        yield from (f"{line}: {problem}" for problem in _problems(docstring, is_docstring=True))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        literal = strings and token.type == STRING and line not in docstrings
        if token.type == tokenize.COMMENT or literal:
            yield from (f"{line}: {problem}" for problem in _problems(token.string))


def _page_problems(text: str) -> Iterator[str]:
    for i, line in enumerate(text.splitlines(), 1):
        yield from (f"{i}: {problem}" for problem in _problems(line))


def _notebook_problems(text: str) -> Iterator[str]:
    for i, cell in enumerate(json.loads(text)["cells"], 1):
        if cell["cell_type"] == "markdown":
            yield from (f"cell {i}: {problem}" for problem in _problems("".join(cell["source"])))


def _file_problems(name: str) -> list[str]:
    text = (ROOT / name).read_text("utf-8")
    if name.endswith(".md"):
        return list(_page_problems(text))
    if name.endswith(".ipynb"):
        return list(_notebook_problems(text))
    # The strings of tests and of demo data are other people's words.
    return list(_code_problems(text, strings=name.startswith(("conduit_lab/", "benchmarks/"))))


def _files() -> list[str]:
    patterns = ("*.md", "docs/*.md", "data/models/*.md", "notebooks/*.ipynb")
    code = ("conduit_lab", "tests", "typing_tests", "benchmarks", "data/make")
    found = [path for pattern in patterns for path in ROOT.glob(pattern)]
    found += [path for folder in code for path in (ROOT / folder).rglob("*.py")]
    return sorted({path.relative_to(ROOT).as_posix() for path in found} - EXEMPT)


def test_no_file_holds_a_phrase_of_the_word_list() -> None:
    problems = {name: _file_problems(name) for name in _files()}
    new = [
        f"{name}:{problem}"
        for name, found in problems.items()
        for problem in found
        if name not in UNREVISED
    ]
    assert not new, "see docs/style.md:\n" + "\n".join(new)
    clean = sorted(name for name in UNREVISED if not problems.get(name))
    assert not clean, "remove these files, which hold no phrase, from UNREVISED: " + " ".join(clean)


def test_the_word_list_reads_prose_and_leaves_code_alone() -> None:
    source = (
        '"""What is kept."""\nraise E("wants x")  # tell whether it rings the bell\nwanted = 1\n'
    )
    assert len(list(_code_problems(source, strings=True))) == 4
    assert len(list(_code_problems(source, strings=False))) == 3
    assert list(_code_problems('"""Return what."""', strings=False)) != []
    assert list(_problems("the users who read one row per text want to wait; labelled")) == []
