"""TextGraph: the sizes stated in the ONNX graph of a text model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.spec import Array
from conduit_lab.runtime.checks.graph_reader import graph_reader
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.sessions.memory import limit_arena

_LOOKUPS = ("Gather", "GatherBlockQuantized")  # a row of a table per index
_SAME_ROWS = ("Identity", "Cast", "DequantizeLinear")  # allowed between a table and its lookup
# far from the ids of padding, and no id follows the one before
_IDS = np.array([[1009, 907, 803, 701]])
_MAX_NODES = 256  # that compute the indices of one lookup; positions take about twenty
_MAX_ELEMENTS = 2**17  # per constant among them; a larger one is a weight


@dataclass(frozen=True)
class TextGraph:
    """The outputs and tables of a graph that takes `input_ids`; None for a size it does not state.

    `inputs` are names, `outputs` (rank, width) by name: the width is the last axis if the graph
    fixes it. `vocabulary` is the number of rows of the token table, `positions` the maximum number
    of tokens in the table of absolute positions.
    """

    inputs: tuple[str, ...] = ()
    outputs: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    vocabulary: int | None = None
    positions: int | None = None


def read_text_graph(path: Path) -> TextGraph:
    """Read a graph, once per content; all sizes of a missing or broken file are None."""
    try:
        return _read(path) if path.is_file() else TextGraph()
    except (ModelLoadError, OSError):  # opening the file reports the reason
        return TextGraph()


@graph_reader("text")
def _read(model: Any) -> TextGraph:
    lookups = _Lookups(model)
    vocabulary, positions = lookups.sizes()
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(value.name for value in model.graph.input if value.name not in weights)
    return TextGraph(
        inputs, {value.name: _shape(value) for value in model.graph.output}, vocabulary, positions
    )


def _shape(value: Any) -> tuple[int | None, int | None]:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None, None
    axes = tensor.shape.dim
    return len(axes), (axes[-1].dim_value or None) if axes else None


class _Lookups:
    """The lookups of a graph in its own tables."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._nodes = list(model.graph.node)
        self._producers = {
            name: index for index, node in enumerate(self._nodes) for name in node.output
        }
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        constants = (node for node in self._nodes if node.op_type == "Constant")
        self._tensors |= {
            n.output[0]: a.t for n in constants for a in n.attribute if a.name == "value"
        }
        self._inputs = {value.name: value for value in model.graph.input}

    def sizes(self) -> tuple[int | None, int | None]:
        """Return the number of rows of the token table and the capacity of the position table.

        A table is recognized by its indices, which the graph computes without weights for two short
        texts: indices into the token table equal the token ids, and indices into a position table
        increase by one per token. The first index is the offset at which the position tables of
        RoBERTa and BART begin.
        """
        vocabulary, positions = [], []
        for rows, name in self._tables():
            short, long = (self._indices(name, _IDS[:, :length]) for length in (3, 4))
            if short is None or long is None:
                continue
            if short.tolist() == _IDS[0, :3].tolist() and long.tolist() == _IDS[0].tolist():
                vocabulary.append(rows)
            elif (len(short), len(long)) == (3, 4) and {*np.diff(short), *np.diff(long)} == {1}:
                positions.append(rows - int(long[0]))
        for node in self._nodes:
            # onnxruntime's own operator counts positions from 0
            if node.op_type == "EmbedLayerNormalization" and len(node.input) < 9:
                names = [name for name in node.input[2:4] if name in self._tensors]
                tables = [self._tensors[name].dims for name in names]
                vocabulary += [dims[0] for dims in tables[:1]]
                positions += [dims[0] for dims in tables[1:]]
        return min(vocabulary, default=None), min((n for n in positions if n > 0), default=None)

    def _tables(self) -> Iterator[tuple[int, str]]:
        """Yield the rows of each table, and the name of the indices into it."""
        seen = set()
        for node in self._nodes:
            along = [a.i for a in node.attribute if a.name in ("axis", "gather_axis")]
            if node.op_type not in _LOOKUPS or any(along) or tuple(node.input[:2]) in seen:
                continue
            seen.add(tuple(node.input[:2]))
            name = node.input[0]
            while (
                name in self._producers and self._nodes[self._producers[name]].op_type in _SAME_ROWS
            ):
                name = self._nodes[self._producers[name]].input[0]
            if name in self._tensors and len(self._tensors[name].dims) == 2:
                yield self._tensors[name].dims[0], node.input[1]

    def _indices(self, name: str, ids: Array) -> Array | None:
        """Return the indices called `name` for these token ids; None if they need other inputs."""
        part = self._part(name)
        if part is None:
            return None
        feeds = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        try:
            session = _session(part)
            dtypes = {
                i.name: np.int32 if i.type == "tensor(int32)" else np.int64
                for i in session.get_inputs()
            }
            found: Array = session.run(
                None, {key: feeds[key].astype(dtype) for key, dtype in dtypes.items()}
            )[0]
        except Exception:  # a custom operator, or one that does not run in isolation
            return None
        return found.reshape(-1)

    def _part(self, name: str) -> bytes | None:
        """Return the subgraph that computes `name` as a model, or None if it holds weights."""
        from onnx import ModelProto, helper

        needed, names, indices = [name], {name}, set()
        while needed:
            index = self._producers.get(needed.pop())
            if index is None or index in indices:
                continue
            indices.add(index)
            node = self._nodes[index]
            if len(indices) > _MAX_NODES or any(a.HasField("g") for a in node.attribute):
                return None
            needed += [i for i in node.input if i and i not in names]
            names.update(node.input)
        constants = [name for name in names if name not in self._producers]
        tensors = [self._tensors[name] for name in constants if name in self._tensors]
        if any(prod(tensor.dims) > _MAX_ELEMENTS or tensor.external_data for tensor in tensors):
            return None
        model = ModelProto(ir_version=self._model.ir_version, opset_import=self._model.opset_import)
        nodes = [self._nodes[index] for index in sorted(indices)]
        used = names - self._tensors.keys()
        inputs = [value for key, value in self._inputs.items() if key in used]
        last = helper.make_node("Identity", [name], ["indices"])
        graph = helper.make_graph([*nodes, last], "part", inputs, [], tensors)
        graph.output.add(name="indices")
        model.graph.CopyFrom(graph)
        return bytes(model.SerializeToString())


def _session(part: bytes) -> Any:
    """Return a session on one thread, in the arena that all sessions share."""
    limit_arena()
    ort = devices.onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.use_env_allocators", "1")
    return ort.InferenceSession(part, options, providers=["CPUExecutionProvider"])
