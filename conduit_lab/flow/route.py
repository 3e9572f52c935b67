"""Route: one of several stages, chosen by the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from conduit_lab.core.spec import TensorSpec
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.fit import equal_inputs


class Route(Combinator):
    """One of several stages, chosen by `choose(value)`, which returns its name."""

    arrangement = "choice"

    def __init__(
        self, choose: Callable[[Any], str], stages: Mapping[str, Any], *, name: str = "route"
    ) -> None:
        self.choose = choose
        self.stages = {key: as_stage(stage) for key, stage in stages.items()}
        self.name = name

    @property
    def takes(self) -> tuple[TensorSpec, ...] | None:
        """Specs of the values that its stages take, where they are the same."""
        return equal_inputs(self.children)

    def check(self) -> None:
        """Do nothing: each stage gets values of its own."""

    @property
    def children(self) -> tuple[Stage, ...]:
        """The stages, in the order of their names."""
        return tuple(self.stages.values())

    def run(self, value: Any) -> Any:
        """Run the chosen stage; `KeyError` naming the choices for an unknown name."""
        return self._chosen(value)(value)

    async def arun(self, value: Any) -> Any:
        """Await the chosen stage."""
        return await self._chosen(value).acall(value)

    def stream(self, value: Any, /) -> Stream[Any, Any]:
        """Return the stream of the chosen stage."""
        return self._chosen(value).stream(value)

    def _chosen(self, value: Any) -> Stage:
        key = self.choose(value)
        if key not in self.stages:
            raise KeyError(f"route {self.name!r} has no {key!r}: it has {', '.join(self.stages)}")
        return self.stages[key]
