"""Flow: the batch axis, shape and row independence of one tensor in a graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

ROWS_DIM = "\0rows"  # the dimension of the batch axis
COUNTED_DIM = "\0counted"  # another number that depends on the number of rows
LOST = -1  # the position of a batch axis that is unknown or may not exist

INDEPENDENT, UNCLEAR, MIXED = range(3)  # how a tensor's rows depend on each other

Dim = int | str | None  # a size, its name, or unknown
Size = tuple[int, tuple[str, ...]]  # a product of known and named sizes


class Unclear(Exception):
    """No rule determines the batch axis."""


@dataclass(frozen=True)
class Flow:
    """One tensor of a graph: its batch `axis`, None without one or `LOST`, and its dependence.

    Along `axis` there are `factor` entries per sample, None for an unknown integer. `shape`, and
    `value` (the entries of a small tensor), are partly known. `counted`: the entries depend
    on the number of rows.
    """

    axis: int | None = None
    factor: Size | None = (1, ())
    mixed: int = INDEPENDENT
    shape: tuple[Dim, ...] | None = None
    value: tuple[Dim, ...] | None = None
    counted: bool = False

    @property
    def rank(self) -> int:
        """The number of axes; raises `Unclear` if it is unknown."""
        if self.shape is None:
            raise Unclear
        return len(self.shape)

    @property
    def has_rows(self) -> bool:
        """Whether there is, or may be, a batch axis."""
        return self.axis is not None

    def with_dims(self, dim: Callable[[int, Dim], Dim]) -> Flow:
        """Return the flow with each dimension mapped by `dim(axis, size)`."""
        if self.shape is None:
            return self
        return replace(self, shape=tuple(dim(i, size) for i, size in enumerate(self.shape)))

    def without(self, axes: Collection[int]) -> Flow:
        """Return the flow without some axes, which must not include the batch axis."""
        axis, shape = batch_axis(self), self.shape
        if shape is not None:
            shape = tuple(dim for i, dim in enumerate(shape) if i not in axes)
        return replace(self, axis=axis - sum(a < axis for a in axes), shape=shape)

    def resized(self, axis: int) -> Flow:
        """Return the flow with another size of an axis; resizing the batch axis mixes samples."""
        if axis == self.axis:
            return Flow(LOST, None, MIXED)
        return self.with_dims(lambda i, dim: None if i == axis else dim)


@dataclass(frozen=True)
class Node:
    """One node: its operator, attributes, the opset, and the inferred rank of its first output."""

    kind: str
    attributes: dict[str, Any]
    opset: int
    rank: int | None

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)


InputFlows = Sequence[Flow | None]
Rule = Callable[[Node, InputFlows], Flow]


def first(inputs: InputFlows) -> Flow:
    """Return the first input; raise `Unclear` unless it alone has a batch axis."""
    head = inputs[0] if inputs else None
    if head is None or not head.has_rows or any(f and f.has_rows for f in inputs[1:]):
        raise Unclear
    return head


def from_front(flow: Flow, axis: int) -> int:
    """Return an axis counted from the front."""
    return axis if axis >= 0 else axis + flow.rank


def batch_axis(flow: Flow) -> int:
    """Return the batch axis; raise `Unclear` without one."""
    if flow.axis is None:
        raise Unclear
    return flow.axis


def named_axes(node: Node, inputs: InputFlows, place: int = 1) -> tuple[int, ...] | None:
    """Return the axes in a node's attribute (old opsets) or input at `place` (new ones)."""
    if node.get("axes") is not None:
        return tuple(node.get("axes"))
    given = inputs[place] if len(inputs) > place else None
    if given is None:
        return None
    if given.value is None or not all(isinstance(axis, int) for axis in given.value):
        raise Unclear
    return tuple(axis for axis in given.value if isinstance(axis, int))


def size_of(dims: Sequence[Dim]) -> Size | None:
    """Return the product of dimensions, or None if one is unknown."""
    number, names = 1, []
    for dim in dims:
        if isinstance(dim, int):
            number *= dim
        elif dim is None or dim in (ROWS_DIM, COUNTED_DIM):
            return None
        else:
            names.append(dim)
    return number, tuple(sorted(names))


def multiply_sizes(a: Size | None, b: Size | None) -> Size | None:
    """Return a · b."""
    return None if a is None or b is None else (a[0] * b[0], tuple(sorted((*a[1], *b[1]))))


def divide_sizes(a: Size | None, b: Size | None) -> Size | None:
    """Return a / b, or None unless it is certainly an integer."""
    if a is None or b is None or b[0] == 0 or a[0] % b[0]:
        return None
    rest = list(a[1])
    for name in b[1]:
        if name not in rest:
            return None
        rest.remove(name)
    return a[0] // b[0], tuple(rest)
