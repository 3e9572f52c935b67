"""TraceDiff: two traces side by side, with their times and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conduit_lab.core import views
from conduit_lab.core.equality import identical
from conduit_lab.core.trace import span_facts
from conduit_lab.core.trace.value_change import EQUAL, text_diff, value_change
from conduit_lab.core.views import figures
from conduit_lab.core.views.viewed import Viewed

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span

MAX_TEXT_DIFFS = 3

_Place = tuple[tuple[str, ...], int]  # the names from the root down, and an index among equal ones


@dataclass(frozen=True)
class SpanChange:
    """One stage of two traces: its span in each (None if missing), and the difference.

    `change` is `equal`, or describes how the answers differ.
    """

    name: str
    depth: int
    first: Span | None
    second: Span | None
    change: str

    @property
    def spans(self) -> tuple[Span | None, Span | None]:
        """The spans of both traces."""
        return self.first, self.second

    @property
    def ratio(self) -> float | None:
        """The second duration divided by the first, if both ran and ended."""
        if self.first is None or self.second is None or not self.first.duration:
            return None
        if _is_kept(self.first) or _is_kept(self.second):
            return None
        both = self.first.ended and self.second.ended
        return self.second.duration / self.first.duration if both else None


class TraceDiff(Viewed, Sequence[SpanChange]):
    """The stages of two traces, matched by name and order; `[0]` is the whole call."""

    def __init__(self, first: Span, second: Span) -> None:
        self.first, self.second = first, second
        places = [dict(_places(root)) for root in (first, second)]
        places = [_without_kept(places[0], places[1]), _without_kept(places[1], places[0])]
        # in the first trace's order; a span of the second alone follows its predecessor there
        order: list[_Place] = list(places[0])
        for place, before in zip(places[1], [None, *places[1]], strict=False):
            if place not in places[0]:
                order.insert(order.index(before) + 1 if before else 0, place)
        self._changes = [self._change(place, *(p.get(place) for p in places)) for place in order]

    @staticmethod
    def _change(place: _Place, first: Span | None, second: Span | None) -> SpanChange:
        names, _ = place
        name = names[-1] or getattr(first, "name", "")
        return SpanChange(name, len(names) - 1, first, second, _words(first, second))

    def __getitem__(self, index: Any) -> Any:
        return self._changes[index]

    def __len__(self) -> int:
        return len(self._changes)

    @property
    def equal(self) -> bool:
        """Whether both traces have the same stages with equal answers."""
        return all(change.change == EQUAL for change in self)

    def _view(self) -> views.View:
        stages = self._changes[1:] or self._changes
        same = sum(change.change == EQUAL for change in stages)
        total = f"{figures.plural(len(stages), 'stage')}"
        times = " → ".join(map(span_facts.time_text, (self.first, self.second)))
        facts = [times, "all answers equal" if self.equal else f"{same} of {total} equal"]
        if not identical(self.first.input, self.second.input):
            facts.append("other input")
        rows = [
            (
                "\u2003" * change.depth + change.name,
                *map(_time, change.spans),
                "" if change.ratio is None else f"{change.ratio:.2f} ×",
                change.change,
            )
            for change in self
        ]
        columns = ("stage", "first", "second", "ratio", "answer")
        name = self.first.name
        if self.second.name != name:
            name = f"{name} and {self.second.name}"
        more = f"diff[{views.html.MAX_ROWS}:]"
        table = views.Table(columns, rows, numeric=columns[1:4], wide=("answer",), whole=more)
        return views.View("Trace diff", name, facts, [table], children=list(self._texts()))

    def _texts(self) -> Iterator[views.View]:
        """Yield the diffs of the texts that differ."""
        shown = left = 0
        for change in self:
            a, b = (None if span is None else span.output for span in change.spans)
            if change.change == EQUAL or not isinstance(a, str) or not isinstance(b, str):
                continue
            if shown < MAX_TEXT_DIFFS:
                shown += 1
                both = "change.first.output, change.second.output"
                yield views.View("Text of", change.name, text=text_diff(a, b), whole=both)
            else:
                left += 1
        if left:
            texts = figures.plural(left, "more text")
            verb = "differs" if left == 1 else "differ"
            yield views.View("Texts", "", [f"{texts} {verb}: [change.spans for change in diff]"])


def _is_kept(span: Span) -> bool:
    return bool(span.attributes.get("kept"))


def _time(span: Span | None) -> str:
    if span is None:
        return ""
    return "kept" if _is_kept(span) else span_facts.time_text(span)


def _without_kept(places: dict[_Place, Span], others: Mapping[_Place, Span]) -> dict[_Place, Span]:
    """Omit spans below those that the other trace kept, which have no spans below them there."""
    kept = {names for (names, _), span in others.items() if _is_kept(span)}
    return {
        (names, number): span
        for (names, number), span in places.items()
        if not any(names[:depth] in kept for depth in range(1, len(names)))
    }


def _words(first: Span | None, second: Span | None) -> str:
    if first is None or second is None:
        return f"only in the {'second' if first is None else 'first'} trace"
    errors = [span_facts.error_text(span) for span in (first, second)]
    if any(errors):
        words = [f"✕ {error}" if error else "answered" for error in errors]
        return f"both {words[0]}" if words[0] == words[1] else " → ".join(words)
    for span, which in ((first, "first"), (second, "second")):
        if not span.ended:
            return f"running in the {which} trace"
        if span.forgotten or not span.recording.keeps:
            return f"dropped in the {which} trace"
    return value_change(first.output, second.output)


def _places(root: Span) -> Iterator[tuple[_Place, Span]]:
    path: list[str] = []
    seen: Counter[tuple[str, ...]] = Counter()
    for depth, span in root.walk():
        # compared even if the calls have different names
        path[depth:] = [span.name if depth else ""]
        names = tuple(path)
        yield (names, seen[names]), span
        seen[names] += 1
