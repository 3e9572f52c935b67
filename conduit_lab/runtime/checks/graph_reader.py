"""GraphReader: one kind of fact about ONNX graphs, read once per file content.

Parsing a graph requires the onnx package, which a server does not need for anything else. An
exported app therefore contains a record of the facts, `graphs.json`: a file whose content is in the
record is never parsed. The facts decide which files are read and which optimizers run, so a record
is trusted only in the root of an app, beside its code, and never in a model's folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, get_args, get_origin
from typing import get_type_hints as type_hints

from conduit_lab.core.errors import MissingExtra, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.version import __version__
from conduit_lab.runtime.checks import damage
from conduit_lab.runtime.checks.content import file_digest, identity, is_cached

RECORD = "graphs.json"

_MAX_CONTENTS = 256  # with cached facts

_Arguments = ParamSpec("_Arguments")
_Fact = TypeVar("_Fact")

# By the SHA-256 of a file and the name of a fact; each operation on a dict is atomic
_known: dict[bytes, dict[str, Any]] = {}
_recorded: dict[bytes, Mapping[str, Any]] = {}  # the facts in JSON


class GraphReader(Generic[_Arguments, _Fact]):
    """Facts of one kind, by the path of an ONNX file and the arguments of the `read` function.

    `read` receives an `onnx.ModelProto` without external data and may change it. Arguments and
    facts must have a JSON form; facts are restored by the return type of `read`.
    """

    def __init__(self, name: str, read: Callable[Concatenate[Any, _Arguments], _Fact]) -> None:
        self.__doc__ = read.__doc__
        self._name = name
        self._read = read

    def __call__(
        self, path: Path, *arguments: _Arguments.args, **options: _Arguments.kwargs
    ) -> _Fact:
        """Return the fact; raise `MissingExtra` if it is not recorded and onnx is missing.

        Raises `OSError` for an unreadable file and `ModelLoadError` if it is not an ONNX model.
        """
        return self.of(path, file_digest(path), *arguments, **options)

    def of(
        self, path: Path, digest: bytes, *arguments: _Arguments.args, **options: _Arguments.kwargs
    ) -> _Fact:
        """Return the fact of a file whose SHA-256 has just been computed."""
        name = " ".join([self._name, *map(json.dumps, (*arguments, *options.values()))])
        known = _known.get(digest, {})
        if name in known:
            fact: _Fact = known[name]
            return fact
        if name in (recorded := _recorded.get(digest, {})):
            try:
                fact = _from_json(type_hints(self._read)["return"], recorded[name])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ModelLoadError(
                    f"{RECORD} is damaged at {name!r} of {display(path)}: export the app again"
                ) from error
        else:
            state, content = identity(path), path.read_bytes()
            fact = self._read(_parsed(path, content), *arguments, **options)
            if not is_cached(path, state, digest):  # the file may have changed since it was hashed
                digest = hashlib.sha256(content).digest()
        if digest not in _known and len(_known) >= _MAX_CONTENTS:
            _known.pop(next(iter(_known)), None)
        _known.setdefault(digest, {})[name] = fact
        return fact


def graph_reader(
    name: str,
) -> Callable[[Callable[Concatenate[Any, _Arguments], _Fact]], GraphReader[_Arguments, _Fact]]:
    """Decorate the function that reads the facts called `name` from a graph."""
    return lambda read: GraphReader(name, read)


def _parsed(path: Path, content: bytes) -> Any:
    try:
        import onnx
    except ImportError as error:
        purpose = f"reading {display(path)}, whose content is not in {RECORD},"
        raise MissingExtra("onnx", "", purpose) from error
    try:
        model: Any = onnx.ModelProto.FromString(content)
    except Exception as error:  # protobuf's
        raise ModelLoadError(f"{display(path)} {damage.reason(content)}") from error
    if not model.HasField("graph"):
        raise ModelLoadError(f"{display(path)} {damage.reason(content)}")
    return model


def is_read(path: Path) -> bool:
    """Return whether this process knows any fact of the file's graph."""
    return file_digest(path) in _known


# The record


def record_text(files: Iterable[Path]) -> str:
    """Return the record of the facts that this process knows about some ONNX files."""
    graphs = {}
    for file in files:
        digest = file_digest(file)
        facts = {**_recorded.get(digest, {}), **_known.get(digest, {})}
        graphs[digest.hex()] = dict(sorted(facts.items()))
    whole = {"conduit_lab": __version__, "graphs": dict(sorted(graphs.items()))}
    return json.dumps(whole, indent=2, ensure_ascii=False, default=_as_json) + "\n"


def use_record(root: Path) -> None:
    """Use the record in an app's root if it has the current version.

    Any other file of that name is ignored, as is a record of another version, which may have read
    graphs by different rules.
    """
    file = root / RECORD
    if not file.is_file():
        return
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        whole = json.loads(file.read_bytes())
        if whole["conduit_lab"] == __version__:
            graphs = whole["graphs"].items()
            _recorded.update({bytes.fromhex(digest): {**facts} for digest, facts in graphs})


def _as_json(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else vars(value)


def _from_json(kind: Any, value: Any) -> Any:
    """Return a value of a type from its JSON form."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        kinds, make = type_hints(kind), cast(Any, kind)
        return make(**{name: _from_json(kinds[name], each) for name, each in value.items()})
    if isinstance(kind, type) and issubclass(kind, tuple) and origin is None:  # a NamedTuple
        kinds = type_hints(kind)
        return kind(*map(_from_json, kinds.values(), value))
    if origin is tuple:
        kinds_of_items = inner[:1] * len(value) if inner[-1] is ... else inner
        return tuple(map(_from_json, kinds_of_items, value))
    if origin is frozenset:
        return frozenset(value)
    if isinstance(value, dict):
        return {name: _from_json(inner[1], each) for name, each in value.items()}
    return value
