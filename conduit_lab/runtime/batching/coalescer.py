"""Coalescer: run several items in one batch once trials show that the rows are independent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from conduit_lab.core.equality import same_answer
from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array
from conduit_lab.runtime.rows.flow import INDEPENDENT, MIXED
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.cache import Shared

_log = logging.getLogger("conduit_lab")

REQUIRED_TRIALS = 8  # trials with equal answers before coalescing without checks
# between an item's answers in a batch and by itself: kernels round differently by batch size
RELATIVE_TOLERANCE = 1e-4
ABSOLUTE_TOLERANCE = 1e-5  # relative to the answer's largest value
MIN_RELATIVE_DIFFERENCE = 0.01  # closer items would hardly affect each other's answers
# scales the probe, an extra item: it dominates any scale or extremum that rows share
PROBE_FACTOR = -8

FeedItem = tuple[dict[str, Array], int]  # feeds and their number of rows


class Coalescer:
    """Runs several items of one model in one batch if no row affects another row's answer.

    A graph whose operators mix rows (a mean over the batch, dynamic quantization) is detected from
    its dataflow and never coalesced. Any other graph must pass trials first: each trial runs the
    items both in one batch with a probe and separately. A single difference disables coalescing for
    good. Unless the dataflow proves that rows are independent, a trial counts only if the items and
    their answers differ, since equal rows prove nothing.
    """

    def __init__(self, shared: Shared, layout: Layout | None = None) -> None:
        self._shared = shared
        self._layout = layout or Layout.of(shared)
        self.possible = self._layout.joins
        self._mixed: int | None = None  # from the dataflow, read at the first batch
        self._passed = 0  # trials

    def __call__(self, items: Sequence[FeedItem]) -> list[list[Array]]:
        """Return the outputs of each item."""
        if len(items) == 1 or not self.possible or not self._may_coalesce():
            return self._run_each(items)
        proven = self._passed >= REQUIRED_TRIALS
        needs_difference = not proven and self._mixed != INDEPENDENT
        if needs_difference and not _differ([list(feeds.values()) for feeds, _ in items]):
            return self._run_each(items)
        try:
            feeds = self._batched(items if proven else [*items, _probe(items[-1])])
        except ValueError:  # unequal lengths along an axis other than the batch axis
            return self._run_groups(items)
        return self._run_batch(items, feeds) if proven else self._try(items, feeds)

    def _may_coalesce(self) -> bool:
        """Return whether the dataflow keeps rows independent; read it once."""
        if self._mixed is None:
            self._mixed = self._layout.mixed()
            if self._mixed == MIXED:
                self._give_up()
        return self.possible

    def _give_up(self) -> None:
        self.possible = False
        _log.warning(
            "%s: rows change each other's answers, so calls are not coalesced",
            display(self._shared.path),
        )

    def _run_each(self, items: Sequence[FeedItem]) -> list[list[Array]]:
        return [self._shared.run(feeds, rows) for feeds, rows in items]

    def _batched(self, items: Sequence[FeedItem]) -> dict[str, Array]:
        """Concatenate the feeds of items; raises `ValueError` for unequal lengths."""
        return self._layout.coalesce([feeds for feeds, _ in items])

    def _run_batch(self, items: Sequence[FeedItem], feeds: dict[str, Array]) -> list[list[Array]]:
        """Run `feeds`, which start with the items' rows; return each item's outputs."""
        outputs = self._shared.run(feeds, self._layout.rows(feeds))
        return self._layout.split(outputs, [rows for _, rows in items])

    def _run_groups(self, items: Sequence[FeedItem]) -> list[list[Array]]:
        """Return the outputs of items of unequal length, batched by length."""
        axes = dict(zip(self._layout.names, self._layout.inputs, strict=True))

        def lengths(index: int) -> list[tuple[int, ...]]:
            return [
                (*array.shape[: axes[name]], *array.shape[(axes[name] or 0) + 1 :])
                for name, array in items[index][0].items()
            ]

        answers: dict[int, list[Array]] = {}
        for _, group in groupby(sorted(range(len(items)), key=lengths), key=lengths):
            indices = list(group)
            answers.update(zip(indices, self([items[i] for i in indices]), strict=True))
        return [answers[i] for i in range(len(items))]

    def _try(self, items: Sequence[FeedItem], feeds: dict[str, Array]) -> list[list[Array]]:
        """Run the items separately, and compare their outputs with those of one run on `feeds`."""
        expected = self._run_each(items)
        if self._mixed != INDEPENDENT and not _differ(expected):
            return expected
        try:
            got = self._run_batch(items, feeds)
        except ModelInputError:  # caused by the probe: the items have just run
            return expected
        if same_answer(expected, got, RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE):
            self._passed += 1
        else:
            self._give_up()
        return expected


def _probe(item: FeedItem) -> FeedItem:
    """Return a copy of an item with a different scale and sign."""
    feeds, rows = item
    probe = {
        name: array * array.dtype.type(PROBE_FACTOR) if array.dtype.kind == "f" else array
        for name, array in feeds.items()
    }
    return probe, rows


def _differ(items: Sequence[Sequence[Any]]) -> bool:
    """Return whether two items differ by more than rounding; empty ones do not."""
    first = next((item for item in items if all(len(array) for array in item)), None)
    if first is None:
        return False
    others = (item for item in items if item is not first)
    return any(any(map(_clearly_differ, first, other)) for other in others)


def _clearly_differ(a: Any, b: Any) -> bool:
    """Return whether two tensors of finite numbers differ by more than rounding."""
    if isinstance(a, list):
        return any(_clearly_differ(one, other) for one, other in zip(a, b, strict=False))
    if not isinstance(a, np.ndarray):  # a map of probabilities
        return _clearly_differ(np.array(list(a.values())), np.array(list(b.values())))
    if not a.size or not b.size:
        return False
    if a.dtype.kind != "f" or a.shape != b.shape:
        return not np.array_equal(a, b)
    finite = np.isfinite(a).all() and np.isfinite(b).all()
    return bool(finite and np.abs(a - b).max() > MIN_RELATIVE_DIFFERENCE * np.abs(a).max())
