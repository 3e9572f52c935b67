"""Flow: the batch axis, shape and row independence of one tensor in a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ROWS = "\0rows"  # the name of the batch axis among the dimensions of a graph
COUNTED = "\0counted"  # a number that depends on the number of rows in another way
LOST = -1  # there may be a batch axis, but where is unknown

INDEPENDENT, UNCLEAR, MIXED = range(3)  # how a tensor's rows depend on each other

Dim = int | str | None  # a size, its name, or unknown
Size = tuple[int, tuple[str, ...]]  # a product of known sizes and named ones


class Unclear(Exception):
    """No rule says where the batch axis goes."""


@dataclass(frozen=True)
class Flow:
    """One tensor of a graph: its batch `axis` (None without one, or `LOST`) and how its rows depend
    on each other.

    Along `axis` there are `factor` entries per sample, None for an unknown whole number. `shape`
    and the entries of a small integer tensor, `value`, are known in part. `counted` says that the
    numbers depend on the number of rows.
    """

    axis: int | None = None
    factor: Size | None = (1, ())
    mixed: int = INDEPENDENT
    shape: tuple[Dim, ...] | None = None
    value: tuple[Dim, ...] | None = None
    counted: bool = False

    @property
    def rank(self) -> int:
        """The number of axes; raises `Unclear` where it is unknown."""
        if self.shape is None:
            raise Unclear
        return len(self.shape)

    @property
    def has_rows(self) -> bool:
        """Whether there is a batch axis, or may be one."""
        return self.axis is not None


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


Inputs = Sequence[Flow | None]
Rule = Callable[[Node, Inputs], Flow]


def first(inputs: Inputs) -> Flow:
    """Return the first input; unclear where it has no batch axis or another input has one."""
    if (
        not inputs
        or inputs[0] is None
        or not inputs[0].has_rows
        or any(f and f.has_rows for f in inputs[1:])
    ):
        raise Unclear
    return inputs[0]


def at(flow: Flow, axis: int) -> int:
    """Return an axis counted from the front."""
    return axis if axis >= 0 else axis + flow.rank


def axis_of(flow: Flow) -> int:
    """Return the batch axis; unclear without one."""
    if flow.axis is None:
        raise Unclear
    return flow.axis


def named_axes(node: Node, inputs: Inputs, place: int = 1) -> tuple[int, ...] | None:
    """Return the axes that a node names, by an attribute in old opsets and by an input in new ones."""
    if node.get("axes") is not None:
        return tuple(node.get("axes"))
    given = inputs[place] if len(inputs) > place else None
    if given is None:
        return None
    if given.value is None or not all(isinstance(axis, int) for axis in given.value):
        raise Unclear
    return tuple(axis for axis in given.value if isinstance(axis, int))


def size(dims: Sequence[Dim]) -> Size | None:
    """Return the product of dimensions, None where one is unknown."""
    number, names = 1, []
    for dim in dims:
        if isinstance(dim, int):
            number *= dim
        elif dim is None or dim in (ROWS, COUNTED):
            return None
        else:
            names.append(dim)
    return number, tuple(sorted(names))


def times(a: Size | None, b: Size | None) -> Size | None:
    """Return a · b."""
    return None if a is None or b is None else (a[0] * b[0], tuple(sorted((*a[1], *b[1]))))


def ratio(a: Size | None, b: Size | None) -> Size | None:
    """Return a / b where that is certainly a whole number, else None."""
    if a is None or b is None or b[0] == 0 or a[0] % b[0]:
        return None
    rest = list(a[1])
    for name in b[1]:
        if name not in rest:
            return None
        rest.remove(name)
    return a[0] // b[0], tuple(rest)
