"""ExportPlan: everything that an export would write or refuse."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from conduit_lab.core.views import figures, html
from conduit_lab.core.views.pieces import Line, ViewPiece
from conduit_lab.core.views.sections import Code
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.export.cell_run import CellRun
from conduit_lab.export.closure import MAX_SHOWN_REFUSALS, Closure
from conduit_lab.export.part import Selection, chosen_endpoints
from conduit_lab.export.plan_node import PlanNode
from conduit_lab.export.refusal import Refusal
from conduit_lab.serving.app import App
from conduit_lab.serving.call_code import call_code
from conduit_lab.serving.recorded import Example

_MAX_SHOWN_WARNINGS = 10
_COLUMNS = ("object", "exported as", "size", "cell", "needed by")


class ExportPlan(Viewed):
    """The dry run of an export: its `nodes`, `refusals` and `warnings`.

    `nodes` are all objects that the endpoints reach, each with its form, its size in bytes and the
    names that need it. Sizes of files not yet written are estimates. A refusal has a `problem`, the
    `chain` of names that needs the object, and a `mend`. `missing` lists, as code, the calls that
    the proof still needs.
    """

    def __init__(
        self,
        name: str,
        endpoints: Sequence[str],
        nodes: Sequence[PlanNode],
        refusals: Sequence[Refusal] = (),
        warnings: Sequence[str] = (),
        missing: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.endpoints = tuple(endpoints)
        self.nodes = tuple(nodes)
        self.refusals = tuple(refusals)
        self.warnings = tuple(warnings)
        self.missing = tuple(missing)

    @classmethod
    def of(cls, closure: Closure, missing: Sequence[str] = ()) -> ExportPlan:
        """Create the plan of a closure."""
        endpoints = [f"{each.method} {each.path}" for each in closure.endpoints]
        name = closure.namespace.app.name
        return cls(name, endpoints, closure.nodes, closure.refusals, closure.warnings, missing)

    @property
    def size(self) -> int:
        """The size of all source and files in bytes."""
        return sum(node.size for node in self.nodes)

    @property
    def summary(self) -> str:
        """One sentence about what can be exported."""
        objects = figures.plural(len(self.nodes) - len(self.refusals), "object")
        if self.refusals:
            refused = figures.plural(len(self.refusals), "object")
            return f"{refused} cannot be exported; {objects} can."
        return f"{objects} to export, {figures.size(self.size)} in all."

    @property
    def table(self) -> Table:
        """The exportable objects, one row each, largest first."""
        nodes = sorted(self.nodes, key=lambda node: -node.size)
        largest = max((node.size for node in nodes), default=0)
        rows = [_row(node, largest) for node in nodes if not node.problem]
        return Table(_COLUMNS, rows, numeric=("size", "cell"), whole="plan.nodes")

    def _view(self) -> View:
        pieces: list[ViewPiece] = [Line(self.summary, "large")]
        for refusal in self.refusals[:MAX_SHOWN_REFUSALS]:
            pieces += _refusal_pieces(refusal)
        pieces += _more(self.refusals, MAX_SHOWN_REFUSALS, "plan.refusals")
        pieces += [Line(f"△ {warning}") for warning in self.warnings[:_MAX_SHOWN_WARNINGS]]
        pieces += _more(self.warnings, _MAX_SHOWN_WARNINGS, "plan.warnings")
        if self.missing:
            pieces.append(Code(self.missing, "call once, to prove the export:"))
        if self.table.rows:
            pieces.append(self.table)
        facts = [figures.plural(len(self.endpoints), "endpoint")]
        return View("Export plan", self.name, facts, pieces=pieces)


def plan_app(
    app: App,
    *,
    examples: Sequence[Example] = (),
    statements: Sequence[CellRun | str] | None = None,
    namespace: dict[str, Any] | None = None,
    endpoints: Selection | None = None,
) -> ExportPlan:
    """Plan the export of `app`: nothing is written, and all refusals are collected.

    The arguments are those of `export_app`. Raises `ExportError` for an app without endpoints, and
    `UnknownName` for an unknown one in `endpoints`.
    """
    chosen = chosen_endpoints(app, endpoints)
    closure = Closure(
        app, statements, namespace, endpoints=chosen, examples=examples, keeps_refusals=True
    )
    tried = {(example.method, example.path) for example in examples}
    missing = [call_code(each) for each in chosen if (each.method, each.path) not in tried]
    return ExportPlan.of(closure, missing)


def _row(node: PlanNode, largest: int) -> tuple[Any, ...]:
    share = node.size / largest if largest else 0.0
    size = html.Cell(figures.size(node.size) if node.size else "", share=share)
    needed_by = " → ".join(node.chain[:-1])
    name = html.Cell(node.name, suffix=f" {node.kind}")
    return (name, node.form, size, str(node.cell or ""), needed_by)


def _more(items: Sequence[object], shown: int, whole: str) -> list[ViewPiece]:
    """Return the number of items not shown, with the expression that lists all."""
    more = len(items) - shown
    return [Line(f"and {more} more: {whole}", "quiet")] if more > 0 else []


def _refusal_pieces(refusal: Refusal) -> list[ViewPiece]:
    """Show a refusal: its problem, the names that need the object, and the mend as code."""
    first, *code = (refusal.mend or "").split("\n\n")
    pieces: list[ViewPiece] = [
        Line(f"✕ {refusal.problem}: {first}" if first else f"✕ {refusal.problem}")
    ]
    if refusal.chain:
        pieces.append(Line(f"needed by {refusal.chain}", "quiet"))
    return [*pieces, *(Code(textwrap.dedent(each).split("\n")) for each in code)]
