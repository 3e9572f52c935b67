"""SideBySide: several streams as one value, shown in columns with a common time axis."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

import numpy as np

from conduit_lab.core.streams.channel import State
from conduit_lab.core.streams.stream import STATE_MARKS, Stream
from conduit_lab.core.text import clip
from conduit_lab.core.views import figures, html
from conduit_lab.core.views.clock_strips import ClockStrips, ViewColumns
from conduit_lab.core.views.pieces import Line
from conduit_lab.core.views.view import View
from conduit_lab.core.views.viewed import Viewed

MAX_SIDE_BY_SIDE = 8  # columns; further streams are counted
MAX_NAME_CHARACTERS = 24  # in a column's header
BRIEF_FACTS = 2  # state and count
_PERIODS = 120
_FIRST_PERIOD = 0.05  # seconds; two observations of a live view
_STATES: tuple[State, ...] = ("running", "pending", "failed", "cancelled")


class SideBySide(Viewed):
    """Streams, each in a column, with strips that show when their chunks arrived.

    A live view observes them continuously; chunks between two observations are spread evenly over
    the interval. The times of earlier chunks are unknown: the strip then shows only when the stream
    started and ended.
    """

    def __init__(self, streams: Sequence[Stream[Any, Any]]) -> None:
        self.streams = list(streams)
        self._lock = threading.Lock()  # guards the fields below
        self._period = _FIRST_PERIOD
        self._counts = np.zeros((len(self.streams), _PERIODS))
        self._seen = [stream.count for stream in self.streams]
        self._observed = monotonic()
        self._start = min((stream.started for stream in self.streams), default=monotonic())

    @property
    def finished(self) -> bool:
        """Whether every stream has ended."""
        return all(stream.finished for stream in self.streams)

    def cancel(self) -> None:
        """Cancel all streams."""
        for stream in self.streams:
            stream.cancel()

    @property
    def shown(self) -> list[Stream[Any, Any]]:
        """The streams that are shown in a column."""
        return self.streams[:MAX_SIDE_BY_SIDE]

    @property
    def facts(self) -> list[str]:
        """The header facts; the first is the state of all streams."""
        states = {stream.state for stream in self.streams}
        state: State = next((state for state in _STATES if state in states), "done")
        ended = sum(stream.finished for stream in self.streams)
        counts = [] if ended == len(self.streams) else [f"{ended} of {len(self.streams)} ended"]
        total = sum(stream.count for stream in self.streams)
        seconds = figures.seconds(self._seconds(monotonic()))
        return [f"{STATE_MARKS[state]} {state}", *counts, figures.plural(total, "chunk"), seconds]

    def observe(self) -> None:
        """Record the arrival of chunks since the last observation."""
        with self._lock:
            now = monotonic()
            while self._seconds(now) >= self._period * _PERIODS:
                pairs = self._counts.reshape(len(self.streams), -1, 2).sum(axis=2)
                self._counts = np.pad(pairs, ((0, 0), (0, _PERIODS // 2)))
                self._period *= 2
            for place, stream in enumerate(self.streams):
                count = stream.count
                if (came := count - self._seen[place]) > 0 and stream.first is not None:
                    begin = self._place(max(self._observed, stream.first))
                    end = max(self._place(min(now, stream.ended or now)), begin)
                    self._counts[place, begin : end + 1] += came / (end + 1 - begin)
                self._seen[place] = count
            self._observed = now

    @property
    def strips(self) -> ClockStrips:
        """The strips of the shown streams."""
        seconds = self._seconds(monotonic())
        with self._lock:
            most = float(self._counts.max(initial=0)) or 1.0
            length = min(int(seconds / self._period) + 1, _PERIODS)
            rows = [
                (stream.name, self._periods(place, stream, length, most))
                for place, stream in enumerate(self.shown)
            ]
        return ClockStrips(rows, "0 s", figures.seconds(seconds))

    @property
    def note(self) -> str:
        """A sentence about the streams that are not shown."""
        others = len(self.streams) - len(self.shown)
        return f"{figures.plural(others, 'more stream')} without a column" if others else ""

    def _periods(
        self, place: int, stream: Stream[Any, Any], length: int, most: float
    ) -> list[float]:
        def period(moment: float | None) -> int:
            return length if moment is None else self._place(moment)

        started, first, ended = map(period, (stream.started, stream.first, stream.ended))
        shares = np.where(
            self._counts[place, :length] > 0,
            0.35 + 0.65 * np.sqrt(self._counts[place, :length] / most),
            0.12,
        )
        shares[:first] = 0
        shares[:started] = -1
        shares[ended + 1 :] = -1
        return [round(float(share), 2) for share in shares]

    def _place(self, moment: float) -> int:
        """Return the period that contains a moment."""
        return min(max(int((moment - self._start) / self._period), 0), _PERIODS - 1)

    def _seconds(self, now: float) -> float:
        """Return the seconds from the first start to the last end, or until now."""
        ends = [stream.ended for stream in self.streams]
        last = max((end for end in ends if end is not None), default=now)
        return (now if None in ends else last) - self._start

    def _view(self) -> View:
        self.observe()
        columns = ViewColumns([_column(stream._view()) for stream in self.shown])
        pieces = [self.strips, columns, *([Line(self.note, "quiet")] if self.note else [])]
        name = figures.plural(len(self.streams), "stream")
        return View("Side by side", name, self.facts, pieces=pieces, one_line=True)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        view = self._view()
        return view.bundle(view.plain()) | {"text/html": html.whole(view.html())}


def _column(view: View) -> View:
    """Return a stream's view with a header short enough for a column."""
    return replace(view, name=clip(view.name, MAX_NAME_CHARACTERS), facts=view.facts[:BRIEF_FACTS])
