"""Rules of single operators: the flow of outputs that no run of a whole graph reaches."""

from __future__ import annotations

from typing import Any

import pytest

from conduit_lab.runtime.rows.flow import (
    COUNTED_DIM,
    LOST,
    MIXED,
    ROWS_DIM,
    Dim,
    Flow,
    Node,
    Unclear,
)
from conduit_lab.runtime.rows.rules import RULES

MIXED_AND_LOST = Flow(LOST, None, MIXED)


def rows(*shape: Dim, factor: Any = (1, ())) -> Flow:
    """Return a flow whose batch axis is the one of `ROWS_DIM` in `shape`."""
    return Flow(shape.index(ROWS_DIM), factor, shape=shape)


def fixed(*shape: Dim) -> Flow:
    return Flow(shape=shape)


def ints(*value: Dim) -> Flow:
    return Flow(shape=(len(value),), value=value)


R = ROWS_DIM


def apply(kind: str, *inputs: Flow | None, opset: int = 17, **attributes: Any) -> Flow | None:
    """Return the flow of an operator's output, or None if it is unclear."""
    try:
        return RULES[kind](Node(kind, attributes, opset, None), inputs)
    except Unclear:
        return None


def axis(kind: str, *inputs: Flow | None, opset: int = 17, **attributes: Any) -> int | None:
    """Return the batch axis of an operator's output, or None if it is unclear."""
    flow = apply(kind, *inputs, opset=opset, **attributes)
    return None if flow is None else flow.axis


def test_a_broadcast_aligns_the_last_axes() -> None:
    assert axis("Add", rows(R, 3), fixed(5, 1, 3)) == 1
    assert axis("Add", rows(R, 3), fixed(3)) == 0
    assert apply("Add", rows(R, 3), fixed(4, 3)) is None
    assert apply("Add", rows(R, 3), rows(3, R)) == MIXED_AND_LOST


def test_a_broadcast_needs_equally_many_entries_per_sample() -> None:
    assert apply("Add", rows(R, 3, factor=(2, ())), rows(R, 3)) is None
    unknown = rows(R, 3, factor=None)
    assert apply("Add", unknown, unknown) is None
    assert apply("Add", unknown, fixed(3)) == Flow(0, None, shape=(None, None))


def test_a_reduction_without_axes_reduces_all_unless_it_is_a_no_op() -> None:
    assert apply("ReduceSum", rows(R, 3)) == Flow(None, mixed=MIXED)
    assert apply("ReduceSum", rows(R, 3), noop_with_empty_axes=1) == rows(R, 3)


def test_a_reduction_keeps_its_axes_by_default() -> None:
    assert apply("ReduceSum", rows(3, R), axes=[0]) == rows(1, R)
    assert apply("ReduceSum", rows(3, R), axes=[0], keepdims=0) == rows(R)


def test_an_old_softmax_is_flat_only_from_its_axis() -> None:
    assert apply("Softmax", rows(R, 3), opset=11) == rows(R, 3)
    flow = apply("Softmax", rows(3, 4, R), opset=11)
    assert flow is not None
    assert flow.mixed == MIXED


def test_a_batch_norm_of_samples_as_channels_is_unclear() -> None:
    assert apply("BatchNormalization", rows(3, R)) is None
    assert apply("BatchNormalization", rows(R, 3)) == rows(R, 3)


def test_a_transpose_moves_the_batch_axis_to_its_place() -> None:
    assert apply("Transpose", rows(R, 3, 4), perm=[1, 2, 0]) == rows(3, 4, R)
    assert apply("Transpose", rows(3, R, 4), perm=[1, 2, 0]) == rows(R, 4, 3)


def test_squeezing_the_batch_axis_is_unclear() -> None:
    assert apply("Squeeze", rows(R, 1), axes=[0]) is None
    assert apply("Squeeze", rows(1, R), axes=[0]) == rows(R)


def test_an_inserted_axis_moves_the_batch_axis() -> None:
    assert apply("Unsqueeze", rows(R, 3), ints(0)) == rows(1, R, 3)
    assert apply("Unsqueeze", rows(R, 3), ints(-1)) == rows(R, 3, 1)


def test_flattened_axes_become_entries_of_a_sample() -> None:
    assert apply("Flatten", rows(R, 4, 5), axis=2) == Flow(0, (4, ()), shape=(None, None))
    assert apply("Flatten", rows(4, R, 5), axis=2) is None
    assert apply("Flatten", rows(R, 4), axis=0) is None


@pytest.mark.parametrize(
    ("shape", "target", "attributes", "expected"),
    [
        ((R, 4), (0, 2, 2), {}, (R, 2, 2)),
        ((R, 4), (0, 2, 2), {"allowzero": 1}, None),
        ((R, 4), (R, 2, 2), {}, (R, 2, 2)),
        ((R, 4), (4, -1), {}, None),
        ((R, 6), (-1, 4), {}, None),
        ((1, R, 6), (1, -1, 6), {}, (1, R, 6)),
        ((1, 1, R, 6), (1, -1, 6), {}, (1, R, 6)),
        ((5, R, 6), (5, -1, 2, 3), {}, (5, R, 2, 3)),
        ((5, R, 6), (3, -1, 10), {}, None),
        ((None, R, 6), (-1, R, 6), {}, None),
    ],
)
def test_a_reshape_keeps_whole_samples(
    shape: tuple[Dim, ...],
    target: tuple[Dim, ...],
    attributes: dict[str, int],
    expected: tuple[Dim, ...] | None,
) -> None:
    flow = apply("Reshape", rows(*shape), ints(*target), **attributes)
    if expected is None:
        assert flow is None
    else:
        assert flow is not None
        assert (flow.axis, flow.factor) == (expected.index(R), (1, ()))


def test_a_reshape_to_several_entries_per_sample_counts_them() -> None:
    flow = apply("Reshape", rows(R, 4), ints(-1, 2))
    assert flow == Flow(0, (2, ()), shape=(None, 2))


def test_a_reshape_by_0_keeps_the_entries_per_sample() -> None:
    flow = Flow(0, (2, ()), shape=(None, 6))
    assert apply("Reshape", flow, ints(0, 2, 3)) == Flow(0, (2, ()), shape=(None, 2, 3))


@pytest.mark.parametrize(("training", "mixes"), [((0,), False), ((1,), True), (None, True)])
def test_a_dropout_mixes_unless_training_is_off(
    training: tuple[Dim, ...] | None, mixes: bool
) -> None:
    flow = apply("Dropout", rows(R, 3), None, Flow(shape=(), value=training))
    assert flow is not None
    assert (flow.mixed == MIXED) == mixes


@pytest.mark.parametrize(
    ("start", "end", "step", "whole"),
    [
        (0, 2**63 - 1, 1, True),
        (0, R, 1, True),
        (1, 2**63 - 1, 1, False),
        (0, 2**63 - 1, 2, False),
        (0, 7, 1, False),
    ],
)
def test_a_slice_of_the_batch_axis_must_be_all_of_it(
    start: int, end: Dim, step: int, whole: bool
) -> None:
    flow = apply("Slice", rows(R, 3), ints(start), ints(end), ints(0), ints(step))
    assert flow == (rows(R, 3) if whole else MIXED_AND_LOST)


def test_a_slice_with_unknown_steps_is_unclear() -> None:
    assert apply("Slice", rows(R, 3), ints(0), ints(2**63 - 1), ints(0), fixed(1)) is None


def test_gather_moves_the_batch_axis_by_the_axes_of_its_indices() -> None:
    assert axis("Gather", fixed(5, 4), rows(R, 2), axis=1) == 1
    assert axis("Gather", fixed(5, 4), rows(R, 2), axis=0) == 0
    assert axis("Gather", rows(4, R), fixed(2, 3), axis=0) == 2
    assert axis("Gather", rows(R, 4), fixed(2, 3), axis=1) == 0
    assert apply("Gather", rows(R, 4), fixed(2), axis=0) == MIXED_AND_LOST
    assert apply("Gather", rows(R, 4), rows(R, 2), axis=1) is None


def test_gather_nd_follows_a_table_or_each_sample() -> None:
    assert axis("GatherND", fixed(5, 4), rows(R, 2)) == 0
    assert axis("GatherND", rows(R, 4), rows(R, 1), batch_dims=1) == 0
    assert apply("GatherND", rows(R, 4, factor=(2, ())), rows(R, 1), batch_dims=1) is None
    assert apply("GatherND", rows(R, 4), rows(R, 2)) is None


def test_expand_keeps_the_rows_or_gives_them_to_a_constant() -> None:
    assert axis("Expand", rows(R, 1), ints(5, 1, 3)) == 1
    assert apply("Expand", rows(R, 1), ints(7, 3)) is None
    assert axis("Expand", fixed(1, 3), ints(R, 3)) == 0
    assert apply("Expand", fixed(2, 3), ints(R, 3)) is None
    assert apply("Expand", fixed(1, 1), ints(R, COUNTED_DIM)) is None
    assert apply("Expand", fixed(1, 1), ints(R, R)) is None


def test_tile_repeats_other_axes_than_the_batch_axis() -> None:
    assert axis("Tile", rows(R, 3), ints(1, 2)) == 0
    assert apply("Tile", rows(R, 3), ints(2, 1)) == MIXED_AND_LOST


def test_padding_the_batch_axis_at_either_end_mixes_samples() -> None:
    assert axis("Pad", rows(R, 3), ints(0, 1, 0, 1)) == 0
    assert apply("Pad", rows(R, 3), ints(1, 0, 0, 0)) == MIXED_AND_LOST
    assert apply("Pad", rows(R, 3), ints(0, 0, 1, 0)) == MIXED_AND_LOST


def test_the_axis_of_classes_moves_the_batch_axis() -> None:
    assert axis("OneHot", rows(R, 3), axis=0) == 1
    assert axis("OneHot", rows(R, 3), axis=-1) == 0
