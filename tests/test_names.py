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

# The one name that several modules define by design: each face returns its routes.
REPEATED_NAMES = {"routes"}

# The same idea in parallel rooms: the modules that may share a file name.
PARALLEL_MODULES = {
    "deadline.py": {"flow/deadline.py", "serving/gate/deadline.py"},
    "endpoint.py": {"serving/endpoint.py", "export/forms/endpoint.py"},
    "errors.py": {"errors.py", "core/errors.py", "serving/errors.py"},
    "model.py": {"models/model.py", "export/forms/model.py"},
    "rag.py": {"flow/rag.py", "export/forms/rag.py"},
    "stage.py": {"core/stage.py", "export/forms/stage.py"},
    "store.py": {"vectors/store.py", "export/forms/store.py"},
    "view.py": {
        "core/views/view.py",
        "notebook/views/answer/view.py",
        "notebook/views/endpoint/view.py",
        "notebook/views/generation/view.py",
        "notebook/views/session/view.py",
        "notebook/views/explorer/view.py",
        "notebook/views/stream/view.py",
    },
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
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}
    assert median(lines.values()) <= MAX_MEDIAN_LINES
