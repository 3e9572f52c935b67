"""Boxes: a tree drawn as boxes with arrows, in HTML without style sheet, script or SVG.

An untrusted notebook preserves all of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from conduit_lab.core.views import figures, html
from conduit_lab.core.views.html import breakable
from conduit_lab.core.views.tree import TreeNode

_EDGE = "rgba(128,128,128,.7)"
_ROW = "display:flex;flex-wrap:wrap;align-items:center;row-gap:8px"
_COLUMN = "display:flex;flex-direction:column"
_BOX = f"border:1px solid {_EDGE};border-radius:4px;padding:4px 12px;text-align:center"
_FRAME = f"border:1px dashed {_EDGE};border-radius:4px;padding:4px 8px 8px 8px"
_SMALL = "font-size:12px;line-height:16px"
_QUIET = f"{_SMALL};opacity:.7"
_LINE = f"border-top:1px solid {_EDGE};flex:1 1 auto;min-width:16px"
_GAP = "margin:4px 0"


def drawing(root: TreeNode) -> str:
    """Draw the nodes below `root` as boxes with arrows; a nested tree gets a frame."""
    parts = _children(root, root.seconds)
    if root.takes:
        parts = [_div(breakable(root.takes), _SMALL), _arrow(), *parts]
    if root.gives:
        parts = [*parts, _arrow(), _div(breakable(root.gives), _SMALL)]
    return _div("".join(parts), f"{html.TEXT_STYLE};{_ROW};margin:8px 0")


def _children(node: TreeNode, whole: float | None) -> list[str]:
    """Return the children of a node, as parts of a row."""
    drawn = [_node(child, whole) for child in node.children if not child.joins]
    if node.more:
        drawn.append(_div(f"… {figures.plural(node.more, 'more stage')}", _QUIET))
    if node.arrangement == "chain":
        return _chain(node.children, drawn)
    edges = [child.edge for child in node.children if not child.joins]
    if node.arrangement == "fallback":
        edges = ["", *["else"] * (len(edges) - 1)]
    labels = [*edges, ""] if node.more else edges
    pairs = zip(labels, drawn, strict=True)
    rows = [_div(_label(edge) + box, f"{_ROW};{_GAP}") for edge, box in pairs]
    side = f"1px {'solid' if node.arrangement == 'parallel' else 'dashed'} {_EDGE}"
    right = f"border-right:{side};padding-right:8px;" if node.arrangement == "parallel" else ""
    fork = f"border-left:{side};padding-left:8px;{right}{_COLUMN}"
    joined = [_node(child, whole) for child in node.children if child.joins]
    return [_div("".join(rows), fork), *(part for box in joined for part in (_arrow(), box))]


def _chain(nodes: Sequence[TreeNode], drawn: Sequence[str]) -> list[str]:
    """Return boxes with an arrow between each two, labelled with the values that pass along it."""
    parts = list(drawn[:1])
    for place, box in enumerate(drawn[1:], 1):
        after = nodes[place] if place < len(nodes) else None
        parts += [_arrow(nodes[place - 1].gives or (after.takes if after else "")), box]
    return parts


def _node(node: TreeNode, whole: float | None) -> str:
    if node.leaf:
        about = " · ".join(part for part in (node.kind, node.time) if part)
        ground = f";{html.bar(share)}" if (share := node.share(whole)) else ""
        return _div(
            f"<b>{breakable(node.name)}</b>{_div(breakable(about), _QUIET)}",
            _BOX + ground,
        )
    about = " · ".join(part for part in (node.kind, *node.facts, node.time) if part)
    title = _div(
        f"<b>{breakable(node.name)}</b> {breakable(about)}",
        f"{_SMALL};padding-bottom:4px",
    )
    return _div(title + _div("".join(_children(node, whole)), _ROW), _FRAME)


def _label(edge: str) -> str:
    return _div(breakable(edge), f"{_QUIET};min-width:2em;padding-right:8px") if edge else ""


def _arrow(values: str = "") -> str:
    """Return an arrow to the right, with the values above its line."""
    line = _div(_div("", _LINE) + _div("▸", "line-height:12px"), f"{_ROW};flex-wrap:nowrap")
    if values:
        # equally high below, so that the line stays in the middle
        line = f"{_div(breakable(values), f'{_QUIET};padding:0 8px')}{line}{_div('&nbsp;', _SMALL)}"
    return _div(line, f"{_COLUMN};padding:0 4px")


def _div(content: str, style: str) -> str:
    return f'<div style="{style}">{content}</div>'
