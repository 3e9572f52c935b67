"""Combinator: a stage made of stages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from conduit_lab.core.stage import Stage
from conduit_lab.core.views.view import View, Viewed

if TYPE_CHECKING:
    from conduit_lab.flow.compile import CompileStep
    from conduit_lab.flow.explain import Explanation


class Combinator(Stage, Viewed):
    """A stage made of stages; it prints as a tree, and equals another one of the same parts."""

    report: Sequence[CompileStep] | None = None  # of the combinator that `compile` made

    def compile(self, samples: Iterable[Any]) -> Combinator:
        """Return a combinator with equal answers that is faster on `samples`, or a copy.

        Its `report` has each step with its reason and times; see `compile_pipeline`.
        """
        from conduit_lab.flow.compile import compile_pipeline  # which makes combinators

        return compile_pipeline(self, samples)

    def explain(self) -> Explanation:
        """Return the choices made for each stage, and the measured times; runs nothing."""
        from conduit_lab.flow.explain import Explanation

        return Explanation(self)

    def _settings(self) -> dict[str, Any]:
        """The keyword arguments beside its stages and its name, where they differ from defaults."""
        return {}

    def _view(self) -> View:
        return View(type(self).__name__, self.name)
