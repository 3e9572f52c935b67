"""Stage chart: a tree of stages as a Mermaid flowchart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from conduit_lab.core import views
from conduit_lab.core.views import figures
from conduit_lab.core.views.mermaid import NodeShape, flowchart

_Ends = list[tuple[str, str]]  # nodes to continue from, each with the label of its edge


def stage_chart(root: views.TreeNode) -> str:
    """Return the flowchart source: input values, stages, output values."""
    return _Chart().text(root)


class _Chart:
    def __init__(self) -> None:
        self.nodes: list[tuple[str, str, NodeShape]] = []
        self.edges: list[tuple[str, str, str]] = []

    def text(self, root: views.TreeNode) -> str:
        start = [(self._add(root.takes or "input", "stadium"), "")]
        ends = start if root.leaf else self._draw(root, start)
        self._join(ends, self._add(root.gives or "output", "stadium"))
        return flowchart(self.nodes, self.edges)

    def _draw(self, node: views.TreeNode, ends: _Ends) -> _Ends:
        """Draw a node after `ends`; return the ends to continue from."""
        children = [child for child in node.children if not child.joins]
        if node.leaf:
            about = " · ".join(part for part in (node.kind, node.time) if part)
            return [(self._joined(ends, f"{node.name}\n{about}", "box"), "")]
        if node.arrangement == "chain":
            return self._chain(node, children, ends)
        if node.arrangement == "fallback":
            return self._fallback(node, children, ends)
        return self._fork(node, children, ends)

    def _chain(
        self, node: views.TreeNode, children: Sequence[views.TreeNode], ends: _Ends
    ) -> _Ends:
        before: views.TreeNode | None = None
        for child in children:
            if before is not None:
                values = before.gives or child.takes
                if len(ends) == 1:
                    ends = [(name, label or values) for name, label in ends]
            ends, before = self._draw(child, ends), child
        return self._more(node, ends)

    def _fork(self, node: views.TreeNode, children: Sequence[views.TreeNode], ends: _Ends) -> _Ends:
        facts = "\n".join([node.name, *node.facts])
        start = self._joined(ends, facts, "diamond" if node.arrangement == "choice" else "round")
        out = [end for child in children for end in self._draw(child, [(start, child.edge)])]
        if node.more:
            out += self._more(node, [(start, "")])
        for child in node.children:
            if child.joins:
                out = self._draw(child, out)
        return out

    def _fallback(
        self, node: views.TreeNode, children: Sequence[views.TreeNode], ends: _Ends
    ) -> _Ends:
        out: _Ends = []
        for child in children:
            made = self._draw(child, ends)
            out += made
            ends = [(made[-1][0], "else")]
        return out if not node.more else out + self._more(node, ends)

    def _more(self, node: views.TreeNode, ends: _Ends) -> _Ends:
        if not node.more:
            return ends
        return [(self._joined(ends, f"… {figures.plural(node.more, 'more stage')}", "round"), "")]

    def _joined(self, ends: _Ends, label: str, shape: NodeShape) -> str:
        """Add a node, and an edge to it from each end."""
        name = self._add(label, shape)
        self._join(ends, name)
        return name

    def _join(self, ends: Iterable[tuple[str, str]], name: str) -> None:
        self.edges += [(end, name, label) for end, label in ends]

    def _add(self, label: str, shape: NodeShape) -> str:
        self.nodes.append((f"s{len(self.nodes)}", label, shape))
        return self.nodes[-1][0]
