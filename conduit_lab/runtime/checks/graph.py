"""Graph: a checked ONNX file and its facts, read before onnxruntime opens it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.views import figures
from conduit_lab.runtime.checks import external, optimizers
from conduit_lab.runtime.checks.content import combined_digest, file_digest
from conduit_lab.runtime.checks.graph_reader import graph_reader
from conduit_lab.runtime.checks.nodes import all_nodes, all_tensors, opset_of

_MAX_PROTOBUF_BYTES = 2**31 - 1
# operators that use a weight once per pixel, step or token
_REPEATING = frozenset({"Attention", "GroupQueryAttention", "MultiHeadAttention"})
_REPEATING |= {"Conv", "ConvInteger", "ConvTranspose", "QLinearConv", "LayerNormalization"}
_REPEATING |= {"GRU", "If", "LSTM", "Loop", "RNN", "Scan"}


@dataclass(frozen=True)
class Facts:
    """The facts in the bytes of one ONNX file.

    `endless`: it has a `Loop`, which may run until a deadline. `repeats`: it uses a weight
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


def check_graph(path: Path) -> Graph:
    """Return the checked ONNX file at `path`.

    Raises `ModelLoadError` for a file that is missing, damaged, or stores data outside its folder.
    Whether the graph runs is left to onnxruntime, which accepts more graphs than ONNX's checker.
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
        facts = _facts.of(path, own)
        data = external.check_parts(path, facts.parts)
        files, content = (path, *data), combined_digest([own, *map(file_digest, data)])
        size = sum(file.stat().st_size for file in files)
        return Graph(**vars(facts), files=files, size=size, content=content)
    except OSError as error:
        raise ModelLoadError(
            f"{display(path)} cannot be read: {error.strerror or error}"
        ) from error
    except ValueError as error:  # a name that is not UTF-8, a malformed offset
        raise ModelLoadError(
            f"{display(path)} is damaged: {error}; copy or export it again"
        ) from error


@graph_reader("file")
def _facts(model: Any) -> Facts:
    values = (*model.graph.input, *model.graph.output)
    operators = {node.op_type for node in all_nodes(model)}
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


def files(path: Path) -> tuple[Path, ...]:
    """Return a model file and its external data; for a broken or non-ONNX file, the file itself."""
    if path.suffix != ".onnx":
        return (path,)
    try:
        return check_graph(path).files
    except ModelLoadError:
        return (path,)
