"""Averages: functions that combine the scores of an ensemble's members element-wise.

Each takes the list of answers: `Prediction`s or `Predictions`, whose probabilities are combined per
label (0 for a label unknown to a member), arrays of equal shape, or plain numbers. Raises
`InputError` for an empty list, `CompositionError` for answers of different kinds or shapes, and
`ModelRunError` for a NaN probability; NaN in other numbers propagates, as in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from conduit_lab.core.errors import CompositionError, InputError
from conduit_lab.core.spec import Array, describe
from conduit_lab.flow.decision_profile import DecisionProfile, check_no_nan, holds_predictions

_Sum = Callable[[Array], Array]
_Reduce = Callable[[Array, _Sum], Array]  # reduces `[members, …]` over the members


def average(answers: Sequence[Any]) -> Any:
    """Return the mean of the members' scores (soft voting).

    For `Prediction`s, the label with the highest mean wins; ties go to the label with the most
    votes, then to the first one among the labels of the first member. Arrays keep their float
    dtype; integer arrays and numbers become floats.
    """
    return _combined("average", answers, lambda stack, total: total(stack) / len(stack))


def maximum(answers: Sequence[Any]) -> Any:
    """Return the maximum of the members' scores; those of a `Prediction` need not sum to 1.

    Ties are resolved as in `average`.
    """
    return _combined("maximum", answers, lambda stack, _: np.max(stack, axis=0))


def minimum(answers: Sequence[Any]) -> Any:
    """Return the minimum of the members' scores; those of a `Prediction` need not sum to 1.

    Ties are resolved as in `average`.
    """
    return _combined("minimum", answers, lambda stack, _: np.min(stack, axis=0))


def rank_average(answers: Sequence[Any]) -> Any:
    """Return the mean rank of each score in its member's answer, for scores of any scale.

    A rank is the fraction of scores that are at most as high, in (0, 1]; equal scores share their
    mean rank (`rank(pct=True)` in pandas). Ranks are computed along the last axis: the labels of a
    `Prediction`, the rows of an array `[n]`, the classes of `[n, classes]`. Ties are resolved as in
    `average`; plain numbers have no rank.
    """
    return _combined("rank_average", answers, _mean_ranks)


@dataclass(frozen=True, init=False, repr=False)
class weighted:
    """The weighted mean of the members' scores: `Ensemble(models, weighted([2, 1]))`.

    `weights` are finite, non-negative numbers, one per member and not all 0; their scale does not
    matter. Equal weights are equivalent to `average`, and ties are resolved the same way.
    """

    weights: tuple[float, ...]

    def __init__(self, weights: Iterable[float]) -> None:
        given = tuple(weights)
        usable = all(isinstance(w, Real) and math.isfinite(w) and w >= 0 for w in given)
        if not usable or not any(given):
            raise CompositionError(
                "weighted expected finite weights of at least 0, one per member and not all 0, "
                f"got {list(given)!r}"
            )
        plain = (int(w) if isinstance(w, Integral) else float(w) for w in given)
        object.__setattr__(self, "weights", tuple(plain))

    def __call__(self, answers: Sequence[Any]) -> Any:
        """Return the weighted mean of the answers."""
        if len(answers) != len(self.weights) and len(answers):
            raise CompositionError(
                f"weighted has {len(self.weights)} weights for {len(answers)} answers: expected "
                "one per member"
            )
        return _combined("weighted", answers, self._mean)

    def _mean(self, stack: Array, total: _Sum) -> Array:
        weights = np.array(self.weights, np.float64).reshape(-1, *(1,) * (stack.ndim - 1))
        return total(stack * weights) / math.fsum(self.weights)

    def __repr__(self) -> str:
        return f"weighted({list(self.weights)!r})"


def order_free_sum(stack: Array) -> Array:
    """Return the float64 sum over the first axis, independent of the order along it."""
    return _plain_sum(np.sort(stack, axis=0))


def _plain_sum(stack: Array) -> Array:
    return np.asarray(stack.sum(axis=0, dtype=np.float64))


def to_numbers(combine: str, answer: Any, place: int) -> Array:
    """Return the answer of member number `place` as a numeric array."""
    try:
        array = np.asarray(answer)
    except ValueError:  # lists of unequal length
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise CompositionError(
            f"{combine} expected predictions, arrays of numbers or numbers, got "
            f"{type(answer).__name__} from member {place}; labels are for majority_vote"
        )
    return array


def _combined(combine: str, answers: Sequence[Any], reduce: _Reduce) -> Any:
    if len(answers) == 0:
        raise InputError(f"{combine} expected at least one answer, got none")
    if any(map(holds_predictions, answers)):
        profile = DecisionProfile(combine, answers)
        return profile.decide(reduce(profile.scores, order_free_sum))
    stack = _stacked(combine, answers)
    # no ties to resolve here, and sorting takes 20 times as long
    result = reduce(stack, _plain_sum)
    if not result.ndim:
        return result.item()
    return result.astype(stack.dtype, copy=False) if stack.dtype.kind == "f" else result


def _stacked(combine: str, answers: Sequence[Any]) -> Array:
    """Stack the arrays or numbers of all members into one array `[members, …]`."""
    arrays = [to_numbers(combine, answer, place) for place, answer in enumerate(answers, 1)]
    if len({array.shape for array in arrays}) > 1:
        got = ", ".join(describe(array) for array in arrays)
        raise CompositionError(f"{combine} expected answers of one shape, got {got}")
    return np.stack(arrays)


def _mean_ranks(stack: Array, total: _Sum) -> Array:
    if stack.ndim == 1:
        raise CompositionError(
            "rank_average expected predictions or arrays, whose scores have ranks, got numbers"
        )
    check_no_nan("rank_average", stack)
    rows = stack.reshape(-1, stack.shape[-1])
    ranks = np.array([_ranks(row) for row in rows]).reshape(stack.shape)
    return total(ranks) / len(stack)


def _ranks(row: Array) -> Array:
    ordered = np.sort(row)
    below = np.searchsorted(ordered, row, "left")
    at_most = np.searchsorted(ordered, row, "right")
    return (below + at_most + 1) / (2 * len(row))
