"""Ensemble: several models on the same value, combined into one answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from conduit_lab.core.spec import TensorSpec, ValueSpec
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.fit import check_same_value, shared_inputs
from conduit_lab.flow.tasks import gather_stages


class Ensemble(Combinator):
    """Several models on the same value; `combine` takes the list of their answers."""

    arrangement = "parallel"

    def __init__(
        self, models: Sequence[Any], combine: Callable[[list[Any]], Any], *, name: str = "ensemble"
    ) -> None:
        if not models:
            raise ValueError(f"ensemble {name!r} expected at least one model, got none")
        self.models = tuple(as_stage(model) for model in models)
        self.combine = as_stage(combine)
        self.name = name
        self.check()

    @property
    def takes(self) -> tuple[TensorSpec, ...] | None:
        """Specs of the values that its models take."""
        return shared_inputs(self.models)

    @property
    def gives(self) -> ValueSpec:
        """The values that their combination gives."""
        return self.combine.gives

    def check(self) -> None:
        """Raise `CompositionError` where two models cannot take the same value."""
        check_same_value(type(self).__name__, self.models)

    @property
    def children(self) -> tuple[Stage, ...]:
        """The models, then the stage that combines their answers."""
        return *self.models, self.combine

    def run(self, value: Any) -> Any:
        """Ask every model, then combine."""
        return self.combine([model(value) for model in self.models])

    async def arun(self, value: Any) -> Any:
        """Await all models at once, then combine."""
        return await self.combine.acall(await gather_stages(self.models, value))
