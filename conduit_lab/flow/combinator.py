"""Combinator: a stage made of stages."""

from __future__ import annotations

from typing import Any

from conduit_lab.core.stage import Stage
from conduit_lab.core.views.view import View, Viewed


class Combinator(Stage, Viewed):
    """A stage made of stages; it prints as a tree, and equals another one of the same parts."""

    def _settings(self) -> dict[str, Any]:
        """The keyword arguments beside its stages and its name, where they differ from defaults."""
        return {}

    def _view(self) -> View:
        return View(type(self).__name__, self.name)
