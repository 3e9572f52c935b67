"""Votes: functions that combine the predictions of an ensemble."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from conduit_lab.core.errors import InputError
from conduit_lab.models.prediction import Prediction, Predictions


def majority_vote(predictions: Sequence[Any]) -> Any:
    """Return the label with the most votes; a tie goes to the one with the higher mean score.

    `predictions` are `Prediction`s, plain labels, class numbers or arrays of scores, each one vote;
    an array counts as its best class. Of `Prediction`s the result is a `Prediction` whose
    probabilities are their mean, of other votes the most frequent one, the earliest at a tie.
    Raises `InputError` for an empty list, and for answers to a whole batch.
    """
    if len(predictions) == 0:
        raise InputError("majority_vote expected at least one prediction, got none")
    if any(isinstance(p, Predictions) or np.ndim(p) > 1 for p in predictions):
        raise InputError(
            "majority_vote expected answers to one sample, got those to a whole batch: "
            "[majority_vote(votes) for votes in zip(*answers)]"
        )
    if not all(isinstance(p, Prediction) for p in predictions):
        choices = [
            np.asarray(p).item() if np.ndim(p) == 0 else int(np.argmax(p)) for p in predictions
        ]
        return Counter(choices).most_common(1)[0][0]
    labels = list(dict.fromkeys(label for p in predictions for label in p.probabilities))
    mean = {
        label: float(np.mean([p.probabilities.get(label, 0.0) for p in predictions]))
        for label in labels
    }
    votes = Counter(p.label for p in predictions)
    winner = max(votes, key=lambda label: (votes[label], mean.get(label, 0.0)))
    return Prediction(winner, mean[winner], mean)
