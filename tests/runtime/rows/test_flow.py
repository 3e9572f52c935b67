"""Flows, sizes and axes, on which the rules of all operators rest."""

from __future__ import annotations

import pytest

from conduit_lab.runtime.rows.flow import (
    COUNTED_DIM,
    LOST,
    MIXED,
    ROWS_DIM,
    Dim,
    Flow,
    Node,
    Size,
    Unclear,
    divide_sizes,
    first,
    from_front,
    multiply_sizes,
    named_axes,
    size_of,
)

BATCH = Flow(1, shape=(4, ROWS_DIM, 3))
CONSTANT = Flow(shape=(3,))


def test_removing_axes_moves_the_batch_axis() -> None:
    assert BATCH.without({0}) == Flow(0, shape=(ROWS_DIM, 3))
    assert BATCH.without({2}) == Flow(1, shape=(4, ROWS_DIM))


def test_resizing_forgets_a_size_and_resizing_the_batch_axis_mixes_samples() -> None:
    assert BATCH.resized(2) == Flow(1, shape=(4, ROWS_DIM, None))
    assert BATCH.resized(1) == Flow(LOST, None, MIXED)


def test_dimensions_are_mapped_with_their_axis() -> None:
    assert BATCH.with_dims(lambda i, dim: i if i == 2 else dim).shape == (4, ROWS_DIM, 2)
    assert Flow(0).with_dims(lambda i, dim: i) == Flow(0)


def test_the_first_input_must_be_the_only_batched_one() -> None:
    assert first([BATCH, CONSTANT, None]) is BATCH
    for inputs in ([], [None], [CONSTANT], [BATCH, BATCH]):
        with pytest.raises(Unclear):
            first(inputs)


def test_an_axis_from_the_end_needs_a_rank() -> None:
    assert [from_front(BATCH, axis) for axis in (0, 2, -1, -3)] == [0, 2, 2, 0]
    with pytest.raises(Unclear):
        from_front(Flow(0), -1)


def test_axes_are_named_by_attribute_or_input() -> None:
    assert named_axes(Node("Squeeze", {"axes": [1]}, 11, None), [BATCH]) == (1,)
    node = Node("Squeeze", {}, 13, None)
    assert named_axes(node, [BATCH]) is None
    assert named_axes(node, [BATCH, Flow(shape=(1,), value=(2,))]) == (2,)
    for value in (None, ("n",), (None,)):
        with pytest.raises(Unclear):
            named_axes(node, [BATCH, Flow(shape=(1,), value=value)])


@pytest.mark.parametrize(
    ("dims", "size"),
    [
        ((), (1, ())),
        ((2, 3), (6, ())),
        (("t", 2, "h"), (2, ("h", "t"))),
        ((2, None), None),
        ((2, ROWS_DIM), None),
        ((2, COUNTED_DIM), None),
    ],
)
def test_a_size_is_the_product_of_dimensions(dims: tuple[Dim, ...], size: Size | None) -> None:
    assert size_of(dims) == size


def test_sizes_are_multiplied() -> None:
    assert multiply_sizes((2, ("t",)), (3, ("h",))) == (6, ("h", "t"))
    assert multiply_sizes(None, (3, ())) is multiply_sizes((3, ()), None) is None


@pytest.mark.parametrize(
    ("a", "b", "quotient"),
    [
        ((6, ("h", "t")), (3, ("t",)), (2, ("h",))),
        ((6, ()), (4, ()), None),
        ((6, ("h",)), (3, ("t",)), None),
        ((6, ()), (0, ()), None),
        (None, (1, ()), None),
        ((1, ()), None, None),
    ],
)
def test_sizes_are_divided_only_without_a_remainder(
    a: Size | None, b: Size | None, quotient: Size | None
) -> None:
    assert divide_sizes(a, b) == quotient
