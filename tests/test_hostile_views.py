"""Every public view with hostile content: text stays text, nothing is too wide or too long.

What a view leaves out it counts, with the expression that gives all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab import (
    App,
    CallableModel,
    CitedAnswer,
    Entities,
    Entity,
    Entry,
    Export,
    Function,
    Generation,
    Prediction,
    Predictions,
    Sequential,
    VectorStore,
)
from conduit_lab.core.trace.stage_statistics import StageStatistics
from conduit_lab.core.trace.trace_diff import TraceDiff
from conduit_lab.core.views import html
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.export.export_plan import ExportPlan
from conduit_lab.export.plan_node import PlanNode
from conduit_lab.export.refusal import Refusal
from conduit_lab.export.replay import Outcome
from conduit_lab.models.benchmark import Benchmark
from conduit_lab.models.measure.comparison import Compared, Comparison
from conduit_lab.models.measure.tuning_report import Trial, Tuning
from conduit_lab.runtime.hardware.devices import Device, Devices
from conduit_lab.runtime.measuring.timing import Timing
from conduit_lab.runtime.measuring.tuning import Tuned
from conduit_lab.serving.examples import Examples
from conduit_lab.serving.recorded import Example
from conduit_lab.serving.resource import AppResource
from conduit_lab.serving.stores import Stores
from conduit_lab.vectors.documents.reindex import Reindexed
from conduit_lab.vectors.duplicates import Duplicates, Group
from conduit_lab.vectors.evaluate import Evaluation, Judged
from conduit_lab.vectors.explore.explorer import Explorer
from conduit_lab.vectors.hits import Hit, Hits
from tests.core.trace import made

LONG = "w" * 400
EVIL = f"    <script>alert(1)</script> {LONG}"
MANY = 100_000
MAX_CHARACTERS = 150_000  # of one view's HTML
VOID = {"img", "wbr"}

# a notebook that is not trusted keeps these
TAGS = {"div", "span", "b", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "em", "sup"}
TAGS |= {"details", "summary", *VOID}
ATTRIBUTES = {"style", "scope", "colspan", "open", "src", "alt"}


def entry(number: int) -> Entry:
    vector = np.ones(4, np.float32)
    return Entry(f"{number} {EVIL}", vector, {EVIL: EVIL, "n": number}, 9 * EVIL, 0.0, 0.0)


def hit(number: int) -> Hit:
    metadata = {f"{n}{EVIL}": f"{number}{EVIL}" for n in range(9)}
    return Hit(id=f"{number}{EVIL}", score=0.5, content=9 * EVIL, metadata=metadata)


def judged(number: int) -> Judged:
    return Judged(EVIL, f"{number}{EVIL}", (EVIL,), (EVIL,), None, 0.0, 0.0, 0.0, 0.5, 0.001)


def compared(number: int) -> Compared:
    timing = Timing(1, 9, 0.1, 0.2, 0.3)
    return Compared(f"{number}{EVIL}", Path(EVIL[:50]), 9, EVIL, timing, 1.0, True, None)


def statistics() -> StageStatistics:
    counted = StageStatistics()
    counted.add([made.span(f"{n}{EVIL}", 0.0, 1.0) for n in range(900)])
    return counted


def trace(word: str = EVIL) -> Any:
    spans = [made.span(f"{n}{EVIL}", 0.0, 1.0, gave=f"{n}{word}") for n in range(200)]
    return made.trace(*spans, seconds=2.0, name=EVIL)


def outcome(number: int) -> Outcome:
    return Outcome(Example("POST", f"/{number}{EVIL}", "value", EVIL, EVIL), EVIL, 0.1)


def store() -> VectorStore:
    return VectorStore(4, name=EVIL)


def app(endpoints: int = 1) -> App:
    made = App(EVIL[:60])
    for number in range(endpoints):
        made.post(f"/{number}{LONG}")(lambda text: text)
    return made


def resource() -> AppResource[Any]:
    def build() -> str:
        return EVIL

    build.__name__ = EVIL
    made = App(EVIL[:60]).resource(build)
    made()
    return made


def plan() -> ExportPlan:
    nodes = [PlanNode(f"{n}{EVIL}", EVIL, EVIL, n, n, (EVIL, f"{n}{EVIL}")) for n in range(900)]
    refusals = [Refusal(f"{n}{EVIL}", f"{EVIL} → {EVIL}", EVIL) for n in range(99)]
    return ExportPlan(EVIL, [EVIL] * 99, nodes, refusals, [EVIL] * 99, [EVIL] * 99)


def explorer() -> Explorer:
    made = VectorStore(4, name=EVIL)
    for number, row in enumerate(np.eye(4, dtype=np.float32)):
        made.add(f"{number}{EVIL}", row, {EVIL: EVIL}, 9 * EVIL)
    return made.explore(np.ones(4, np.float32))


_LABELS = [f"{n}{EVIL}" for n in range(50)]
VIEWS: dict[str, Callable[[], Any]] = {
    "App": app,
    "AppResource": resource,
    "Benchmark": lambda: Benchmark(EVIL, EVIL, [Timing(n, 9, 1, 1, 1) for n in range(1, 99)], EVIL),
    "CallableModel": lambda: CallableModel(len, name=EVIL),
    "CitedAnswer": lambda: CitedAnswer(
        f"{EVIL}.",
        [{"id": EVIL, "text": 99 * EVIL, **{f"{n}{EVIL}": EVIL for n in range(9)}}],
        EVIL,
    ),
    "Comparison": lambda: Comparison([compared(n) for n in range(99)]),
    "Devices": lambda: Devices([Device(EVIL, EVIL, True, EVIL)], EVIL),
    "Duplicates": lambda: Duplicates([Group((entry(0), entry(1)), 1.0)] * MANY, MANY, 0.9),
    "Endpoint": lambda: app().endpoints[0],
    "Endpoints": lambda: app(99).endpoints,
    "Entities": lambda: Entities([Entity(EVIL, 0.5, 0, 9, EVIL)] * MANY),
    "Entry": lambda: entry(0),
    "Evaluation": lambda: Evaluation([judged(n) for n in range(2_000)], 5),
    "Example": lambda: outcome(0).example,
    "Examples": lambda: Examples([outcome(n).example for n in range(99)]),
    "Explorer": explorer,
    "Export": lambda: Export(Path(EVIL[:50]), [outcome(n) for n in range(99)], [EVIL] * 99),
    "ExportPlan": plan,
    "Generation": lambda: Generation(EVIL * 200),
    "Hit": lambda: hit(0),
    "Hits": lambda: Hits([hit(n) for n in range(50)] * (MANY // 50), EVIL, EVIL, 0.5, EVIL),
    "Pipeline": lambda: Sequential(Function(len, name=EVIL), Function(str, name=EVIL)),
    "Prediction": lambda: Prediction.from_array(np.linspace(0, 1, 50), _LABELS),
    "Predictions": lambda: Predictions(np.full((MANY, 50), 0.02), _LABELS),
    "Reindexed": lambda: Reindexed(EVIL, problems={f"{n}{EVIL}": EVIL for n in range(MANY)}),
    "Span": lambda: made.span(EVIL, 0.0, 1.0, given=EVIL * 99, gave=[EVIL] * MANY),
    "Statistics": statistics,
    "Stores": lambda: Stores({f"{n}{EVIL}": store() for n in range(99)}),
    "Trace": trace,
    "TraceDiff": lambda: TraceDiff(trace().root, trace("x").root),
    "Tuning": lambda: Tuning(
        EVIL, Path("m.onnx"), 1, Tuned(), 1.0, tuple([Trial(EVIL, note=EVIL)] * 99), ()
    ),
    "VectorStore": store,
}
# the expression that each view names for what it leaves out
WHOLE = {
    "Benchmark": "benchmark[20:]",
    "CitedAnswer": "answer[",
    "Duplicates": "duplicates[20:]",
    "Entities": "entities[20:]",
    "Entry": "entry.content",
    "Evaluation": "evaluation.missed",
    "Export": "export.outcomes",
    "ExportPlan": "plan.refusals",
    "Hit": "hit.content",
    "Hits": "hits[20:]",
    "Prediction": "prediction.probabilities",
    "Predictions": "predictions[20:]",
    "Reindexed": "reindexed.problems",
    "Span": "span.output",
    "Statistics": "list(lab.statistics.values())",
    "Trace": "list(trace)",
    "TraceDiff": "diff[20:]",
}


class Page(HTMLParser):
    """The tags, attributes and text of a page, its long words, and its collapsed indents."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.unbroken: list[str] = []  # words that may not break where they are
        self.collapsed: list[str] = []  # texts of cells whose leading spaces are lost
        self._open: list[tuple[str, str]] = []  # tags and styles
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("style") or ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        # a table grows to its longest word, whatever its cells say about breaking
        in_cell = any(tag in ("td", "th") for tag, _ in self._open)
        if in_cell or not any("overflow-wrap" in style for _, style in self._open):
            self.unbroken += [word for word in data.split() if len(word) > html.MAX_UNBROKEN]
        spaces = [style for _, style in self._open if "white-space" in style]
        if in_cell and data.startswith("  ") and "white-space:pre" not in spaces[-1]:
            self.collapsed.append(data)


@pytest.fixture(scope="module", params=sorted(VIEWS))
def page(request: pytest.FixtureRequest) -> tuple[str, str]:
    value = VIEWS[request.param]()
    return request.param, value._repr_mimebundle_()["text/html"]


def test_hostile_text_is_only_text(page: tuple[str, str]) -> None:
    seen = Page(page[1])
    assert seen.tags <= TAGS
    assert seen.attributes <= ATTRIBUTES


def test_a_view_of_many_rows_is_short(page: tuple[str, str]) -> None:
    assert len(page[1]) < MAX_CHARACTERS


def test_a_long_word_may_break_everywhere(page: tuple[str, str]) -> None:
    assert Page(page[1]).unbroken == []


def test_leading_spaces_survive_in_every_cell(page: tuple[str, str]) -> None:
    assert Page(page[1]).collapsed == []


def test_what_is_left_out_is_counted_and_named(page: tuple[str, str]) -> None:
    name, content = page
    assert WHOLE.get(name, "") in "".join(Page(content).text)


def test_every_view_is_in_the_table() -> None:
    shown = {type(make()) for make in VIEWS.values()}
    # views of running things, and of opened files, have tests of their own
    others = {"FileModel", "Server", "Stream", "Explanation", "AcceleratorReport", "Optimized"}
    others |= {"Models", "Rag", "Streams", "SideBySide"}
    others |= {"RemoteApp", "RemoteEndpoint", "RemoteEndpoints", "RemoteModels", "RemoteStore"}
    others |= {"RemoteStores"}
    missing = [
        kind.__name__
        for kind in Viewed.__subclasses__()
        if kind.__module__.startswith("conduit_lab")
        and not any(issubclass(each, kind) for each in shown)
        and kind.__name__ not in others
    ]
    assert missing == []
