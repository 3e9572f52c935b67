"""Checks: find code in an export's source that comparing states cannot verify."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import _lru_cache_wrapper
from inspect import unwrap
from pathlib import Path, PurePath

from conduit_lab.core.errors import ExportError
from conduit_lab.core.syntax import parse_module
from conduit_lab.export.causes import varying
from conduit_lab.export.closure import Closure
from conduit_lab.export.forms.form import shown
from conduit_lab.export.namespace import is_shell_output
from conduit_lab.export.source_piece import SourcePiece
from conduit_lab.export.state.built_resources import changed_input
from conduit_lab.serving.app import App
from conduit_lab.serving.resource import AppResource

_NOTEBOOK = frozenset({"display", "get_ipython"})
_READERS = frozenset(
    {"open", "Path", "load", "loadtxt", "genfromtxt", "fromfile", "memmap", "load_model",
     "read_csv", "read_table", "read_json", "read_excel", "read_parquet", "read_feather",
     "read_pickle", "read_html", "read_xml"}
)  # fmt: skip
_DYNAMIC = {
    "globals": "looks names up in globals(), which the export cannot follow",
    "__import__": "imports a module by a computed name, which the export cannot follow",
}


def check_source(app: App, closure: Closure) -> list[str]:
    """Return warnings about the source of an export.

    Warnings name the causes of differences between processes: clocks, unseeded generators, globals
    that a function sets, and results cached before a name that their function uses changed. Raises
    `ExportError` for code that needs the notebook in any branch, or that uses names which cannot be
    determined from the source.
    """
    warnings: list[str] = []
    for piece in closure.pieces:
        for problem in _problems(piece, closure):
            if problem.refused:
                raise ExportError(f"{piece.name} {problem.text} (needed by {shown(piece.chain)})")
            warnings.append(f"{piece.name} {problem.text}")
        warnings += [*_stale_results(piece.name, closure), *_old_object(piece.name, closure)]
    warnings += [
        f"{endpoint.method} {endpoint.path} {' and '.join(found)}: where its answers differ by "
        f'that, lab.varies("{endpoint.path}") lets the proof compare their shape'
        for endpoint in closure.endpoints
        if not endpoint.varies and (found := varying(app, endpoint))
    ]
    return list(dict.fromkeys(warnings))


def _stale_results(name: str, closure: Closure) -> Iterator[str]:
    """Yield a warning for a cached function whose results the app may compute differently."""
    names, statements = closure.namespace.names, closure.namespace.statements
    value, own = names.get(name), statements.newest(name)
    if not isinstance(value, _lru_cache_wrapper) or own is None or not value.cache_info().currsize:
        return
    code = getattr(unwrap(value), "__code__", None)
    changed = [
        each
        for each in (() if code is None else code.co_names)
        if each in names and (last := statements.newest(each)) and last.order > own.order
    ]
    if changed:
        yield (
            f"{name} has cached results, which an app computes again, and {', '.join(changed)} "
            f"changed after {name} was defined: call {name}.cache_clear(), and then its endpoints"
        )


def _old_object(name: str, closure: Closure) -> Iterator[str]:
    """Yield a warning for a resource that is older than a name that it uses."""
    resource = closure.namespace.names.get(name)
    if isinstance(resource, AppResource) and (changed := changed_input(resource, closure.root)):
        yield (
            f"{name} was built before {changed} changed, and an app builds it again: "
            f"{name}.close(), and then call its endpoints"
        )


@dataclass(frozen=True)
class _Problem:
    text: str
    refused: bool = True


def _problems(piece: SourcePiece, closure: Closure) -> Iterator[_Problem]:
    try:
        tree = parse_module(piece.source)
    except SyntaxError:  # not valid Python on its own
        return
    bound = _bound_names(tree) | (closure.namespace.names.keys() - vars(builtins).keys())
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if node.id in _NOTEBOOK and _is_notebooks(node.id, bound, closure):
                yield _Problem(
                    f"uses {node.id}, which exists only in a notebook: leave it out of served "
                    "code, in every branch"
                )
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            value = closure.namespace.names.get(node.value.id)
            if is_shell_output(value) and not hasattr(list, node.attr):
                yield _Problem(
                    f"uses {node.value.id}.{node.attr}, which only the output of a "
                    "shell command in a notebook has: in an app it is a plain list of lines"
                )
        elif isinstance(node, ast.Call) and (path := _opened(node, closure)):
            yield _Problem(
                f"opens {path}, which is not in the export: load it in a cell, and use that name "
                "in the function; or keep it in the project and load it in an @lab.resource "
                "function"
            )
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name in bound:
                continue
            if name in _DYNAMIC and not (name == "__import__" and _is_constant(node.args)):
                yield _Problem(f"{_DYNAMIC[name]}: use the names themselves")
            elif name in ("eval", "exec"):
                alone = len(node.args) == 1 and not node.keywords
                yield _Problem(
                    f"passes text to {name}(), which may use any name of the session: "
                    + (
                        "pass the names it uses, as in "
                        if alone
                        else "it has only the names passed, as in "
                    )
                    + f'{name}(text, {{"x": x}})',
                    refused=alone,
                )
        elif _is_main(node):
            yield _Problem("looks names up in __main__, the notebook: use the names themselves")
        elif isinstance(node, ast.Global):
            yield _Problem(
                f"sets the global {', '.join(node.names)}: each worker process has its own, and "
                "none outlives a restart",
                refused=False,
            )


def _is_notebooks(name: str, bound: frozenset[str] | set[str], closure: Closure) -> bool:
    """Return whether a name refers to IPython's object rather than one of the user's."""
    if name in bound and name not in closure.namespace.names:
        return False
    value = closure.namespace.names.get(name, getattr(builtins, name, None))
    module = str(getattr(value, "__module__", "IPython"))
    return module.partition(".")[0] in ("IPython", "ipykernel")


def _opened(call: ast.Call, closure: Closure) -> str:
    """Return the file that a call would read but the export lacks, or "".

    A recorded call shows the files it opens; this check covers branches that no call took.
    """
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    first = call.args[0] if call.args else None
    if name not in _READERS or not isinstance(first, ast.Constant) or type(first.value) is not str:
        return ""
    modes = [*call.args[1:2], *(each.value for each in call.keywords if each.arg == "mode")]
    if name == "open" and any(_writes(mode) for mode in modes):
        return ""
    path = PurePath(first.value)
    is_there = bool(path.parts) and (Path(path).is_file() or (closure.root / path).is_file())
    return "" if not is_there or path in closure.assets.places else first.value


def _writes(mode: ast.expr) -> bool:
    return isinstance(mode, ast.Constant) and not {*"wax"}.isdisjoint(str(mode.value))


def _is_constant(arguments: Sequence[ast.expr]) -> bool:
    return bool(arguments) and isinstance(arguments[0], ast.Constant)


def _is_main(node: ast.AST) -> bool:
    """Return whether a piece of source imports or looks up the module `__main__`."""
    if isinstance(node, ast.Import):
        return any(alias.name == "__main__" for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module == "__main__"
    keys: list[ast.expr] = []
    if isinstance(node, ast.Subscript):
        keys = [node.slice]
    elif isinstance(node, ast.Call):
        keys = node.args[:1]
    return any(isinstance(key, ast.Constant) and key.value == "__main__" for key in keys)


def _bound_names(tree: ast.AST) -> set[str]:
    """Return the names that a piece of source binds: parameters, variables and imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name.partition(".")[0])
    return found
