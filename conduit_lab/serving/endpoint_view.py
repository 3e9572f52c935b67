"""The card of one endpoint, and its cells in tables of endpoints."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from conduit_lab.core import views
from conduit_lab.core.shown_signature import shown_signature
from conduit_lab.core.trace.stage_statistics import cost_cells
from conduit_lab.core.views import figures
from conduit_lab.serving.call_code import call_code

if TYPE_CHECKING:
    from conduit_lab.serving.endpoint import Endpoint

_PROOFS = {"ready": "✓ ready", "running": "● running", "missing": "○ missing", "": ""}


def endpoint_cells(endpoints: Sequence[Endpoint[..., Any]]) -> list[tuple[str, str, views.Cell]]:
    """Return the proof state, call count, and p50 with a bar of each endpoint."""
    costs = cost_cells([each.app.statistics.get(each.name) for each in endpoints])
    states = [_PROOFS[each.app.proof(each)] for each in endpoints]
    return [(state, *cost) for cost, state in zip(costs, states, strict=True)]


def endpoint_view(endpoint: Endpoint[..., Any]) -> views.View:
    """Return the view of one endpoint: signature, docstring, cost and a sample call."""
    summary = endpoint.app.statistics.get(endpoint.name)
    cost = (
        [figures.plural(summary.calls, "call"), f"p50 {figures.seconds(summary.p50)}"]
        if summary
        else []
    )
    facts = [f"answers with a {endpoint.shape}", *cost, _PROOFS[endpoint.app.proof(endpoint)]]
    doc = inspect.cleandoc(endpoint.function.__doc__ or "")
    return views.View(
        "Endpoint",
        f"{endpoint.method} {endpoint.path}",
        [fact for fact in facts if fact],
        pieces=[
            views.Code([f"{endpoint.name}{shown_signature(endpoint)}"]),
            *([views.Line(doc)] if doc else []),
            views.Code([call_code(endpoint)], "to call it:"),
        ],
    )
