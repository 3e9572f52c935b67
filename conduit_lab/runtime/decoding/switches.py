"""Switches: total lengths at which a decoder graph changes its computation, as LongRoPE does.

Phi-3 and Phi-4-mini choose one of two rotary caches by the total length of the run (Ding et al.
2024, LongRoPE): the width of the attention mask in exports of onnxruntime-genai, the highest
position in those of Optimum. Keys rotated on one side of a switch are wrong on the other.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.runtime.hardware import devices

_COMPARISONS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
# operators that compute a length; none creates a large tensor from small ones
_ARITHMETIC = {
    *("Constant", "Shape", "Size", "Gather", "Slice", "Concat", "Where", "Clip", "Identity"),
    *("Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "ReduceMax", "ReduceMin", "ReduceSum"),
    *("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Sum", "Neg", "Abs", "Floor", "Ceil"),
    *("Equal", "Not", "And", "Or", *_COMPARISONS),
}
_MAX_CONSTANT_ELEMENTS = 1024  # of a constant in the computation of a length
_Run = Callable[[dict[str, Array]], list[Array]]
_MIN_TOTAL_TOKENS = 3  # two tokens after a past, so that a comparison per token has two elements


@dataclass(frozen=True)
class Switches:
    """The switch lengths of a graph in ascending order; each belongs to its lower side.

    With `by_mask`, only the width of the attention mask matters.
    """

    lengths: tuple[int, ...] = ()
    by_mask: bool = False

    def side(self, total: int) -> int:
        """Return the side of a total length, counted from 0."""
        return bisect_left(self.lengths, total)

    def shortest(self, total: int) -> int:
        """Return the shortest total on the side of this one."""
        side = self.side(total)
        return self.lengths[side - 1] + 1 if side else 1

    def longest(self, total: int, limit: int) -> int:
        """Return the longest total on the side of this one, at most `limit`."""
        side = self.side(total)
        return min(limit, self.lengths[side]) if side < len(self.lengths) else limit


def read_switches(
    model: Any, nodes: Iterable[Any], context: int, configured: int | None = None
) -> Switches:
    """Find the switch lengths below `context` in an `onnx.ModelProto` with these nodes.

    A switch is a comparison of two lengths with one result per run, which differs between short
    and long runs. `configured` is the length in the model's config; it is used if a comparison in
    the graph cannot be followed.
    """
    lengths = _Lengths.of(model, list(nodes))
    found = lengths.switches(context)
    if not found.lengths and lengths.unknown and configured is not None and configured < context:
        return Switches((configured,))
    return found


class _Lengths:
    """The subgraph that compares lengths.

    `unknown` is whether a comparison depends on values outside it.
    """

    def __init__(self, run: _Run | None, inputs: dict[str, Any], unknown: bool) -> None:
        self._run = run
        self._inputs = inputs
        self.unknown = unknown

    @classmethod
    def of(cls, model: Any, nodes: list[Any]) -> _Lengths:
        """Extract the comparisons of lengths and the nodes that compute the lengths."""
        import onnx

        graph = model.graph
        inputs = {value.name: value for value in graph.input}
        constants = {tensor.name: tensor for tensor in graph.initializer if _small(tensor)}
        producers: dict[str, Any] = {}
        for node in nodes:  # the graph's own nodes precede those of functions
            for name in node.output:
                producers.setdefault(name, node)
        known: dict[str, bool] = {}

        def resolves(name: str) -> bool:
            stack = [name]
            while stack:
                each = stack[-1]
                if each in known:
                    stack.pop()
                elif not each or each in constants or each in inputs:
                    known[each] = True
                elif (node := producers.get(each)) is None or not _computes_lengths(node):
                    known[each] = False
                else:
                    left = [inner for inner in node.input if inner not in known]
                    if any(inner in stack for inner in left):
                        known[each] = False  # not a valid graph
                    elif left:
                        stack.extend(left)
                    else:
                        known[each] = all(known[inner] for inner in node.input)
            return known[name]

        compared = [node.output[0] for node in nodes if node.op_type in _COMPARISONS]
        resolved = [name for name in compared if resolves(name)]
        unknown = len(resolved) < len(compared)
        if not resolved:
            return cls(None, {}, unknown)
        needed, stack = set[str](), list(resolved)
        while stack:
            name = stack.pop()
            if name not in needed:
                needed.add(name)
                stack.extend(
                    producers[name].input if name in producers and name not in inputs else ()
                )
        used = {
            name: value
            for name, value in inputs.items()
            if name in needed and name not in constants
        }
        part = onnx.helper.make_graph(
            [
                node
                for node in nodes
                if any(each in needed and producers[each] is node for each in node.output)
            ],
            "lengths",
            list(used.values()),
            [
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BOOL, None)
                for name in resolved
            ],
            [tensor for name, tensor in constants.items() if name in needed],
        )
        cut = onnx.helper.make_model(
            part, opset_imports=model.opset_import, ir_version=model.ir_version
        )
        options = devices.onnxruntime().SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        try:
            session = devices.onnxruntime().InferenceSession(
                cut.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception:  # onnxruntime's own exceptions have no common base
            return cls(None, {}, True)
        return cls(lambda feeds: list(session.run(None, feeds)), used, unknown)

    def switches(self, context: int) -> Switches:
        """Bisect each comparison that differs between a short run and the longest."""
        if self._run is None or context <= _MIN_TOTAL_TOKENS:
            return Switches()
        try:
            first, last = self._results(_MIN_TOTAL_TOKENS), self._results(context)
            changing = [
                index
                for index, result in enumerate(first)
                if result is not None and last[index] is not None
            ]
            changing = [index for index in changing if first[index] != last[index]]
            lengths = {self._bisected(index, bool(first[index]), context) for index in changing}
            by_mask = bool(lengths) and all(
                self._results(total, width=width)[index] == self._results(width)[index]
                for length in lengths
                for total, width in ((2, length), (2, length + 1))
                for index in changing
            )
        except Exception:  # onnxruntime's own exceptions have no common base
            self.unknown = True
            return Switches()
        return Switches(tuple(sorted(lengths)), by_mask)

    def _bisected(self, index: int, short: bool, context: int) -> int:
        low, high = _MIN_TOTAL_TOKENS, context
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._results(middle)[index] == short else (low, middle)
        return low

    def _results(self, total: int, width: int | None = None) -> list[bool | None]:
        """Return each comparison's result in a run up to `total` tokens; None for several."""
        assert self._run is not None
        mask = np.zeros((1, width or total), np.int64)
        mask[:, :total] = 1
        values = {"attention_mask": mask, "position_ids": np.arange(total - 2, total)[None]}
        feeds = {}
        for name, value in self._inputs.items():
            dtype = _dtype(value)
            if name in values:
                feeds[name] = values[name].astype(dtype)
            elif name.startswith("past_key_values."):
                axes = [axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim]
                feeds[name] = np.zeros((1, axes[1], total - 2, axes[3]), dtype)
            elif len(value.type.tensor_type.shape.dim) == 2:
                feeds[name] = np.zeros((1, 2), dtype)
            else:
                feeds[name] = np.ones([1] * len(value.type.tensor_type.shape.dim), dtype)
        return [bool(result.item()) if result.size == 1 else None for result in self._run(feeds)]


def _computes_lengths(node: Any) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in _ARITHMETIC


def _small(tensor: Any) -> bool:
    return (
        not tensor.external_data
        and int(np.prod(tensor.dims, dtype=np.int64)) <= _MAX_CONSTANT_ELEMENTS
    )


def _dtype(value: Any) -> Any:
    import onnx

    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
