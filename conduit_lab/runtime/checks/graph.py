"""Graph: what an ONNX file says of itself, after it was checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import MissingExtra, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.views import figures
from conduit_lab.runtime.checks import damage, external, optimizers
from conduit_lab.runtime.checks.content import combined, file_digest, identity, proves
from conduit_lab.runtime.checks.nodes import all_nodes, all_tensors

MAX_BYTES = 2**31 - 1  # of a protobuf
MAX_KNOWN = 256  # files


@dataclass(frozen=True)
class Facts:
    """What the bytes of one ONNX file say.

    `endless` graphs have a `Loop`, which only a deadline ends for certain. `unranked` are the
    inputs and outputs without a shape, `unsafe` the optimizers that would end the process on this
    graph, `parts` the tensors in other files.
    """

    opset: int
    producer: str
    endless: bool
    unranked: frozenset[str]
    unsafe: tuple[str, ...]
    parts: tuple[external.Part, ...]


@dataclass(frozen=True)
class Graph(Facts):
    """A checked ONNX file: its facts, its files, their size in bytes and the digest of their
    content.

    `files` begins with the graph, followed by its external data.
    """

    files: tuple[Path, ...]
    size: int
    content: str


_known: dict[bytes, Facts] = {}  # by the digest of the bytes; each operation on a dict is atomic


def check(path: Path) -> Graph:
    """Return the checked ONNX file at `path`.

    Raises `ModelLoadError` for a file that is missing, damaged, or keeps data outside of its
    folder. Whether the graph can run is left to onnxruntime: it accepts more than ONNX's own
    checker.
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
    if size > MAX_BYTES:
        raise ModelLoadError(
            f"{display(path)} has {figures.size(size)}, and an ONNX file ends at 2 GB: "
            "export the model with external data"
        )
    try:
        own = file_digest(path)
        facts = _facts(path, own)
        data = external.check(path, facts.parts)
        files, content = (path, *data), combined([own, *map(file_digest, data)])
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
        if not proves(path, state, own):  # the file may have changed meanwhile
            own = hashlib.sha256(content).digest()
        if len(_known) >= MAX_KNOWN:
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
    except Exception as error:  # protobuf's own
        raise ModelLoadError(f"{display(path)} {damage.reason(content)}") from error
    if not model.HasField("graph"):
        raise ModelLoadError(f"{display(path)} {damage.reason(content)}")
    try:
        values = (*model.graph.input, *model.graph.output)
        return Facts(
            opset=max(
                (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
                default=0,
            ),
            producer=f"{model.producer_name} {model.producer_version}".strip(),
            endless=any(node.op_type == "Loop" for node in all_nodes(model)),
            unranked=frozenset(
                value.name for value in values if not value.type.tensor_type.HasField("shape")
            ),
            unsafe=optimizers.unsafe(model),
            parts=external.parts(all_tensors(model)),
        )
    except (
        UnicodeDecodeError,
        ValueError,
    ) as error:  # a name that is no text, an offset that is no number
        raise ModelLoadError(
            f"{display(path)} is damaged: {error}; copy or export it again"
        ) from error


def files(path: Path) -> tuple[Path, ...]:
    """Return a model file and the external data that it is made of; any other file, and a broken one, is itself."""
    if path.suffix != ".onnx":
        return (path,)
    try:
        return check(path).files
    except ModelLoadError:
        return (path,)


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message, at most 200 characters."""
    line = str(error).strip().partition("\n")[0]
    return line[:200] or type(error).__name__
