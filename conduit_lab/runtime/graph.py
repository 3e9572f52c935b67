"""Graph: what an ONNX file says of itself, after it was checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import MissingExtra, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.runtime import operators

Identity = tuple[str, int, int, int]


@dataclass(frozen=True)
class Graph:
    """A checked ONNX file: its opset, who made it, the files it is made of, and whether it may run for ever.

    `files` begins with the graph and goes on with its external data; `size` is their bytes. `endless` graphs have a
    `Loop` in them, which nothing but a deadline ends for certain.
    """

    opset: int
    producer: str
    files: tuple[Path, ...]
    size: int
    endless: bool


def check(path: Path) -> Graph:
    """Return the facts of a valid ONNX file; `ModelLoadError` for one that is missing, broken or reaches outside.

    `onnx.checker` sees the file before onnxruntime does: it refuses external data outside of the model's folder, hard
    links included, which onnxruntime loads.
    """
    if not path.is_file():
        raise ModelLoadError(f"no model file at {display(path)}: check the path and the root it starts from")
    if path.stat().st_size == 0:
        raise ModelLoadError(f"{display(path)} is empty: wanted an ONNX model; copy or export it again")
    return _checked(path, identity(path))


@lru_cache(maxsize=256)
def _checked(path: Path, _: Identity) -> Graph:
    """Check each state of a file once."""
    try:
        import onnx
    except ImportError as error:  # pragma: no cover - a base dependency
        raise MissingExtra("onnx", "cpu", "checking ONNX files") from error
    try:
        operators.register()
        onnx.checker.check_model(str(path))
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # the checker raises protobuf's, its own and ValueError
        raise ModelLoadError(
            f"{display(path)} is not a valid ONNX model ({first_line(error)}): it may be cut short; "
            "copy or export it again"
        ) from error
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    graphs = list(_graphs(model.graph))
    nodes = list(all_nodes(model))
    outside = {entry.value for tensor in _tensors(graphs, nodes) for entry in _location(tensor)}
    files = (path, *(path.parent / name for name in sorted(outside)))
    producer = f"{model.producer_name} {model.producer_version}".strip()
    size = sum(file.stat().st_size for file in files)
    return Graph(opset, producer, files, size, any(node.op_type == "Loop" for node in nodes))


def all_nodes(model: Any) -> Iterator[Any]:
    """Yield every node of a protobuf: of its graph, of the graphs inside of nodes, of its functions."""
    for part in (*_graphs(model.graph), *model.functions):
        yield from part.node


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and the graphs inside of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(inner)


def _tensors(graphs: list[Any], nodes: list[Any]) -> Iterator[Any]:
    """Yield every tensor that may lie outside of the file."""
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    yield from (attribute.t for node in nodes for attribute in node.attribute if attribute.HasField("t"))


def _location(tensor: Any) -> list[Any]:
    return [entry for entry in tensor.external_data if entry.key == "location"]


def files(path: Path) -> tuple[Path, ...]:
    """Return a model file and the external data that it is made of; any other file, and a broken one, is itself."""
    if path.suffix != ".onnx":
        return (path,)
    try:
        return check(path).files
    except ModelLoadError:
        return (path,)


def digest(files: tuple[Path, ...]) -> str:
    """Return the SHA-256 of the files' contents, each hashed once for each state it was in."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(_digest(file, identity(file)))
    return whole.hexdigest()


@lru_cache(maxsize=1024)
def _digest(path: Path, _: Identity) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def identity(path: Path) -> Identity:
    """Return what changes when a file does: where it lies, its size and its times."""
    stat = path.stat()
    return f"{stat.st_dev}:{stat.st_ino}", stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message, at most 200 characters."""
    line = str(error).strip().partition("\n")[0]
    return line[:200] or type(error).__name__
