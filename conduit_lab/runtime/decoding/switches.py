"""Switches: total lengths at which a decoder graph changes its computation, as LongRoPE does.

Phi-3 and Phi-4-mini have two rotary caches and choose one by the total length of the run (Ding et
al. 2024, LongRoPE): the width of the attention mask in exports of onnxruntime-genai, the highest
position in those of Optimum. Keys that were rotated on one side of such a length are wrong on the
other.
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
# Operators that compute a length; none makes a large tensor from small ones.
_ARITHMETIC = {
    *(
        "Constant",
        "Shape",
        "Size",
        "Gather",
        "Slice",
        "Concat",
        "Where",
        "Clip",
        "Identity",
        "Cast",
    ),
    *("Squeeze", "Unsqueeze", "Reshape", "Flatten", "ReduceMax", "ReduceMin", "ReduceSum"),
    *("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Sum", "Neg", "Abs", "Floor", "Ceil"),
    *("Equal", "Not", "And", "Or", *_COMPARISONS),
}
_MAX_CONSTANT = 1024  # elements of a constant that belongs to a length
_Run = Callable[[dict[str, Array]], list[Array]]
_LEAST_TOTAL = 3  # two tokens after a past, so that a comparison per token has two elements


@dataclass(frozen=True)
class Switches:
    """The switch lengths of a graph in rising order; a total up to one lies on its lower side.

    `by_mask` says that the width of the attention mask alone decides.
    """

    lengths: tuple[int, ...] = ()
    by_mask: bool = False

    def side(self, total: int) -> int:
        """Return the side of a total length, from 0."""
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
    """Find the switch lengths below `context` in a graph, an `onnx.ModelProto` with all its nodes.

    A switch is a comparison of two lengths that has one result for a whole run, and another result
    for long runs than for short ones. `configured` is the length that the model's config names; it
    stands in where the graph compares lengths in a way that cannot be followed.
    """
    lengths = _Lengths.of(model, list(nodes))
    found = lengths.switches(context)
    if not found.lengths and lengths.unknown and configured is not None and configured < context:
        return Switches((configured,))
    return found


class _Lengths:
    """The part of a graph that compares lengths, as a graph of its own.

    `unknown` says that some comparison is of values that this part does not hold.
    """

    def __init__(self, run: _Run | None, inputs: dict[str, Any], unknown: bool) -> None:
        self._run = run
        self._inputs = inputs
        self.unknown = unknown

    @classmethod
    def of(cls, model: Any, nodes: list[Any]) -> _Lengths:
        """Cut out the comparisons of lengths, with all that these are computed from."""
        import onnx

        graph = model.graph
        inputs = {value.name: value for value in graph.input}
        constants = {tensor.name: tensor for tensor in graph.initializer if _small(tensor)}
        makers: dict[str, Any] = {}
        for node in nodes:  # the graph's own come before those of functions
            for name in node.output:
                makers.setdefault(name, node)
        known: dict[str, bool] = {}

        def resolves(name: str) -> bool:
            stack = [name]
            while stack:
                each = stack[-1]
                if each in known:
                    stack.pop()
                elif not each or each in constants or each in inputs:
                    known[each] = True
                elif (node := makers.get(each)) is None or not _computes_lengths(node):
                    known[each] = False
                else:
                    left = [inner for inner in node.input if inner not in known]
                    if any(inner in stack for inner in left):
                        known[each] = False  # no valid graph
                    elif left:
                        stack.extend(left)
                    else:
                        known[each] = all(known[inner] for inner in node.input)
            return known[name]

        compared = [node.output[0] for node in nodes if node.op_type in _COMPARISONS]
        chosen = [name for name in compared if resolves(name)]
        unknown = len(chosen) < len(compared)
        if not chosen:
            return cls(None, {}, unknown)
        needed, stack = set[str](), list(chosen)
        while stack:
            name = stack.pop()
            if name not in needed:
                needed.add(name)
                stack.extend(makers[name].input if name in makers and name not in inputs else ())
        used = {
            name: value
            for name, value in inputs.items()
            if name in needed and name not in constants
        }
        part = onnx.helper.make_graph(
            [
                node
                for node in nodes
                if any(each in needed and makers[each] is node for each in node.output)
            ],
            "lengths",
            list(used.values()),
            [
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BOOL, None)
                for name in chosen
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
        except Exception:  # onnxruntime's own have no common base
            return cls(None, {}, True)
        return cls(lambda feeds: list(session.run(None, feeds)), used, unknown)

    def switches(self, context: int) -> Switches:
        """Bisect each comparison whose result changes between a short run and the longest."""
        if self._run is None or context <= _LEAST_TOTAL:
            return Switches()
        try:
            first, last = self._results(_LEAST_TOTAL), self._results(context)
            changing = [
                place
                for place, result in enumerate(first)
                if result is not None and last[place] is not None
            ]
            changing = [place for place in changing if first[place] != last[place]]
            lengths = {self._bisected(place, bool(first[place]), context) for place in changing}
            by_mask = bool(lengths) and all(
                self._results(total, width=width)[place] == self._results(width)[place]
                for length in lengths
                for total, width in ((2, length), (2, length + 1))
                for place in changing
            )
        except Exception:  # onnxruntime's own exceptions have no common base
            self.unknown = True
            return Switches()
        return Switches(tuple(sorted(lengths)), by_mask)

    def _bisected(self, place: int, short: bool, context: int) -> int:
        low, high = _LEAST_TOTAL, context
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._results(middle)[place] == short else (low, middle)
        return low

    def _results(self, total: int, width: int | None = None) -> list[bool | None]:
        """Return each comparison's result in a run that makes `total`; None for several."""
        assert self._run is not None
        mask = np.zeros((1, width or total), np.int64)
        mask[:, :total] = 1
        values = {"attention_mask": mask, "position_ids": np.arange(total - 2, total)[None]}
        feeds = {}
        for name, value in self._inputs.items():
            kind = _dtype(value)
            if name in values:
                feeds[name] = values[name].astype(kind)
            elif name.startswith("past_key_values."):
                axes = [axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim]
                feeds[name] = np.zeros((1, axes[1], total - 2, axes[3]), kind)
            elif len(value.type.tensor_type.shape.dim) == 2:
                feeds[name] = np.zeros((1, 2), kind)
            else:
                feeds[name] = np.ones([1] * len(value.type.tensor_type.shape.dim), kind)
        return [bool(result.item()) if result.size == 1 else None for result in self._run(feeds)]


def _computes_lengths(node: Any) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in _ARITHMETIC


def _small(tensor: Any) -> bool:
    return not tensor.external_data and int(np.prod(tensor.dims, dtype=np.int64)) <= _MAX_CONSTANT


def _dtype(value: Any) -> Any:
    import onnx

    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
