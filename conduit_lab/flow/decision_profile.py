"""DecisionProfile: the predictions of an ensemble's members as one array over all labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from conduit_lab.core.errors import CompositionError, ModelRunError
from conduit_lab.core.spec import Array
from conduit_lab.models.prediction import Prediction, Predictions


class _Block(NamedTuple):
    """One member's predictions: float64 `[rows, classes]`, and the chosen labels.

    Without chosen labels, the most probable one per row counts.
    """

    labels: list[str]
    scores: Array
    chosen: list[str] | None


class DecisionProfile:
    """The scores and votes of all members for one sample or a batch.

    `labels` are those of the first member, followed by new ones of the second, and so on. `scores`
    is float64 `[members, rows, labels]`, 0 if a member does not know a label, and `votes` `[rows,
    labels]` counts the members that chose it (L. Kuncheva, Combining Pattern Classifiers, 2014,
    section 5.1). `combine` names the function in errors.
    """

    def __init__(self, combine: str, answers: Sequence[Any]) -> None:
        self._single = all(isinstance(answer, Prediction) for answer in answers)
        blocks = [_block(combine, answer) for answer in answers]
        rows = {len(block.scores) for block in blocks}
        if len(rows) > 1:
            counts = ", ".join(str(len(block.scores)) for block in blocks)
            raise CompositionError(
                f"{combine} expected as many predictions from each member, got {counts}"
            )
        known = _union(blocks)
        chosen = [label for block in blocks for label in block.chosen or ()]
        self.labels = list(dict.fromkeys((*known, *chosen)))
        self._known = len(known)  # the remaining labels were only chosen, without a probability
        place = {label: column for column, label in enumerate(self.labels)}
        self.scores = np.array([_scores_in(self.labels, place, block) for block in blocks])
        check_no_nan(combine, self.scores)
        places = np.array([_choices_in(place, block) for block in blocks])
        self.votes = (places[:, :, None] == np.arange(len(self.labels))).sum(axis=0)

    def decide(self, scores: Array, *, by_votes: bool = False) -> Prediction | Predictions:
        """Return one prediction per row, with `scores` `[rows, labels]` as its probabilities.

        The label with the highest score wins, then the one with the most votes; `by_votes` reverses
        these criteria. The earlier label wins a remaining tie.
        """
        first, second = (self.votes, scores) if by_votes else (scores, self.votes)
        chosen = [self.labels[place] for place in winners(first, second).tolist()]
        labels, probabilities = self.labels[: self._known], scores[:, : self._known]
        if self._single:
            return Prediction.from_array(probabilities[0], labels, chosen[0])
        return Predictions(probabilities, labels, chosen)


def holds_predictions(answer: Any) -> bool:
    """Return whether an answer is a `Prediction`, or `Predictions` for a batch."""
    if type(answer) is Prediction:  # fast path: abstract class checks are slow
        return True
    if isinstance(answer, (list, tuple)):
        return bool(answer) and all(isinstance(item, Prediction) for item in answer)
    return isinstance(answer, (Prediction, Predictions))


def winners(first: Array, second: Array) -> Array:
    """Return the column per row with the highest `first`, then the highest `second`.

    The earlier column wins a remaining tie.
    """
    best = first == first.max(axis=-1, keepdims=True)
    return np.asarray(np.where(best, second, -np.inf).argmax(axis=-1))


def check_no_nan(combine: str, parts: Iterable[Array]) -> None:
    """Raise a `ModelRunError` that names the members whose array in `parts` contains NaN."""
    if isinstance(parts, np.ndarray) and not np.isnan(parts).any():
        return
    places = [
        str(place)
        for place, part in enumerate(parts, 1)
        if part.dtype.kind == "f" and np.isnan(part).any()
    ]
    if places:
        raise ModelRunError(
            f"{combine} got NaN from member {', '.join(places)}; an Ensemble with min_members= "
            "leaves such a member out"
        )


def _block(combine: str, answer: Any) -> _Block:
    if type(answer) is Prediction or isinstance(answer, Prediction):
        return _Block(answer.labels, answer.to_array().reshape(1, -1), [answer.label])
    if isinstance(answer, Predictions):
        scores = np.asarray(answer.probabilities, np.float64)
        return _Block(answer.labels, scores, answer.chosen)
    if not holds_predictions(answer):
        raise CompositionError(
            f"{combine} expected answers of the same kind, got predictions and "
            f"{type(answer).__name__}"
        )
    rows = [_block(combine, prediction) for prediction in answer]
    labels = _union(rows)
    place = {label: column for column, label in enumerate(labels)}
    scores = np.concatenate([_scores_in(labels, place, row) for row in rows])
    return _Block(labels, scores, [prediction.label for prediction in answer])


def _union(blocks: Sequence[_Block]) -> list[str]:
    first = blocks[0].labels
    if all(block.labels == first for block in blocks):
        return first
    return list(dict.fromkeys(label for block in blocks for label in block.labels))


def _scores_in(labels: list[str], place: dict[str, int], block: _Block) -> Array:
    """Return the block's scores in the order of `labels`, 0 for unknown labels."""
    if block.labels == labels:
        return block.scores
    scores = np.zeros((len(block.scores), len(labels)))
    scores[:, [place[label] for label in block.labels]] = block.scores
    return scores


def _choices_in(place: dict[str, int], block: _Block) -> Any:
    """Return the index of the label that each row chose."""
    if block.chosen is not None:
        return [place[label] for label in block.chosen]
    columns = np.array([place[label] for label in block.labels], np.int64)
    return columns[block.scores.argmax(axis=1)]
