"""Products: the rules of operators that multiply, and of those with the batch axis first."""

from __future__ import annotations

from dataclasses import replace

from conduit_lab.runtime.rows.axes import broadcast
from conduit_lab.runtime.rows.flow import (
    LOST,
    MIXED,
    ROWS_DIM,
    UNCLEAR,
    Flow,
    InputFlows,
    Node,
    Rule,
    Unclear,
    batch_axis,
    first,
    from_front,
    multiply_sizes,
    size_of,
)

# Products


def product(a: Flow, b: Flow) -> Flow:
    """Multiply matrices; contracting the batch axis mixes samples."""
    rank = max(a.rank, b.rank)
    if min(a.rank, b.rank) < 2 and a.has_rows and a.rank == 1:
        return Flow(None, mixed=MIXED)
    places = []
    for flow, contracted, other in ((a, -1, b), (b, -2 if b.rank > 1 else -1, a)):
        if not flow.has_rows:
            continue
        place = batch_axis(flow) - flow.rank
        if place == contracted:
            return Flow(None, mixed=MIXED)
        if place < -2 and not other.has_rows and other.rank >= -place and other.shape[place] != 1:  # type: ignore[index]
            raise Unclear
        places.append(place)
    if len(set(places)) > 1 or (len(places) == 2 and places[0] >= -2):
        return Flow(LOST, None, MIXED)  # combines every sample with every other
    if a.has_rows and b.has_rows and a.factor != b.factor:
        raise Unclear
    shift = a.rank == 1 and places[0] == -1  # the contracted axis is removed
    answer = rank - (min(a.rank, b.rank) == 1)
    return Flow(rank + places[0] - shift, (a if a.has_rows else b).factor, shape=(None,) * answer)


def matmul(*places: int) -> Rule:
    """Multiply the inputs at two places; all others must be constants."""

    def rule(node: Node, inputs: InputFlows) -> Flow:
        a, b = (inputs[i] for i in places)
        if a is None or b is None or node.get("transBatchA", 0) or node.get("transBatchB", 0):
            raise Unclear
        if any(f and f.has_rows for i, f in enumerate(inputs) if i not in places):
            raise Unclear
        return product(_transposed(a, node.get("transA", 0)), _transposed(b, node.get("transB", 0)))

    return rule


def _transposed(flow: Flow, flag: int) -> Flow:
    """Return a matrix with its last two axes swapped if `flag` is set."""
    if not flag:
        return flow
    if flow.shape is None:
        raise Unclear
    rank = flow.rank
    swap = {rank - 1: rank - 2, rank - 2: rank - 1}
    shape = (*flow.shape[:-2], flow.shape[-1], flow.shape[-2])
    axis = flow.axis if flow.axis is None else swap.get(flow.axis, flow.axis)
    return replace(flow, axis=axis, shape=shape)


def gemm(node: Node, inputs: InputFlows) -> Flow:
    """Multiply two matrices and add a third."""
    a, b = inputs[0], inputs[1]
    if a is None or b is None:
        raise Unclear
    made = product(_transposed(a, node.get("transA", 0)), _transposed(b, node.get("transB", 0)))
    if made.mixed or len(inputs) < 3 or inputs[2] is None:
        return made
    return broadcast(node, [made, inputs[2]])


def nbits(_: Node, inputs: InputFlows) -> Flow:
    """Multiply by a packed constant matrix."""
    flow = first(inputs)
    if flow.axis != 0 and flow.axis == flow.rank - 1:
        return Flow(None, mixed=MIXED)
    return replace(flow, shape=(None,) * flow.rank)


def einsum(node: Node, inputs: InputFlows) -> Flow:
    """Follow the letter of the batch axis through the equation."""
    equation = node.get("equation", b"").decode().replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not arrow or "." in equation:
        raise Unclear
    flows = [flow for flow in inputs if flow is not None]
    pairs = list(zip(terms, flows, strict=True))
    letters = {term[batch_axis(flow)] for term, flow in pairs if flow.has_rows}
    if len(letters) > 1:
        return Flow(LOST, None, MIXED)
    (letter,) = letters
    if letter not in right:
        return Flow(None, mixed=MIXED)
    if any(letter in term for term, flow in pairs if not flow.has_rows):
        raise Unclear
    factors = {flow.factor for flow in flows if flow.has_rows}
    if len(factors) > 1 or any(term.count(letter) > 1 for term in (*terms, right)):
        raise Unclear
    return Flow(right.index(letter), factors.pop())


# The batch axis first


def leading(_: Node, inputs: InputFlows) -> Flow:
    """Process each entry of the first axis independently; a later batch axis mixes samples."""
    rows = [flow for flow in inputs if flow is not None and flow.has_rows]
    if any(flow.shape is not None and flow.rank < 2 for flow in rows):
        raise Unclear  # a single sample's features
    if {flow.axis for flow in rows} != {0}:
        return Flow(LOST, None, MIXED if len(rows) == 1 else UNCLEAR)
    if len({flow.factor for flow in rows}) > 1:
        raise Unclear
    return Flow(0, rows[0].factor)


def attention(node: Node, inputs: InputFlows) -> Flow:
    """Attend within each sample; a constant other than weights and masks must suit all samples."""
    for flow in inputs:
        if flow is not None and not flow.has_rows and flow.rank > 2 and flow.shape[0] != 1:  # type: ignore[index]
            raise Unclear
    return leading(node, inputs)


def residual(node: Node, inputs: InputFlows) -> Flow:
    """Add and normalize within each entry, in the shape of the first input."""
    return replace(leading(node, inputs), shape=inputs[0].shape if inputs[0] else None)


def windows(node: Node, inputs: InputFlows) -> Flow:
    """Convolve or pool a batch of images with constant weights."""
    first(inputs)
    return leading(node, inputs)


def resize(node: Node, inputs: InputFlows) -> Flow:
    """Scale other axes than the batch axis."""
    flow = first(inputs)
    own = batch_axis(flow)
    if node.get("axes") is not None:
        if own in {from_front(flow, a) for a in node.get("axes")}:
            raise Unclear
        return replace(flow, shape=(None,) * flow.rank)
    given = [f for f in inputs[1:] if f is not None and f.value]
    numbers = given[-1].value if given else node.get("scales")
    is_size = len(inputs) > 3 and inputs[3] is not None and given
    if not numbers or len(numbers) <= own or numbers[own] != (ROWS_DIM if is_size else 1):
        raise Unclear
    return replace(flow, shape=(None,) * flow.rank)


def recurrent(node: Node, inputs: InputFlows) -> Flow:
    """Follow LSTM, GRU or RNN: `Y` is [time, directions, batch, hidden], or has the batch first."""
    x = inputs[0]
    own = 0 if node.get("layout", 0) else 1
    if x is None or x.axis != own:
        if x is not None and x.axis == 1 - own:
            return Flow(LOST, None, MIXED)
        raise Unclear
    places = {1: None, 2: None, 3: None, 4: 0, 5: own, 6: own, 7: None}
    for i, flow in enumerate(inputs):
        if i and flow is not None and flow.axis != places[i]:
            raise Unclear
    return Flow(0 if own == 0 else 2, x.factor)


def features(_: Node, inputs: InputFlows) -> Flow:
    """Select columns by index, or a constant's entries by the samples' own indices."""
    data, indices = inputs[0], inputs[1]
    if data is None or indices is None:
        raise Unclear
    if not data.has_rows:
        if indices.axis != 0 or data.rank != 1 or indices.shape is None:
            raise Unclear
        factor = multiply_sizes(indices.factor, size_of(indices.shape[1:]))
        return Flow(1, factor, shape=(1, ROWS_DIM if factor == (1, ()) else None))
    if indices.has_rows or data.axis != 0 or data.shape is None or data.rank < 2:
        raise Unclear
    return replace(data, shape=(*data.shape[:-1], None))
