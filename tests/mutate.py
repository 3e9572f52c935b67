"""Mutation testing of one module: python tests/mutate.py conduit_lab/core/files.py tests/core

Each mutant is one small change of the module, such as `<` to `<=`. The given tests run on it in a
temporary copy of the package; a mutant that they do not notice survives and is printed as a diff.
The same seed chooses the same mutants of the same source. Exit status 1 means that some survived.
"""

from __future__ import annotations

import argparse
import ast
import copy
import difflib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parents[1]
PYTEST = ("-m", "pytest", "-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider")
PAIRS: tuple[tuple[type[ast.AST], type[ast.AST]], ...] = (
    *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot)),
    *((ast.In, ast.NotIn), (ast.And, ast.Or), (ast.Add, ast.Sub), (ast.Mult, ast.FloorDiv)),
)
FLIPPED = {**dict(PAIRS), **{second: first for first, second in PAIRS}}
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}
Mutable = ast.expr | ast.stmt


@dataclass(frozen=True)
class Mutant:
    """A module's source before and after one change."""

    path: str
    original: str
    source: str

    @property
    def diff(self) -> str:
        """The change as a diff."""
        lines = self.original.splitlines(), self.source.splitlines()
        return "\n".join(difflib.unified_diff(*lines, self.path, self.path, n=1, lineterm=""))


def mutants(source: str, path: str) -> list[Mutant]:
    """Return every mutant of a module, in source order, each different from the source."""
    return [
        Mutant(path, source, _spliced(source, node, replacement))
        for node in _nodes(ast.parse(source))
        for replacement in _replacements(node)
    ]


def _nodes(parent: ast.AST) -> Iterator[Mutable]:
    """Yield the statements and expressions that run: no annotations, docstrings or f-strings."""
    for name, value in ast.iter_fields(parent):
        if name in ("annotation", "returns"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.JoinedStr) or _is_for_types(node):
                continue
            if isinstance(node, ast.expr | ast.stmt):
                yield node
            if isinstance(node, ast.AST):
                yield from _nodes(node)


def _is_for_types(node: object) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _replacements(node: Mutable) -> Iterator[Mutable]:
    """Yield the changed forms of one statement or expression."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in FLIPPED:
            yield _with(node, ops=[FLIPPED[type(op)]()])
        case ast.BoolOp(op=op) | ast.BinOp(op=op) if type(op) in FLIPPED:
            yield _with(node, op=FLIPPED[type(op)]())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.IfExp(test=test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Name(id=name) if name in SWAPPED:
            yield _with(node, id=SWAPPED[name])
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield ast.Return(ast.Constant(None))
        case ast.Break():
            yield ast.Continue()
        case ast.Continue() | ast.Raise() | ast.AugAssign() | ast.Delete():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield ast.Pass()
        case ast.If(test=test) | ast.While(test=test) if not isinstance(test, ast.Constant):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))


def _with(node: Mutable, **fields: object) -> Mutable:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _spliced(source: str, node: Mutable, replacement: Mutable) -> str:
    """Return the source with the text of one node replaced; only the test of an `if` or `while`."""
    if isinstance(node, ast.If | ast.While) and isinstance(replacement, ast.If | ast.While):
        node, replacement = node.test, replacement.test
    text = ast.unparse(replacement)
    if isinstance(node, ast.expr) and not isinstance(replacement, ast.Constant | ast.Name):
        text = f"({text})"
    lines = source.encode().splitlines(keepends=True)
    assert node.end_lineno is not None
    before = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    after = lines[node.end_lineno - 1][node.end_col_offset :] + b"".join(lines[node.end_lineno :])
    return (before + text.encode() + after).decode()


def run_tests(place: Path, tests: list[str], timeout: float | None) -> int | None:
    """Run the tests in a copy of the project; return pytest's exit status, None after a timeout."""
    process = subprocess.Popen(
        [sys.executable, *PYTEST, *tests],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:  # a timeout or Ctrl-C: the tests' own child processes end too
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def survivors(
    module: Path, chosen: list[Mutant], tests: list[str], show: Callable[[str], None]
) -> list[Mutant]:
    """Return the mutants that the tests do not notice. Raises `SystemExit` if the tests fail."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        place = Path(folder)
        for copied in ("conduit_lab", "tests"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / copied, place / copied, ignore=ignored)
        for linked in ("benchmarks", "data", "docs", "notebooks", "pyproject.toml", "README.md"):
            (place / linked).symlink_to(ROOT / linked)
        begin = perf_counter()
        if status := run_tests(place, tests, None):
            raise SystemExit(f"the tests fail without a mutant: pytest exits with {status}")
        timeout = 3 * (perf_counter() - begin) + 10
        found = []
        for i, mutant in enumerate(chosen, 1):
            (place / module).write_text(mutant.source, "utf-8")
            for stale in (place / module).parent.glob(f"__pycache__/{module.stem}.*.pyc"):
                stale.unlink()  # its time stamp may be the mutant's too
            if run_tests(place, tests, timeout) == 0:
                found.append(mutant)
                show(f"\n{mutant.diff}\n")
            show(f"{i} of {len(chosen)} mutants, {len(found)} survived")
    return found


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("module", type=Path, help="a module of the package")
    parser.add_argument("tests", nargs="+", help="what pytest runs")
    parser.add_argument("--count", type=int, default=20, help="mutants to run (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    module = options.module.resolve().relative_to(ROOT)
    every = mutants((ROOT / module).read_text("utf-8"), module.as_posix())
    chosen = random.Random(options.seed).sample(every, min(options.count, len(every)))
    survived = survivors(module, chosen, options.tests, lambda line: print(line, flush=True))
    killed = len(chosen) - len(survived)
    print(f"{killed} of {len(chosen)} mutants killed ({len(every)} in the module)")
    return int(bool(survived))


if __name__ == "__main__":
    raise SystemExit(main())
