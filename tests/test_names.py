"""Names and sizes: a public name means one thing in the package, and a file has one noun."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

pytestmark = pytest.mark.lint

PACKAGE = Path(__file__).parents[1] / "conduit_lab"
MODULES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.stat().st_size
}
MAX_LINES = 400
MAX_MEDIAN_LINES = 130

# Names that several modules still define. A name that no longer repeats must go from here.
REPEATED_NAMES = set(
    """
    ABSOLUTE Answer
    BATCH_SIZES BLOCK BoolArray
    CLEARLY COLUMNS Call Columns
    Embedder
    FORMAT_VERSION Feeds Finish Fusion
    GRACE_SECONDS Generator Graph
    Identity Ids Inputs IntArray
    Kept
    LONGEST
    MAX_BYTES MAX_CHARACTERS MAX_CHOICES MAX_KNOWN MAX_LENGTH MAX_TOP_K MESSAGE_CHARACTERS
    Numbers
    PUT Packed Prompt
    RELATIVE ROWS Reader Request Reranker Rows
    SCHEMA SECONDS SETTLED_NS SHORT START_SECONDS Signature Sources
    TOGETHER TOLERANCE Text
    UNKNOWN
    WINDOW
    along
    best block
    check columns connect convert
    digest
    entries
    find first_line frame
    is_frame is_plain
    joined
    kind_of
    load
    main mapped merge
    pad parse place plain
    ratio read register resolve row
    scores size source_of sync_folder synced
    temporary_beside times
    upgrade
    write
    """.split()  # noqa: SIM905
)

# The same idea in parallel rooms: the modules that may share a file name.
PARALLEL_MODULES = {
    "files.py": {"core/files.py", "vectors/disk/files.py"},
    "frames.py": {"core/frames.py", "models/frames.py"},
    "text.py": {"core/text.py", "models/generation/text.py"},
    "view.py": {"core/views/view.py", "notebook/views/stream/view.py"},
}

# Files that are still too long. A file that is short enough must go from here.
LONG_FILES = {
    "core/streams/stream.py",
    "export/closure.py",
    "flow/rag.py",
    "models/generation/scheduler.py",
    "runtime/rows/axes.py",
    "runtime/sessions/session.py",
    "vectors/disk/storage.py",
    "vectors/local.py",
    "vectors/remote/qdrant.py",
    "vectors/store.py",
}


def _public_names(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the public names that statements at module level define; imports define none."""
    for node in body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            targets = [ast.Name(node.name, ast.Store())]
        elif isinstance(node, ast.Assign) and not _is_conventional(node.value):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.If | ast.Try):
            handlers = node.handlers if isinstance(node, ast.Try) else []
            for block in (node.body, node.orelse, *(handler.body for handler in handlers)):
                yield from _public_names(block)
        for target in targets:
            names = (node for node in ast.walk(target) if isinstance(node, ast.Name))
            stored = (name.id for name in names if isinstance(name.ctx, ast.Store))
            yield from (name for name in stored if not name.startswith("_"))


def _is_conventional(value: ast.expr) -> bool:
    """Return whether an assignment makes a logger or a type variable: every module has its own."""
    return isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in (
        "getLogger",
        "TypeVar",
        "ParamSpec",
    )


def _repeated_names() -> dict[str, list[str]]:
    homes: dict[str, list[str]] = defaultdict(list)
    for path, source in MODULES.items():
        for name in set(_public_names(ast.parse(source).body)):
            homes[name].append(path)
    return {name: paths for name, paths in homes.items() if len(paths) > 1}


def test_a_public_name_means_one_thing() -> None:
    repeated = _repeated_names()
    new = {name: repeated[name] for name in sorted(repeated.keys() - REPEATED_NAMES)}
    assert not new, f"public names of several modules: rename one, or make it private: {new}"
    gone = sorted(REPEATED_NAMES - repeated.keys())
    assert not gone, "remove these names, which do not repeat, from REPEATED_NAMES: " + " ".join(
        gone
    )


def test_modules_have_distinct_names() -> None:
    names: dict[str, set[str]] = defaultdict(set)
    for path in MODULES:
        names[Path(path).name].add(path)
    repeated = {name: paths for name, paths in names.items() if len(paths) > 1}
    repeated.pop("__init__.py", None)
    assert repeated == PARALLEL_MODULES


def test_files_are_short() -> None:
    lines = Counter({path: len(source.splitlines()) for path, source in MODULES.items()})
    long = {path for path, count in lines.items() if count > MAX_LINES}
    assert long == LONG_FILES, f"new: {long - LONG_FILES}; short enough: {LONG_FILES - long}"
    assert median(lines.values()) <= MAX_MEDIAN_LINES
