"""Votes: the label that most members of an ensemble chose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from conduit_lab.core.errors import CompositionError, InputError
from conduit_lab.core.spec import Array
from conduit_lab.flow.averages import order_free_sum
from conduit_lab.flow.decision_profile import (
    DecisionProfile,
    check_no_nan,
    holds_predictions,
    winners,
)
from conduit_lab.models.prediction import Prediction, Predictions


def majority_vote(predictions: Sequence[Any]) -> Any:
    """Return the label with the most votes; ties go to the higher mean score.

    `predictions` are `Prediction`s, arrays of scores, plain labels or class numbers, each one vote.
    For `Prediction`s, the result is a `Prediction` with their mean probabilities; a label unknown
    to a member counts as 0, and a tie in both votes and mean goes to the first member's earlier
    label. A float array votes for its best class, the earliest in a tie, and the result is the
    class number. Plain labels have no score: the earliest vote wins a tie.

    Batches are combined row by row: `Predictions`, float arrays `[n, classes]`, and arrays of
    integers, booleans or text `[n]`, which hold one label per row. Raises `InputError` for an empty
    list, `CompositionError` for answers of different kinds or sizes, and `ModelRunError` for NaN.
    """
    if len(predictions) == 0:
        raise InputError("majority_vote expected at least one prediction, got none")
    if any(map(holds_predictions, predictions)):
        profile = DecisionProfile("majority_vote", predictions)
        mean = order_free_sum(profile.scores) / len(predictions)
        return profile.decide(mean, by_votes=True)
    arrays = [np.asarray(answer) for answer in predictions]
    check_no_nan("majority_vote", arrays)
    scored = [array for array in arrays if _has_scores(array)]
    shapes = sorted({array.shape for array in scored})
    if len(shapes) > 1:
        got = ", ".join(str(list(shape)) for shape in shapes)
        raise CompositionError(f"majority_vote expected scores of one shape, got {got}")
    if len(scored) == len(arrays) and shapes[0][-1]:
        return _best_class(np.stack(scored))
    return _most_frequent([ballot(answer) for answer in predictions])


def ballot(answer: Any) -> Any:
    """Return the label that an answer votes for; for a batch, an array with one label per row.

    A float array votes for the number of its best class, per row.
    """
    if isinstance(answer, Prediction):
        return answer.label
    if isinstance(answer, Predictions):
        if answer.chosen is not None:
            return np.array(answer.chosen, str)
        return np.array(answer.labels)[np.asarray(answer.probabilities).argmax(axis=1)]
    if holds_predictions(answer):
        return np.array([prediction.label for prediction in answer])
    array = np.asarray(answer)
    if _has_scores(array):
        if not array.shape[-1]:
            raise CompositionError("majority_vote expected scores of at least one class, got none")
        array = array.argmax(axis=-1)
    return array if array.ndim else array.item()


def _has_scores(array: Array) -> bool:
    """Return whether an array holds scores; integers, booleans and text are labels."""
    return array.ndim > 0 and array.dtype.kind == "f"


def _best_class(stack: Array) -> Any:
    """Return the class with the most votes, from scores `[members, …, classes]`."""
    classes = np.arange(stack.shape[-1])
    votes = (stack.argmax(axis=-1)[..., None] == classes).sum(axis=0)
    best = winners(votes, order_free_sum(stack))
    return best if best.ndim else int(best)


def _most_frequent(ballots: list[Any]) -> Any:
    kinds = sorted({_kind(vote) for vote in ballots})
    shapes = {np.shape(vote) for vote in ballots}
    if len(kinds) > 1 or len(shapes) > 1:
        got = ", ".join(kinds if len(kinds) > 1 else (f"shape {list(s)}" for s in sorted(shapes)))
        raise CompositionError(f"majority_vote expected votes of one kind and shape, got {got}")
    if shapes == {()}:
        if not isinstance(ballots[0], Hashable) or ballots[0] is None:
            raise CompositionError(
                "majority_vote expected predictions, arrays of scores or labels, got "
                f"{type(ballots[0]).__name__}"
            )
        return Counter(ballots).most_common(1)[0][0]
    stack = np.stack(ballots)
    counts = np.array([(stack == vote).sum(axis=0) for vote in stack])
    return np.take_along_axis(stack, counts.argmax(axis=0)[None], axis=0)[0]


def _kind(vote: Any) -> str:
    """Return the kind of a vote; votes of different kinds are never the same label."""
    kind = np.asarray(vote).dtype.kind
    return _KINDS.get(kind, type(vote).__name__)


_KINDS = {"b": "booleans", "i": "numbers", "u": "numbers", "f": "numbers", "U": "text"}
