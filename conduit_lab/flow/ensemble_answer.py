"""The answers of an ensemble: they include the members' answers, and how many agree."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from conduit_lab.core import views
from conduit_lab.core.errors import CompositionError
from conduit_lab.core.spec import Array
from conduit_lab.core.views import figures
from conduit_lab.flow.votes import ballot
from conduit_lab.models.prediction import Prediction, Predictions


class EnsemblePrediction(Prediction):
    """The prediction of an ensemble. Its JSON has exactly the keys of a `Prediction`.

    `left_out` maps the names of members without an answer to the reasons.
    """

    __slots__ = ("_given", "_place", "left_out")

    left_out: dict[str, str]
    _given: dict[str, Any]  # the members' answers; to a whole batch if `_place` is set
    _place: tuple[int, int] | None  # in a batch: row index and number of rows

    @property
    def members(self) -> dict[str, Any]:
        """The members' answers by name."""
        if self._place is None:
            return self._given
        return {name: _rows(answer, *self._place) for name, answer in self._given.items()}

    @property
    def agreement(self) -> float | None:
        """The fraction of `members` that chose this label, 0 to 1; None if they have no labels."""
        share: float | None = _agreement(self.label, self.members)
        return share

    def __repr__(self) -> str:
        agree = "" if self.agreement is None else f", agreement={self.agreement:.2f}"
        return f"EnsemblePrediction({self.label!r}, {self.score:.3f}{agree})"

    def _view(self) -> views.View:
        facts = [f"{self.score:.3f}", *_shown_agreement(self)]
        columns = views.Columns([[self._bars()], [_member_bars(self), *_left_out(self)]])
        return views.View("EnsemblePrediction", self.label, facts, pieces=[columns])


class EnsemblePredictions(Predictions):
    """The predictions of an ensemble for a batch; each is an `EnsemblePrediction`.

    `members` are the members' answers to the whole batch by name; `left_out` maps the names of
    members without an answer to the reasons.
    """

    members: dict[str, Any]
    left_out: dict[str, str]

    @property
    def agreement(self) -> Array | None:
        """The fraction of `members` that chose each row's label, float `[n]`, or None."""
        share: Array | None = _agreement(ballot(self), self.members)
        return share

    def __getitem__(self, index: Any) -> Any:
        count = len(self)
        if isinstance(index, slice):
            rows = {name: _rows(answer, index, count) for name, answer in self.members.items()}
            return with_members(super().__getitem__(index), rows, self.left_out)
        chosen = None if self.chosen is None else self.chosen[index]
        row = EnsemblePrediction.from_array(self.probabilities[index], self.labels, chosen)
        row._given, row._place, row.left_out = self.members, (index, count), self.left_out
        return row


class EnsembleArray(np.ndarray):
    """The array of an ensemble. Slices, copies and results of arithmetic have no members.

    `members` are the members' answers by name; `left_out` maps the names of members without an
    answer to the reasons.
    """

    members: dict[str, Any]
    left_out: dict[str, str]

    @property
    def agreement(self) -> Any:
        """The fraction of `members` with the same best class along the last axis, 0 to 1.

        A float for scores `[classes]`, an array `[n]` for `[n, classes]`. An array of labels, as a
        vote returns, is compared label by label. None if there are no classes to compare.
        """
        if self.dtype.kind != "f":
            return _agreement(np.asarray(self), self.members)
        try:
            members = [np.asarray(answer) for answer in self.members.values()]
        except ValueError:  # lists of unequal length
            return None
        if not self.ndim or self.shape[-1] < 2 or any(m.shape != self.shape for m in members):
            return None
        best = {name: m.argmax(axis=-1) for name, m in zip(self.members, members, strict=True)}
        return _agreement(np.asarray(self).argmax(axis=-1), best)

    def __array_finalize__(self, source: Any) -> None:
        self.members, self.left_out = {}, {}

    def __array_wrap__(
        self, array: Any, context: Any = None, return_scalar: bool = False
    ) -> Any:  # returned by a NumPy function
        return array[()] if return_scalar else np.asarray(array)


# the class of an ensemble's answer, keyed by the type that its combine function returns
KINDS_WITH_MEMBERS: dict[type, type] = {
    Prediction: EnsemblePrediction,
    EnsemblePrediction: EnsemblePrediction,
    Predictions: EnsemblePredictions,
    EnsemblePredictions: EnsemblePredictions,
    np.ndarray: EnsembleArray,
    EnsembleArray: EnsembleArray,
}


def with_members(result: Any, members: dict[str, Any], left_out: dict[str, str]) -> Any:
    """Return a result of a type in `KINDS_WITH_MEMBERS` with the members' answers attached."""
    kind = KINDS_WITH_MEMBERS[type(result)]
    if kind is EnsemblePrediction:
        row = EnsemblePrediction.from_array(result.to_array(), result.labels, result.label)
        row.score = result.score
        row._given, row._place, row.left_out = members, None, left_out
        return row
    answer: EnsemblePredictions | EnsembleArray
    if kind is EnsemblePredictions:
        answer = EnsemblePredictions(result.probabilities, result.labels, result.chosen)
    else:
        answer = result.view(EnsembleArray)
    answer.members, answer.left_out = members, left_out
    return answer


def _agreement(label: Any, members: Mapping[str, Any]) -> Any:
    """Return the fraction of members that vote for `label`, per row; None for mixed votes."""
    try:
        votes = [np.asarray(ballot(answer)) for answer in members.values()]
    except (ValueError, CompositionError):  # lists of unequal length, or no classes
        return None
    own = np.asarray(label)
    alike = all(v.shape == own.shape and v.dtype.kind == own.dtype.kind for v in votes)
    if not votes or not alike:
        return None
    share = np.mean([vote == own for vote in votes], axis=0)
    return share if own.ndim else float(share)


def _rows(answer: Any, index: Any, count: int) -> Any:
    """Return a member's answers for the rows at `index` of a batch of `count`."""
    is_batch = isinstance(answer, Predictions | np.ndarray | list | tuple) and len(answer) == count
    return answer[index] if is_batch else answer


def _shown_agreement(answer: EnsemblePrediction) -> list[str]:
    share = answer.agreement
    if share is None:
        return []
    count = len(answer.members)
    return [f"{round(share * count)} of {figures.plural(count, 'member')} agree"]


def _member_bars(answer: EnsemblePrediction) -> views.Bars:
    bars = [_member_bar(name, own, answer.label) for name, own in answer.members.items()]
    return views.Bars(bars, "members", noun="member")


def _member_bar(name: str, own: Any, label: str) -> views.Bar:
    if isinstance(own, Prediction):
        return views.Bar(name, own.score, f"{own.score:.3f}", own.label == label, f"→ {own.label}")
    return views.Bar(
        name, 0.0, "", own == label if isinstance(own, str) else False, reprlib.repr(own)
    )


def _left_out(answer: EnsemblePrediction) -> list[views.Line]:
    reasons = answer.left_out.items()
    return [views.Line(f"{name} left out: {reason}", "quiet") for name, reason in reasons]
