"""Streams: the running streams of a session."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from conduit_lab.core import views
from conduit_lab.core.errors import UnknownName
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.streams.stream import STATE_MARKS, Stream
from conduit_lab.core.views import figures
from conduit_lab.core.views.viewed import Viewed

STREAM_COLUMNS = ("stream", "state", "chunks", "time", "rate")


class Streams(Viewed, list[Stream[Any]]):
    """A snapshot of the running streams, oldest first.

    `streams["ask"]` is the newest with that name. `streams["ask"].cancel()` stops it, and
    `streams.cancel()` stops all.
    """

    def __init__(self, streams: Iterable[Stream[Any]] = ()) -> None:
        running = {id(each): each for each in streams if not each.finished}
        super().__init__(sorted(running.values(), key=lambda each: each.started))

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        for stream in reversed(self):
            if stream.name == key:
                return stream
        names = self._ipython_key_completions_()
        known = ", ".join(names) or "none"
        raise UnknownName(f"no running stream {key!r}; there are {known}{did_you_mean(key, names)}")

    def cancel(self) -> None:
        """Cancel all of them."""
        for stream in self:
            stream.cancel()

    def _ipython_key_completions_(self) -> list[str]:
        return list(dict.fromkeys(stream.name for stream in self))

    def table(self) -> views.Table:
        """Return the name, state, chunks, seconds and rate of each."""
        return views.Table(
            STREAM_COLUMNS, [stream_cells(each) for each in self], numeric=STREAM_COLUMNS[2:]
        )

    def _view(self) -> views.View:
        return views.View("Streams", "", [f"{len(self)} running"], [self.table()])


def stream_cells(stream: Stream[Any]) -> tuple[str, ...]:
    """Return the name, state, chunks, seconds and rate of a stream."""
    count, _, seconds, rate, _ = stream.statistics
    return (
        stream.name,
        f"{STATE_MARKS[stream.state]} {stream.state}",
        figures.count(count),
        figures.seconds(seconds),
        figures.rate(rate, "chunks") if count else "",
    )
