"""Graph: a checked ONNX file and its facts, read before onnxruntime opens it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import MissingExtra, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.views import figures
from conduit_lab.runtime.checks import damage, external, optimizers
from conduit_lab.runtime.checks.content import (
    combined_digest,
    file_digest,
    identity,
    is_cached,
)
from conduit_lab.runtime.checks.nodes import all_nodes, all_tensors, opset_of

_MAX_PROTOBUF_BYTES = 2**31 - 1
_MAX_FACTS = 256
# operators that use a weight once per pixel, step or token
_REPEATING = frozenset({"Attention", "GroupQueryAttention", "MultiHeadAttention"})
_REPEATING |= {"Conv", "ConvInteger", "ConvTranspose", "QLinearConv", "LayerNormalization"}
_REPEATING |= {"GRU", "If", "LSTM", "Loop", "RNN", "Scan"}


@dataclass(frozen=True)
class Facts:
    """The facts in the bytes of one ONNX file.

    `endless`: it has a `Loop`, which only a deadline ends for certain. `repeats`: it uses a weight
    more than once per sample. `unranked`: the inputs and outputs without a shape. `unsafe`: the
    optimizers that would crash the process on this graph. `parts`: the tensors in other files.
    """

    opset: int
    producer: str
    endless: bool
    repeats: bool
    unranked: frozenset[str]
    unsafe: tuple[str, ...]
    parts: tuple[external.Part, ...]


@dataclass(frozen=True)
class Graph(Facts):
    """A checked ONNX file: its facts, and the size in bytes and digest of its files.

    `files` begins with the graph, followed by its external data.
    """

    files: tuple[Path, ...]
    size: int
    content: str


_known: dict[bytes, Facts] = {}  # by file digest; each operation on a dict is atomic


def check_graph(path: Path) -> Graph:
    """Return the checked ONNX file at `path`.

    Raises `ModelLoadError` for a file that is missing, damaged, or keeps data outside of its
    folder. Only onnxruntime decides whether the graph runs: it accepts more than ONNX's checker.
    """
    if not path.is_file():
        raise ModelLoadError(
            f"no model file at {display(path)}: check the path and the root it starts from"
        )
    size = path.stat().st_size
    if size == 0:
        raise ModelLoadError(
            f"{display(path)} is empty: expected an ONNX model; copy or export it again"
        )
    if size > _MAX_PROTOBUF_BYTES:
        raise ModelLoadError(
            f"{display(path)} has {figures.size(size)}: expected at most 2 GB, the limit of an "
            "ONNX file; export the model with external data"
        )
    try:
        own = file_digest(path)
        facts = _facts(path, own)
        data = external.check_parts(path, facts.parts)
        files, content = (path, *data), combined_digest([own, *map(file_digest, data)])
        size = sum(file.stat().st_size for file in files)
        return Graph(**vars(facts), files=files, size=size, content=content)
    except OSError as error:
        raise ModelLoadError(
            f"{display(path)} cannot be read: {error.strerror or error}"
        ) from error


def _facts(path: Path, own: bytes) -> Facts:
    """Return the facts of a file, read once per content; `own` is the digest of its bytes."""
    facts = _known.get(own)
    if facts is None:
        state = identity(path)
        content = path.read_bytes()
        facts = _read(path, content)
        if not is_cached(path, state, own):  # the file may have changed since it was hashed
            own = hashlib.sha256(content).digest()
        if len(_known) >= _MAX_FACTS:
            _known.pop(next(iter(_known)), None)
        _known[own] = facts
    return facts


def _read(path: Path, content: bytes) -> Facts:
    try:
        import onnx
    except ImportError as error:  # pragma: no cover - a base dependency
        raise MissingExtra("onnx", "cpu", "reading ONNX files") from error
    try:
        model: Any = onnx.ModelProto.FromString(content)
    except Exception as error:  # protobuf's
        raise ModelLoadError(f"{display(path)} {damage.reason(content)}") from error
    if not model.HasField("graph"):
        raise ModelLoadError(f"{display(path)} {damage.reason(content)}")
    values = (*model.graph.input, *model.graph.output)
    operators = {node.op_type for node in all_nodes(model)}
    try:
        return Facts(
            opset=opset_of(model),
            producer=f"{model.producer_name} {model.producer_version}".strip(),
            endless="Loop" in operators,
            repeats=not _REPEATING.isdisjoint(operators),
            unranked=frozenset(
                value.name for value in values if not value.type.tensor_type.HasField("shape")
            ),
            unsafe=optimizers.unsafe(model),
            parts=external.parts(all_tensors(model)),
        )
    except ValueError as error:  # a name that is not UTF-8, a malformed offset
        raise ModelLoadError(
            f"{display(path)} is damaged: {error}; copy or export it again"
        ) from error


def files(path: Path) -> tuple[Path, ...]:
    """Return a model file with its external data; a broken or other file alone."""
    if path.suffix != ".onnx":
        return (path,)
    try:
        return check_graph(path).files
    except ModelLoadError:
        return (path,)
