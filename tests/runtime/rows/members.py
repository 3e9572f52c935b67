"""Small graphs `y = f(x)` whose rows are independent or mixed, each by another operator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.runtime import graphs
from tests.runtime.graphs import constant, node

Axes = Sequence[int | str | None]
RANDOM = np.random.default_rng(0)
W = constant("W", RANDOM.standard_normal((3, 3)).astype(np.float32))
X3 = RANDOM.standard_normal((4, 3)).astype(np.float32)


class Member(NamedTuple):
    """Nodes from `x` to `y` with the axes of both; `axis` and `out` are their batch axes."""

    nodes: list[Any]
    constants: list[Any]
    axes: Axes
    answer: Axes
    axis: int = 0
    out: int | None = 0

    def save(self, path: Path, *, named: bool = False) -> Path:
        """Write the graph; by default the free axes have no names."""
        ends = [
            [a if isinstance(a, int) or named else None for a in axes]
            for axes in (self.axes, self.answer)
        ]
        x, y = graphs.value("x", ends[0]), graphs.value("y", ends[1])
        return graphs.save(path, self.nodes, [x], [y], self.constants)

    def rows(self, count: int, seed: int = 0) -> Any:
        """Return `count` rows of very different magnitudes."""
        sizes = [axis if isinstance(axis, int) else 5 for axis in self.axes]
        sizes[self.axis] = count
        array = np.random.default_rng(seed).standard_normal(sizes).astype(np.float32)
        scale = 10.0 ** np.arange(count) / 10
        return (
            array * scale.reshape([-1 if i == self.axis else 1 for i in range(len(sizes))])
        ).astype(np.float32)


def one(
    kind: str,
    *more: Any,
    shape: Axes = ("batch", 3),
    answer: Axes | None = None,
    at: int = 0,
    out: int | None = 0,
    **attributes: Any,
) -> Member:
    """Return a member of one node; further inputs are constants, `at` is the batch axis of `x`."""
    made = node(kind, ["x", *(c.name for c in more)], ["y"], **attributes)
    return Member([made], list(more), shape, shape if answer is None else answer, at, out)


def ints(name: str, *numbers: int) -> Any:
    """Return a constant list of integers."""
    return constant(name, np.array(numbers, np.int64))


_ROW = [
    node("Shape", ["x"], ["shape"]),
    node("Gather", ["shape", "zero"], ["n"]),
    node("Unsqueeze", ["n", "first"], ["n1"]),
]
_ROWS = [ints("first", 0), constant("zero", np.array(0))]
_LSTM = [
    constant("LW", RANDOM.standard_normal((1, 8, 3)).astype(np.float32)),
    constant("LR", RANDOM.standard_normal((1, 8, 2)).astype(np.float32)),
]
PICTURE: Axes = ("batch", 3, 4, 4)

INDEPENDENT: dict[str, Member] = {
    "relu": one("Relu"),
    "dense": one("MatMul", W),
    "gemm": one("Gemm", W, constant("b", np.ones(3, np.float32)), transB=1),
    "scaled by a constant": one("Mul", constant("s", np.ones((1, 3), np.float32))),
    "softmax of a row": one("Softmax", axis=1),
    "mean of a row": one("ReduceMean", axes=[1], keepdims=0, answer=("batch",)),
    "mean of a row, from the end": one("ReduceMean", axes=[-1], keepdims=1, answer=("batch", 1)),
    "layer norm": one("LayerNormalization", constant("g", np.ones(3, np.float32))),
    "transposed": one("Transpose", perm=[1, 0], answer=(3, "batch"), out=1),
    "time first": one(
        "Transpose", shape=("batch", 3, 20), perm=[2, 0, 1], answer=(20, "batch", 3), out=1
    ),
    "dense over time first": one("MatMul", W, shape=(20, "batch", 3), at=1, out=1),
    "argmax of a row": one("ReduceMax", axes=[1], keepdims=0, answer=("batch",)),
    "cumsum of a row": one("CumSum", constant("along", np.array(1))),
    "sorted within a row": Member(
        [node("TopK", ["x", "k"], ["y", "places"], axis=1)],
        [ints("k", 2)],
        ("batch", 3),
        ("batch", 2),
    ),
    "a column": one("Slice", ints("from", 0), ints("to", 1), ints("axes", 1), answer=("batch", 1)),
    "all rows, as TensorFlow writes them": one(
        "Slice",
        ints("from", 0, 1),
        ints("to", 10**9, 10**9),
        ints("axes", 0, 1),
        answer=("batch", 2),
    ),
    "columns": one("Gather", ints("places", 2, 0), axis=1, answer=("batch", 2)),
    "beside itself": Member(
        [node("Concat", ["x", "x"], ["y"], axis=1)], [], ("batch", 3), ("batch", 6)
    ),
    "padded columns": one("Pad", ints("pads", 0, 1, 0, 1), answer=("batch", 5)),
    "flattened": one("Flatten", shape=PICTURE, answer=("batch", 48)),
    "reshaped by -1": one("Reshape", ints("to", -1, 48), shape=PICTURE, answer=("batch", 48)),
    "reshaped by 0": one("Reshape", ints("to", 0, 48), shape=PICTURE, answer=("batch", 48)),
    "tokens folded into rows and back": Member(
        [
            node("Reshape", ["x", "flat"], ["f"]),
            node("MatMul", ["f", "W"], ["g"]),
            *_ROW,
            node("Concat", ["n1", "rest"], ["back"], axis=0),
            node("Reshape", ["g", "back"], ["y"]),
        ],
        [ints("flat", -1, 3), ints("rest", -1, 3), W, *_ROWS],
        ("batch", "tokens", 3),
        ("batch", "tokens", 3),
    ),
    "convolution": one(
        "Conv",
        constant("K", np.ones((2, 3, 3, 3), np.float32)),
        shape=PICTURE,
        answer=("batch", 2, 2, 2),
    ),
    "mean of a picture": one("GlobalAveragePool", shape=PICTURE, answer=("batch", 3, 1, 1)),
    "attention within a row": Member(
        [
            node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
            node("MatMul", ["x", "t"], ["scores"]),
            node("Softmax", ["scores"], ["weights"], axis=-1),
            node("MatMul", ["weights", "x"], ["y"]),
        ],
        [],
        ("batch", "tokens", 3),
        ("batch", "tokens", 3),
    ),
    "einsum": one("Einsum", W, equation="bi,ij->bj"),
    "lstm with the batch second": Member(
        [node("LSTM", ["x", "LW", "LR"], ["y"], hidden_size=2)],
        _LSTM,
        (6, "batch", 3),
        (6, 1, "batch", 2),
        1,
        2,
    ),
    "the last state of an lstm": Member(
        [node("LSTM", ["x", "LW", "LR"], ["", "y"], hidden_size=2)],
        _LSTM,
        (6, "batch", 3),
        (1, "batch", 2),
        1,
        1,
    ),
    "an expanded constant beside": Member(
        [
            *_ROW,
            node("Concat", ["n1", "two"], ["size"], axis=0),
            node("Expand", ["c", "size"], ["e"]),
            node("Concat", ["x", "e"], ["y"], axis=1),
        ],
        [ints("two", 2), constant("c", np.ones((1, 2), np.float32)), *_ROWS],
        ("batch", 3),
        ("batch", 5),
    ),
    "a constant": Member(
        [node("Identity", ["c"], ["y"])],
        [constant("c", np.arange(3, dtype=np.float32))],
        ("batch", 3),
        (3,),
        0,
        None,
    ),
}


def _scaled_by(kind: str, **attributes: Any) -> Member:
    """Divide by one number of the whole batch."""
    nodes = [
        node("Abs", ["x"], ["a"]),
        node(kind, ["a"], ["s"], **attributes),
        node("Div", ["x", "s"], ["y"]),
    ]
    return Member(nodes, [], ("batch", 3), ("batch", 3))


def _quantized() -> Member:
    made = [
        node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    return Member(made, [], ("batch", 3), ("batch", 3))


MIXED: dict[str, Member] = {
    "int8 with one scale": _quantized(),
    "minus the mean of the batch": Member(
        [node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), node("Sub", ["x", "m"], ["y"])],
        [],
        ("batch", 3),
        ("batch", 3),
    ),
    "over the batch's maximum": _scaled_by("ReduceMax", keepdims=0),
    "over the batch's minimum": _scaled_by("ReduceMin", axes=[-2], keepdims=1),
    "over the batch's length": _scaled_by("ReduceL2", keepdims=1),
    "over the batch's sum": _scaled_by("ReduceSum", keepdims=0),
    "softmax over the batch": one("Softmax", axis=0),
    "cumsum over the batch": one("CumSum", constant("along", np.array(-2))),
    "layer norm over everything": one(
        "LayerNormalization", constant("g", np.ones((1, 3), np.float32)), axis=0
    ),
    "every row with every row": Member(
        [
            node("Transpose", ["x"], ["t"], perm=[1, 0]),
            node("MatMul", ["x", "t"], ["s"]),
            node("Softmax", ["s"], ["w"], axis=1),
            node("MatMul", ["w", "x"], ["y"]),
        ],
        [],
        ("batch", 3),
        ("batch", 3),
    ),
    "attention over the batch, time first": Member(
        [
            node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
            node("MatMul", ["x", "t"], ["s"]),
            node("MatMul", ["s", "x"], ["y"]),
        ],
        [],
        (4, "batch", 3),
        (4, "batch", 3),
        1,
        1,
    ),
    "an lstm along the batch": Member(
        [
            node("LSTM", ["x", "LW", "LR"], ["h"], hidden_size=2),
            node("Squeeze", ["h", "one"], ["y"]),
        ],
        [*_LSTM, ints("one", 1)],
        ("batch", 1, 3),
        ("batch", 1, 2),
    ),
    "the first row beside each": Member(
        [node("Gather", ["x", "zero"], ["r"]), node("Sub", ["x", "r"], ["y"])],
        [constant("zero", np.array([0]))],
        ("batch", 3),
        ("batch", 3),
    ),
    "over the number of rows": Member(
        [*_ROW, node("Cast", ["n"], ["f"], to=1), node("Div", ["x", "f"], ["y"])],
        _ROWS,
        ("batch", 3),
        ("batch", 3),
    ),
    "einsum over the batch": one("Einsum", equation="bi->i", answer=(3,), out=None),
    "normalised along the batch": one("LpNormalization", axis=0),
    "columns sorted over the batch": Member(
        [
            node("Transpose", ["x"], ["t"], perm=[1, 0]),
            *_ROW,
            node("TopK", ["t", "n1"], ["v", "p"], axis=1),
            node("Transpose", ["v"], ["y"], perm=[1, 0]),
        ],
        _ROWS,
        ("batch", 3),
        ("batch", 3),
    ),
}
