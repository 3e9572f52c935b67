"""RouteTable: a Route that looks up its choice for known values."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from enum import Enum
from typing import Any

from conduit_lab.core.errors import CompositionError
from conduit_lab.core.stage import Stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.route import Route

_EXACT = frozenset({str, bytes, int, bool, type(None)})


def table_key(value: Any) -> Hashable:
    """Return a value's key in a table: its type and itself, since 1 equals True.

    None for a mutable value, or one that equals others of its type, such as 0.0 and -0.0.
    """
    kind = type(value)
    return (kind, value) if kind in _EXACT or isinstance(value, Enum) else None


class RouteTable(Combinator):
    """A Route with a `table` of the names that its `choose` returns for known values.

    `compile` creates it from a Route whose samples have few values. A key of `table` is a text,
    bytes, an integer, a boolean, None or a member of an `Enum`; for any other value the route
    decides.
    """

    def __init__(self, route: Route, *, table: Mapping[Any, str], name: str = "route") -> None:
        self.route = route
        self.table = dict(table)
        self.name = name
        self._stages: dict[Hashable, Stage] = {}
        for value, choice in table.items():
            stage = route.stages.get(choice, route.default)
            key = table_key(value)
            if stage is None or key is None:
                raise CompositionError(
                    f"RouteTable {name!r} expected plain values and names of its route's stages "
                    f"({', '.join(map(str, route.stages))}), got {value!r}: {choice!r}"
                )
            self._stages[key] = stage

    @property
    def children(self) -> tuple[Stage, ...]:
        """The route, with all of its stages."""
        return (self.route,)

    def _settings(self) -> dict[str, Any]:
        return {"table": self.table}

    def run(self, value: Any) -> Any:
        """Run the stage in the table, or the route."""
        return self._chosen(value)(value)

    async def arun(self, value: Any) -> Any:
        """Await the stage in the table, or the route."""
        return await self._chosen(value).acall(value)

    def stream(self, value: Any, /) -> Stream[Any, Any]:
        """Return the stream of the stage in the table, or of the route."""
        return self._chosen(value).stream(value)

    def _chosen(self, value: Any) -> Stage:
        stage = self._stages.get(table_key(value))
        return self.route if stage is None else stage
