"""The flowchart of a trace: its leaf stages, and the values that flow between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conduit_lab.core.text import one_line
from conduit_lab.core.trace import span_facts
from conduit_lab.core.trace.edges import DataFlow
from conduit_lab.core.trace.self_time import elapsed
from conduit_lab.core.views import figures
from conduit_lab.core.views.mermaid import NodeShape, flowchart

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span

MAX_GRAPH_NODES = 30  # of more stages, those with the same name become one node

_NAME_CHARACTERS = 40
_ENDS = _INPUT, _OUTPUT = "input", "output"


class _Graph:
    """Edges between stages, each with whether the values confirm it."""

    def __init__(self, root: Span) -> None:
        self.leaves: list[Span] = []
        self.edges: list[tuple[Span | None, Span | None, bool]] = []
        starts, ends = self._inside(root)
        self.edges += [(None, leaf, known) for leaf, known in starts]
        self.edges += [(leaf, None, True) for leaf in ends]

    def _inside(self, span: Span) -> tuple[list[tuple[Span, bool]], list[Span]]:
        """Add the edges inside `span`; return the stages that take its input and return its output.

        A stage whose input is unknown follows the one that ended last before it; the first stage
        takes the input.
        """
        flow = DataFlow(span)
        if not flow.spans:
            self.leaves.append(span)
            return [(span, True)], [span]
        inner = {id(child): self._inside(child) for child in flow.spans}
        starts: list[tuple[Span, bool]] = []
        read: set[int] = set()
        for child in flow.spans:
            entries = inner[id(child)][0]
            sources = flow.sources(child)
            is_known = bool(sources)
            for source in sources or [_before(child, flow.spans)]:
                if source is None:
                    starts += [(leaf, known and is_known) for leaf, known in entries]
                    continue
                read.add(id(source))
                self.edges += [
                    (leaf, entry, known and is_known)
                    for leaf in inner[id(source)][1]
                    for entry, known in entries
                ]
        ends = [child for child in flow.spans if flow.gives(child)]
        ends = ends or [child for child in flow.spans if id(child) not in read]
        return starts, [leaf for child in ends for leaf in inner[id(child)][1]]


def _before(span: Span, spans: list[Span]) -> Span | None:
    ended = [other for other in spans if other.start + elapsed(other) <= span.start]
    return max(ended, key=lambda other: other.start + elapsed(other), default=None)


def trace_mermaid(root: Span) -> str:
    """Return the stages of a trace as a Mermaid flowchart, with durations on the edges.

    An edge is labelled "then" if only the order of the calls is known.
    """
    graph = _Graph(root)
    groups = _grouped(graph.leaves)
    nodes = {id(span): f"s{number}" for number, group in enumerate(groups) for span in group}
    labels = {}
    for group in groups:
        labels[nodes[id(group[0])]] = _label(group)
    times = {nodes[id(group[0])]: _time(group) for group in groups}
    edges: dict[tuple[str, str], str] = {}
    for source, target, known in graph.edges:
        tail = _INPUT if source is None else nodes[id(source)]
        head = _OUTPUT if target is None else nodes[id(target)]
        if tail != head:
            words = ["" if known else "then", times.get(tail, "")]
            edges[tail, head] = " · ".join(filter(None, words))
    if not graph.leaves or graph.leaves == [root]:
        return flowchart([("s0", f"{one_line(root.name, _NAME_CHARACTERS)}", "box")], [])
    shown: list[tuple[str, str, NodeShape]] = [(name, name, "stadium") for name in _ENDS]
    shown[1:1] = [(name, label, "box") for name, label in labels.items()]
    return flowchart(
        shown,
        [(tail, head, label) for (tail, head), label in edges.items()],
    )


def _time(group: list[Span]) -> str:
    words = [figures.seconds(sum(map(elapsed, group)))]
    return " ".join([*words, *([] if all(span.ended for span in group) else [span_facts.RUNNING])])


def _label(group: list[Span]) -> str:
    if len({span.name for span in group}) > 1:
        return f"{len(group)} more"
    label = one_line(group[0].name, _NAME_CHARACTERS)
    label += f" × {len(group)}" if len(group) > 1 else ""
    return f"✕ {label}" if any(span.error is not None for span in group) else label


def _grouped(leaves: list[Span]) -> list[list[Span]]:
    if len(leaves) <= MAX_GRAPH_NODES:
        return [[leaf] for leaf in leaves]
    by_name: dict[str, list[Span]] = {}
    for leaf in leaves:
        by_name.setdefault(leaf.name, []).append(leaf)
    groups = list(by_name.values())
    rest = [leaf for group in groups[MAX_GRAPH_NODES:] for leaf in group]
    return groups[:MAX_GRAPH_NODES] + ([rest] if rest else [])
