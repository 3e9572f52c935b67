"""Closure: everything that an app's endpoints need, as source and files.

It starts at the registered functions and follows the global names that their code looks up, against
the live session: code becomes source, models and stores become files with the call that loads them,
plain values become literals. What has no such form is refused, with the chain of names that needs
it.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import os
import re
import shutil
import sys
from pathlib import Path, PurePath
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from conduit_lab.core.errors import ExportError
from conduit_lab.core.paths import resolve
from conduit_lab.export import values
from conduit_lab.export.packages import Packages
from conduit_lab.export.statements import Sources, Statement
from conduit_lab.flow.rag import Rag
from conduit_lab.models.file_model import FileModel
from conduit_lab.models.folder_model import FolderModel
from conduit_lab.models.model import Model
from conduit_lab.models.text.classifier import Classifier
from conduit_lab.runtime.checks import graph
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.rag_endpoint import RagEndpoint
from conduit_lab.vectors.store import VectorStore

Chain = tuple[str, ...]

# the names that every exported app.py binds by itself
_HEADER: dict[str, Any] = {"App": App, "Path": Path, "HERE": None}


class Closure:
    """The source of `app.py` in the making, and the files beside it in `folder`.

    `pieces` are blocks of source in the order they are needed, `packages` what they import,
    `warnings` what the user should know.
    """

    def __init__(
        self,
        app: App,
        folder: Path,
        statements: list[str] | None,
        namespace: dict[str, Any] | None = None,
    ) -> None:
        self.app = app
        self.folder = folder
        self.pieces: list[str] = []
        self.warnings: list[str] = []
        self._done: set[str] = set()
        self._ready: set[str] = set()  # what is done and also written
        self._held: dict[int, str] = {}  # the first name of each live object
        self._late: list[str] = []
        self._copied: dict[Path, Path] = {}
        self._stores: dict[str, VectorStore] = {}
        self._namespace = _namespace(app, namespace)
        self._sources = Sources(
            statements if statements is not None else [_module_source(self._namespace)]
        )
        names = [
            name
            for name, value in self._namespace.items()
            if value is app and not name.startswith("_")
        ]
        self.app_name = names[0] if names else "lab"
        self.packages = Packages(app.root, folder, self._sources)
        for endpoint in app.endpoints:
            self._endpoint(endpoint, (f"{endpoint.method} {endpoint.path}",))
        self.pieces += self._late

    @property
    def futures(self) -> list[str]:
        """The `from __future__` line, which must come first, or none."""
        names = ", ".join(sorted(self._sources.futures))
        return [f"from __future__ import {names}"] if names else []

    def add_file(self, path: Path, needed_by: str) -> str:
        """Copy a file or folder of the project to the same place in the export, and return its relative path."""
        path = Path(os.path.normpath(path))  # `..` must not lead out of the export
        if not path.exists():
            raise ExportError(f"{path.name} is not there any more ({path}): needed by {needed_by}")
        root = self.app.root
        inside = path.relative_to(root) if path.is_relative_to(root) else Path("models", path.name)
        parts = [path] if path.is_dir() else graph.files(path)
        if any(
            self._copied.get(inside.parent / part.relative_to(path.parent), part) != part
            for part in parts
        ):
            inside = Path(
                "models", str(len(self._copied)), path.name
            )  # the name is another file's already
        for part in parts:
            beside = inside.parent / part.relative_to(path.parent)
            self._copied[beside] = part
            target = self.folder / beside
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if part.is_dir():
                shutil.copytree(part, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy2(part, target)
        return inside.as_posix()

    def add_loaded(self, path: Path, needed_by: str) -> None:
        """Copy a file that the source names by its path, which therefore must lie below the root."""
        if not Path(os.path.normpath(path)).is_relative_to(self.app.root):
            raise ExportError(
                f"{path} lies outside the root {self.app.root} (needed by {needed_by}): "
                "copy it into the project, or load it to a variable with load_model"
            )
        self.add_file(path, needed_by)

    def add_store(self, store: VectorStore, name: str) -> None:
        """Write a consistent copy of a store into the export as `indexes/<name>.sqlite`."""
        if self._stores.setdefault(name, store) is not store:
            raise ExportError(
                f"two stores would both be indexes/{name}.sqlite: give one another name"
            )
        target = self.folder / "indexes" / f"{name}.sqlite"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            store.save_to(target)

    # Names

    def _need(self, name: str, chain: Chain) -> None:
        """Make `name` available in the exported source."""
        if name in self._done or name in ("__file__", "__name__"):
            return
        if name not in self._namespace:
            if hasattr(builtins, name):
                return
            raise ExportError(f"{name} is not defined in this session (needed by {_shown(chain)})")
        value = self._namespace[name]
        if name == self.app_name or (hasattr(builtins, name) and _is_builtin(name, value)):
            return
        if name in _HEADER and value is not _HEADER[name]:
            raise ExportError(
                f"{name} is a name of the exported app.py itself (needed by {_shown(chain)}): rename it"
            )
        self._done.add(name)
        if not self._is_alias(name, value, chain):
            self._make(name, value, chain)
        self._ready.add(name)

    def _is_alias(self, name: str, value: Any, chain: Chain) -> bool:
        """Whether another name holds this very object; then set this one to it."""
        if isinstance(
            value, ModuleType | str | bytes | int | float | tuple | None
        ) or self._is_imported(name, value):
            return False
        own = self.app_name if value is self.app else getattr(value, "__name__", None)
        first: str = (
            own
            if own and self._namespace.get(own) is value
            else self._held.setdefault(id(value), name)
        )
        if first == name:
            self._held[id(value)] = name
            return False
        self._need(first, chain)
        written = first in self._ready or first == self.app_name
        (self.pieces if written else self._late).append(f"{name} = {first}")
        return True

    def _make(self, name: str, value: Any, chain: Chain) -> None:
        """Write the source, or the file, that makes the live object."""
        here = (*chain, name)
        if str(getattr(value, "__module__", "")).partition(".")[0] == "IPython":
            raise ExportError(
                f"{name} exists only in a notebook (needed by {_shown(chain)}): leave it out of served code"
            )
        if isinstance(value, Endpoint):
            self._endpoint(value, here)
        elif isinstance(value, FileModel):
            self._model(name, value, here)
        elif isinstance(value, VectorStore):
            self._store(name, value, here)
        elif type(value) is Rag:
            self.pieces.append(f"{name} = {self._rag(value, here)}")
        elif self._is_imported(name, value):
            self.packages.add(name, value)
        elif isinstance(_unwrapped(value), FunctionType | type):
            self._definition(name, value, here)
        else:
            self._value(name, value, here)

    def _is_imported(self, name: str, value: Any) -> bool:
        """Whether `value` was imported, and not made in the session."""
        inner = _unwrapped(value)
        if isinstance(inner, FunctionType):
            return inner.__globals__ is not self._namespace
        if isinstance(inner, type) or inspect.isroutine(inner):
            return inner.__module__ != self._namespace.get("__name__")
        statement = self._sources.newest(name)
        imported = statement is not None and isinstance(statement.node, ast.Import | ast.ImportFrom)
        return isinstance(value, ModuleType) or (imported and not values.is_plain(value))

    def _endpoint(self, endpoint: Endpoint[..., Any], chain: Chain) -> None:
        if endpoint.app is not self.app:
            raise ExportError(f"{endpoint.name} belongs to another app (needed by {_shown(chain)})")
        if f"{endpoint.method} {endpoint.path}" in self._done:
            return
        if isinstance(endpoint, RagEndpoint):
            self._rag_endpoint(endpoint, chain)
            return
        self._done |= {f"{endpoint.method} {endpoint.path}", endpoint.name}
        for path in endpoint.files:
            self._model_file(path, chain)
        self._definition(endpoint.name, endpoint.function, (*chain, endpoint.name), endpoint.path)
        self._ready.add(endpoint.name)

    def _rag_endpoint(self, endpoint: RagEndpoint[Any], chain: Chain) -> None:
        """Serve the Rag again; one call makes both of its endpoints."""
        key = f"rag {endpoint.at}"
        if key in self._done:
            return
        self._done.add(key)
        known = [
            name
            for name, value in self._namespace.items()
            if value is endpoint.rag and not name.startswith("_")
        ]
        rag = self._name_of(endpoint.rag, chain) if known else self._rag(endpoint.rag, chain)
        held = [
            name
            for name, value in self._namespace.items()
            if value is endpoint.whole and not name.startswith("_")
        ]
        made = "".join(f"{name} = " for name in held)
        self.pieces.append(f"{made}{self.app_name}.rag({_quoted(endpoint.at)}, {rag})")
        self._done |= set(held)
        self._ready |= set(held)

    def _model_file(self, path: str | Path, chain: Chain) -> None:
        """Copy a model that a decorator names by its path."""
        where = resolve(path, self.app.root)
        if not where.exists():
            self.warnings.append(
                f"{path} is not there; the exported app starts with its fallback too"
            )
        elif (
            isinstance(path, str)
            and Path(path).is_absolute()
            and where.is_relative_to(self.app.root)
        ):
            raise ExportError(
                f"{path} is an absolute path ({_shown(chain)}): write it relative to {self.app.root}"
            )
        else:
            self.add_loaded(where, _shown(chain))

    def _definition(self, name: str, value: Any, chain: Chain, path: str = "") -> None:
        """Repeat the `def` or `class` of a live object; for an endpoint that whose decorator holds its path."""
        inner = _unwrapped(value)
        found = self._candidates(name, value)
        for layer in (inner,) if found else (inner, value):
            if getattr(layer, "__closure__", None):
                free = ", ".join(layer.__code__.co_freevars)
                raise ExportError(
                    f"{name} is made inside another function and holds on to its {free} ({_shown(chain)}): "
                    "define it at the top level"
                )
        if inner is not value and not found:  # decorated by a call, not by a decorator
            self._repeat(name, value, self._sources.newest(name), chain)
            return
        if isinstance(inner, FunctionType):
            found = [statement for statement in found if statement.makes(inner)]
        found = [statement for statement in found if statement.mentions(path)] or found
        if not found:
            raise ExportError(
                f"the live {name} is not what any statement of this session defines ({_shown(chain)}): "
                "run its cell again, without a magic around it"
            )
        self._emit(found[0], name, chain)

    def _candidates(self, name: str, value: Any) -> list[Statement]:
        """Return the statements that may have made a function or class, the newest first."""
        inner = _unwrapped(value)
        if inner.__name__ == "<lambda>":
            newest = self._sources.newest(name)
            return [] if newest is None else [newest]
        found = self._sources.definitions(inner.__name__)
        return [s for s in found if s.decorated] if inner is not value else found

    def _emit(self, statement: Statement, name: str, chain: Chain) -> None:
        """Add a statement after everything that it needs."""
        for free in statement.free_names:
            if free != name:
                self._need(free, chain)
        self.packages.add_below(statement.node)  # imports inside a function bring packages too
        if statement.text not in self.pieces:  # one statement may make several names
            self.pieces.append(statement.text)

    # Resources and values

    def _model(self, name: str, model: FileModel[Any], chain: Chain) -> None:
        path = self.add_file(model.path, _shown(chain))
        chosen = {key: getattr(model.options, key) for key in ("device", "fallback", "timeout")}
        if isinstance(model, FolderModel):
            chosen["variant"] = model.variant
        options = [
            f"{key}={_literal(value)}"
            for key, value in chosen.items()
            if value not in (None, "auto")
        ]
        if isinstance(model, Model | Classifier) and model.given_labels is not None:
            options.append(f"labels={model.given_labels!r}")
        default = model.path.name if isinstance(model, FolderModel) else model.path.stem
        if model.name != default:
            options.append(f"name={_quoted(model.name)}")
        self.pieces.append(
            f"{name} = {self.app_name}.load_model({', '.join([_quoted(path), *options])})"
        )

    def _store(self, name: str, store: VectorStore, chain: Chain) -> None:
        named = store in self.app.stores.values()
        label = store.name if named else re.sub(r"[^A-Za-z0-9_-]", "", name).lstrip("_-") or "store"
        options = [_quoted(label), f"dimension={store.dimension}"]
        if store.metric != "cosine":
            options.append(f"metric={_quoted(store.metric)}")
        if store.embedder is not None:
            options.append(f"embedder={self._name_of(store.embedder, chain)}")
        if store.url is None:
            self.add_store(store, label)
        else:
            options.append(f"url={_quoted(self._address(store.url, chain))}")
        self.pieces.append(f"{name} = {self.app_name}.vector_store({', '.join(options)})")

    def _address(self, url: str, chain: Chain) -> str:
        """Return the URL of a store on a server, whose client the export then needs."""
        if url.rpartition("@")[0].count(":") > 1:  # behind the scheme's: a password
            raise ExportError(
                f"the store's URL holds a password ({_shown(chain)}): leave it out and set PGPASSWORD, "
                "for Qdrant QDRANT_API_KEY, where the app runs"
            )
        for module in (
            ("qdrant_client",) if url.startswith("qdrant") else ("psycopg", "psycopg_binary")
        ):
            self.packages.pin(module)
        return url

    def _rag(self, rag: Rag, chain: Chain) -> str:
        """Return the call that makes a Rag, with what it was given and is not the default."""
        if type(rag) is not Rag:
            raise ExportError(
                f"a {type(rag).__name__} has no name in this session ({_shown(chain)}): give it one"
            )
        self.packages.lines["from conduit_lab import Rag"] = None
        parts = [self._name_of(rag.store, chain), self._name_of(rag.generator, chain)]
        if rag.rerank is not None:
            parts.append(f"rerank={self._name_of(rag.rerank, chain)}")
        defaults = inspect.signature(Rag).parameters
        chosen = {
            key: getattr(rag, key) for key in ("top_k", "prompt", "mode", "min_score", "name")
        }
        given = {
            key: value for key, value in chosen.items() if value != defaults[key].default
        } | rag.options
        for key, value in given.items():
            if values.looks_secret(key, value):
                raise ExportError(
                    f"{key}= of {rag.name!r} looks like a secret ({_shown(chain)}): leave it out"
                )
            if not values.is_plain(value):
                raise ExportError(
                    f"{key}= of {rag.name!r} is a {type(value).__name__} ({_shown(chain)}): wanted numbers and text"
                )
            parts.append(f"{key}={_literal(value)}")
        return f"Rag({', '.join(parts)})"

    def _name_of(self, value: Any, chain: Chain) -> str:
        """Return a name that holds this very object, after making it available."""
        for name, known in self._namespace.items():
            if known is value and not name.startswith("_"):
                self._need(name, chain)
                return name
        raise ExportError(
            f"a {type(value).__name__} has no name in this session ({_shown(chain)}): give it one"
        )

    def _value(self, name: str, value: Any, chain: Chain) -> None:
        if values.looks_secret(name, value):
            raise ExportError(
                f"{name} looks like a secret ({_shown(chain)}): read it with os.environ[...] inside the function"
            )
        statement = self._sources.newest(name)
        if isinstance(value, PurePath):
            self._path(name, value, chain)
            return
        plain = values.is_plain(value)
        source = values.source_of(name, value, statement) if plain else None
        if source is not None:
            self.pieces.append(source)
        elif plain or isinstance(value, np.ndarray):
            self._file_value(name, value, chain)
        else:
            self._repeat(name, value, statement, chain)

    def _path(self, name: str, value: PurePath, chain: Chain) -> None:
        """Write a path; one below the root starts at the exported folder, and a file there is copied."""
        root = self.app.root
        if value.is_relative_to(root):
            inside = value.relative_to(root).as_posix()
            self.pieces.append(
                f"{name} = HERE" + ("" if inside == "." else f" / {_quoted(inside)}")
            )
        else:
            self.pieces.append(f"{name} = Path({_quoted(value.as_posix())})")
        if (root / value).is_relative_to(root) and (root / value).is_file():
            self.add_loaded(root / value, _shown(chain))

    def _file_value(self, name: str, value: Any, chain: Chain) -> None:
        written = values.write_file(name, value, self.folder)
        if written is None:
            raise ExportError(
                f"{name} has no file form without pickle ({_shown(chain)}): use plain numbers and text"
            )
        self.packages.lines["import numpy" if isinstance(value, np.ndarray) else "import json"] = (
            None
        )
        self.pieces.append(f"{name} = {written[1]}")

    def _repeat(self, name: str, value: Any, statement: Statement | None, chain: Chain) -> None:
        """Repeat the statement that made a live object."""
        node = None if statement is None else statement.node
        simple = isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        if (
            statement is None
            or node is None
            or not simple
            or any(isinstance(n, ast.Await) for n in ast.walk(node))
        ):
            raise ExportError(
                f"a live {type(value).__name__} has no file form ({_shown(chain)}): "
                f"make {name} in one statement of its own, or inside the function that uses it"
            )
        parts = (
            value.values()
            if isinstance(value, dict)
            else value
            if isinstance(value, list | tuple)
            else ()
        )
        for part in parts:
            if isinstance(part, FileModel):
                self.add_loaded(part.path, _shown(chain))
        self._emit(statement, name, chain)


def _namespace(app: App, given: dict[str, Any] | None) -> dict[str, Any]:
    """Return the globals that the registered functions live in, or else the `given` ones.

    An app that serves only a `Rag` has no function: without `given` it is then the module that
    holds the app.
    """
    if not app.endpoints:
        raise ExportError(f"{app.name!r} has no endpoints: there is nothing to export")
    functions = [e.function for e in app.endpoints if not isinstance(e, RagEndpoint)]
    spaces = {id(function.__globals__): function.__globals__ for function in functions}
    if len(spaces) > 1:
        names = sorted(str(space.get("__name__")) for space in spaces.values())
        raise ExportError(
            f"the endpoints live in several modules ({', '.join(names)}): define them in one"
        )
    found: dict[str, Any] | None = next(iter(spaces.values()), given)
    if found is None:
        modules = (vars(module) for module in list(sys.modules.values()) if module is not None)
        found = next((names for names in modules if _holds(names, app)), None)
    if found is None:
        raise ExportError(
            f"no module holds {app.name!r}: assign it to a global name, lab = Lab({app.name!r})"
        )
    return found


def _holds(names: dict[str, Any], app: App) -> bool:
    return any(value is app for value in list(names.values()))


def _module_source(namespace: dict[str, Any]) -> str:
    """Return the source of the module that owns a namespace."""
    module = sys.modules.get(str(namespace.get("__name__")))
    try:
        return inspect.getsource(module) if module is not None else ""
    except OSError as error:
        raise ExportError(
            "the source of this session is not known: run it from a notebook or a file"
        ) from error


def _is_builtin(name: str, value: Any) -> bool:
    """Whether a name means the builtin; IPython puts an `open`, `exit` and `quit` of its own beside it."""
    return value is getattr(builtins, name) or str(getattr(value, "__module__", "")).startswith(
        "IPython"
    )


def _unwrapped(value: Any) -> Any:
    """Return the function below the decorators that keep it in `__wrapped__`."""
    return inspect.unwrap(value) if callable(value) and hasattr(value, "__wrapped__") else value


def _literal(value: Any) -> str:
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    """Return a text literal with double quotes, as the rest of the file has them."""
    return json.dumps(text, ensure_ascii=False)


def _shown(chain: Chain) -> str:
    return " → ".join(chain)
