"""Traffic: the requests of one server in the last minute, and their view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from time import monotonic
from typing import TYPE_CHECKING, Any

from conduit_lab.core.views import figures
from conduit_lab.core.views.html import Cell
from conduit_lab.core.views.pieces import Line, ViewPiece
from conduit_lab.core.views.sections import Sections
from conduit_lab.core.views.view import Table
from conduit_lab.serving.server_state import ServerState

if TYPE_CHECKING:
    from conduit_lab.serving.app import App

WINDOW_SECONDS = 60
RATE_SECONDS = 10  # window of the rate and the percentiles

_BARS = " ▁▂▃▄▅▆▇█"
_COLOR = "#0072b2"


@dataclass(frozen=True)
class Traffic:
    """A snapshot of one server's traffic.

    `rate` is in requests per second, `p50` and `p99` in seconds, over the last 10 seconds; all are
    0 without requests. `per_second` has the requests of each of the last 60 seconds, newest last.
    """

    rate: float
    p50: float
    p99: float
    per_second: Sequence[int]
    requests: int
    in_flight: int
    queued: int
    open_streams: int

    @classmethod
    def of(cls, app: App, state: ServerState) -> Traffic:
        """Take a snapshot of a server's traffic."""
        now = monotonic()
        per_second = [0] * WINDOW_SECONDS
        seconds = []
        for ended_at, took in reversed(list(state.recent)):
            age = now - ended_at
            if age >= WINDOW_SECONDS:
                break
            per_second[-1 - max(int(age), 0)] += 1
            if age < RATE_SECONDS:
                seconds.append(took)
        seconds.sort()
        window = min(RATE_SECONDS, max(now - state.started_at, 1.0))
        return cls(
            len(seconds) / window,
            seconds[len(seconds) // 2] if seconds else 0.0,
            seconds[len(seconds) * 99 // 100] if seconds else 0.0,
            per_second,
            sum(dict(state.requests).values()),
            state.in_flight,
            sum(batcher_rows(model) for model in app.models),
            len(state.open_streams),
        )

    @property
    def headline(self) -> str:
        """The rate and the percentiles as text."""
        if not self.rate:
            return "no requests in the last 10 s"
        return (
            f"{self.rate:.3g} requests/s · p50 {figures.seconds(self.p50)} · "
            f"p99 {figures.seconds(self.p99)}"
        )

    @property
    def load(self) -> str:
        """The current requests and streams as text."""
        return " · ".join(
            (
                f"{figures.count(self.in_flight)} in flight",
                f"{figures.plural(self.queued, 'row')} queued",
                figures.plural(self.open_streams, "open stream"),
                f"{figures.plural(self.requests, 'request')} since the start",
            )
        )


def batcher_rows(model: Any) -> int:
    """Return the number of rows waiting for a batch of a model; opens nothing."""
    shared = model.held
    batcher = None if shared is None or shared.batcher is None else shared.batcher()
    return 0 if batcher is None else int(batcher.waiting)


@dataclass(frozen=True)
class RateStrip(ViewPiece):
    """A bar chart of the requests per second in the last minute."""

    per_second: Sequence[int]

    @property
    def caption(self) -> str:
        """The label of the chart, with its maximum."""
        most = figures.count(max(self.per_second, default=0))
        return f"requests per second in the last minute, at most {most}"

    def plain(self) -> str:
        """Return one character per second."""
        most = max(self.per_second, default=0)
        if not most:
            return ""
        top = len(_BARS) - 1
        return "".join(_BARS[-(-number * top // most)] for number in self.per_second)

    def html(self) -> str:
        """Return one bar per second."""
        most = max(self.per_second, default=0)
        if not most:
            return ""
        bars = "".join(
            f'<div style="flex:1;background:{_COLOR};height:{100 * number / most:.0f}%"></div>'
            for number in self.per_second
        )
        caption = escape(self.caption)
        return (
            f'<div role="img" aria-label="{caption}" style="display:flex;align-items:flex-end;'
            f'gap:1px;height:40px;max-width:720px;margin:4px 0">{bars}</div>'
            f'<div style="font-size:12px;line-height:16px;opacity:.7">{caption}</div>'
        )


def traffic_tables(app: App, state: ServerState) -> list[list[Table]]:
    """Return the tables of a server: endpoints; models and recent failures."""
    groups = [[_endpoints(app, state)], [app.models.summary(), _failures(state)]]
    return [[table for table in group if table.rows] for group in groups]


def traffic_pieces(app: App, state: ServerState, traffic: Traffic) -> list[ViewPiece]:
    """Return the pieces of a server's view below its header line."""
    return [
        Line(traffic.headline, "large"),
        RateStrip(traffic.per_second),
        Line(traffic.load, "quiet"),
        Sections(traffic_tables(app, state)),
    ]


def _endpoints(app: App, state: ServerState) -> Table:
    counts: dict[str, list[int]] = {}
    for (_, route, status), number in dict(state.requests).items():
        found = counts.setdefault(route, [0, 0])
        found[0] += number
        found[1] += number if status >= 400 else 0
    most = max((number for number, _ in counts.values()), default=0)
    rows = []
    for endpoint in app.endpoints:
        number, wrong = counts.get(endpoint.path, (0, 0))
        summary = app.statistics.get(endpoint.name)
        rows.append(
            (
                f"{', '.join(endpoint.methods)} {endpoint.path}",
                Cell(figures.count(number), share=number / most if most else 0.0),
                figures.count(wrong) if wrong else "",
                figures.seconds(summary.p50) if summary else "",
            )
        )
    return Table(("endpoint", "requests", "4xx, 5xx", "p50"), rows, numeric=("4xx, 5xx", "p50"))


def _failures(state: ServerState) -> Table:
    rows = [
        (
            f"{datetime.fromtimestamp(each.at):%H:%M:%S}",
            each.route,
            f"✕ {each.status} {each.error}",
            each.request_id,
        )
        for each in reversed(list(state.failures))
    ]
    return Table(("failed at", "endpoint", "error", "request ID"), rows)
