"""Fit: whether one stage's output can be another stage's input.

Only certain mismatches count. A free axis fits any length, a model accepts one sample without its
batch axis, and it casts numbers if the cast is exact; an unknown spec fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from math import prod

import numpy as np

from conduit_lab.core.errors import CompositionError
from conduit_lab.core.spec import TensorSpec, ValueSpec, describe_values
from conduit_lab.core.stage import Stage

_Shape = tuple[int | str, ...]


def check_handover(kind: str, before: Stage, after: Stage) -> None:
    """Raise `CompositionError` if `after` cannot take the output of `before`."""
    gives, takes = before.gives, after.takes
    if gives is None or takes is None or _fits(gives, takes):
        return
    mend, function = "Convert it in between", "convert"
    if gives == "Prediction":
        mend = "Pass its probabilities on"
        function = "lambda answer: [*answer.probabilities.values()]"
    raise CompositionError(
        f"{kind}: {before.name!r} returns {describe_values(gives)}, {after.name!r} expects "
        f"{describe_values(takes)}. {mend}: Sequential({_code(before)}, {function}, {_code(after)})"
    )


def check_same_value(kind: str, stages: Sequence[Stage]) -> None:
    """Raise `CompositionError` if two stages cannot take the same value."""
    known = [(stage, takes) for stage in stages if (takes := stage.takes)]
    for (one, first), (other, second) in combinations(known, 2):
        if not _agree(first, second):
            raise CompositionError(
                f"{kind}: {one.name!r} expects {describe_values(first)}, {other.name!r} expects "
                f"{describe_values(second)}, and both get the same value. Convert it for one of "
                f"them: Sequential(convert, {_code(other)})"
            )


def shared_inputs(stages: Sequence[Stage]) -> tuple[TensorSpec, ...] | None:
    """Return the inputs that a value for all stages must fit: those of the first known one."""
    return next((takes for stage in stages if (takes := stage.takes)), None)


def equal_inputs(stages: Sequence[Stage]) -> tuple[TensorSpec, ...] | None:
    """Return the inputs of the stages if they are all the same, else None."""
    found = [stage.takes for stage in stages]
    return found[0] if found and all(takes == found[0] for takes in found) else None


def equal_outputs(stages: Sequence[Stage]) -> ValueSpec:
    """Return the outputs of the stages if they are all the same, else None."""
    found = [stage.gives for stage in stages]
    return found[0] if len({_unnamed(gives) for gives in found}) == 1 else None


def named_outputs(stages: dict[str, Stage]) -> ValueSpec:
    """Return the specs of a dict of arrays, one per stage, else `dict`; None for one stage."""
    if len(stages) < 2:  # a single spec means a plain array
        return None
    specs = []
    for name, stage in stages.items():
        gives = stage.gives
        if not isinstance(gives, tuple) or len(gives) != 1:
            return "dict"
        specs.append(replace(gives[0], name=name))
    return tuple(specs)


def _fits(gives: tuple[TensorSpec, ...] | str, takes: tuple[TensorSpec, ...]) -> bool:
    is_dict = gives == "dict" or (isinstance(gives, tuple) and len(gives) > 1)
    if is_dict and len(takes) == 1 and _is_text(takes[0]):
        return True  # a pair of texts is passed as a dict
    if isinstance(gives, str):
        # predictions for a DataFrame are a DataFrame, with a column per input
        return len(takes) > 1
    return _fits_as_arrays(gives, takes) or _fits_as_frame(gives, takes)


def _fits_as_arrays(gives: tuple[TensorSpec, ...], takes: tuple[TensorSpec, ...]) -> bool:
    if len(gives) == len(takes) == 1:
        return _castable(gives[0], takes[0]) and _overlap(gives[0], takes[0])
    given = {spec.name: spec for spec in gives}
    return (
        len(gives) > 1
        and set(given) == {spec.name for spec in takes}
        and all(_castable(given[s.name], s) and _overlap(given[s.name], s) for s in takes)
    )


def _fits_as_frame(gives: tuple[TensorSpec, ...], takes: tuple[TensorSpec, ...]) -> bool:
    """Return whether a model given a DataFrame may return one that fits the next model."""
    columns: list[str] = []
    known = True
    for spec in gives:
        width = prod(axis for axis in spec.shape if isinstance(axis, int))
        columns += [spec.name] if width == 1 else [f"{spec.name}_{i}" for i in range(width)]
        # with one free axis, the rows; other axes multiply the width
        known = known and sum(isinstance(axis, str) for axis in spec.shape) == 1
    if len(takes) > 1:
        return not known or {spec.name for spec in takes} <= set(columns)
    (taken,) = takes
    last = taken.shape[-1] if taken.shape else ""
    if not known and isinstance(last, int) and last % max(1, len(columns)):
        return False
    frame: _Shape = ("rows", len(columns) if known else "columns")
    fits = _overlap(replace(taken, shape=frame), taken)
    column = columns == [taken.name] and _overlap(replace(taken, shape=("rows",)), taken)
    return (fits or column) and all(_castable(spec, taken) for spec in gives)


def _agree(first: tuple[TensorSpec, ...], second: tuple[TensorSpec, ...]) -> bool:
    if len(first) == len(second) == 1:
        pairs = [(first[0], second[0])]
    else:  # a DataFrame has columns for several inputs, and may have more
        names = {spec.name: spec for spec in first}
        pairs = [(names[s.name], s) for s in second if s.name in names and len(first) > 1]
        pairs = pairs if len(second) > 1 else []
    return all(_is_text(a) == _is_text(b) and _overlap(a, b) for a, b in pairs)


def _is_text(spec: TensorSpec) -> bool:
    return spec.dtype == "str"


def _castable(given: TensorSpec, taken: TensorSpec) -> bool:
    """Return whether a model may cast one to the other; some casts depend on the values."""
    if _is_text(given) != _is_text(taken):
        return _number(given) is None and _number(taken) is None
    had, wanted = _number(given), _number(taken)
    return not (had == "f" and wanted is not None and wanted != "f")


def _number(spec: TensorSpec) -> str | None:
    """Return the kind of a numeric dtype, as in `numpy.dtype.kind`, or None for others."""
    try:
        kind = np.dtype(spec.dtype).kind
    except (TypeError, ValueError):  # bfloat16, or a sequence
        return None
    return kind if kind in "biuf" else None


def _overlap(one: TensorSpec, other: TensorSpec) -> bool:
    """Return whether some array fits both, each with or without a batch axis."""
    if not one.ranked or not other.ranked:
        return True
    others = list(_shapes(other.shape))
    return any(_same_shape(a, b) for a in _shapes(one.shape) for b in others)


def _same_shape(one: _Shape, other: _Shape) -> bool:
    return len(one) == len(other) and all(
        a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(one, other, strict=True)
    )


def _shapes(shape: _Shape) -> Iterator[_Shape]:
    """Yield the shape of a batch, and the shapes of a single sample."""
    yield shape
    for place, axis in enumerate(shape):
        if isinstance(axis, str) or (place == 0 and axis == 1):
            yield (*shape[:place], *shape[place + 1 :])


def _unnamed(gives: ValueSpec) -> object:
    if not isinstance(gives, tuple):
        return gives
    named = len(gives) > 1
    return tuple((s.name if named else "", s.dtype, s.shape, s.ranked) for s in gives)


def _code(stage: Stage) -> str:
    return stage.name if stage.name.isidentifier() else "…"
