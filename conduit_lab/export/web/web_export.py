"""WebExport: the result of an export as a static page; its view shows the proof call by call."""

from __future__ import annotations

from conduit_lab.core.views.pieces import ViewPiece
from conduit_lab.core.views.sections import Code
from conduit_lab.export.export_result import Export


class WebExport(Export):
    """A finished page: its `folder`, the `outcomes` of the calls in Chromium, and `warnings`."""

    prover = "headless Chromium"

    def _next_step(self, place: str) -> ViewPiece:
        return Code([f"python -m http.server -d {place}"], "to open it; any static host serves it:")
