"""Views: values as text and as static HTML.

Common names such as `views.Table(…)` are imported on first use, so a process that displays nothing,
such as a server, loads none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conduit_lab.core.views import html as html
    from conduit_lab.core.views.charts import BarChart as BarChart
    from conduit_lab.core.views.charts import Charted as Charted
    from conduit_lab.core.views.html import Cell as Cell
    from conduit_lab.core.views.pieces import Bar as Bar
    from conduit_lab.core.views.pieces import Bars as Bars
    from conduit_lab.core.views.pieces import Card as Card
    from conduit_lab.core.views.pieces import Columns as Columns
    from conduit_lab.core.views.pieces import Folded as Folded
    from conduit_lab.core.views.pieces import Line as Line
    from conduit_lab.core.views.pieces import Marked as Marked
    from conduit_lab.core.views.pieces import ViewPiece as ViewPiece
    from conduit_lab.core.views.sections import Code as Code
    from conduit_lab.core.views.tree import Arrangement as Arrangement
    from conduit_lab.core.views.tree import TreeNode as TreeNode
    from conduit_lab.core.views.view import Table as Table
    from conduit_lab.core.views.view import View as View

_HOMES = {
    "Arrangement": "tree",
    "Bar": "pieces",
    "BarChart": "charts",
    "Bars": "pieces",
    "Card": "pieces",
    "Cell": "html",
    "Charted": "charts",
    "Code": "sections",
    "Columns": "pieces",
    "Folded": "pieces",
    "Line": "pieces",
    "Marked": "pieces",
    "Table": "view",
    "TreeNode": "tree",
    "View": "view",
    "ViewPiece": "pieces",
}


def __getattr__(name: str) -> Any:
    if name == "html":
        return import_module(f"{__name__}.html")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
