"""Route: one of several stages, chosen by the value."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from conduit_lab.core.errors import CompositionError
from conduit_lab.core.spec import TensorSpec
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.fit import equal_inputs
from conduit_lab.flow.parallel import named_stages

_MAX_NAMES = 10  # in an error


class Route(Combinator):
    """One of several stages, selected by `choose(value)`, which returns its name.

    A name that is not in `stages` selects the stage `default`; without one it raises
    `CompositionError`, which lists the names. Errors of `choose` propagate.
    """

    arrangement = "choice"

    def __init__(
        self,
        choose: Callable[[Any], str],
        stages: Mapping[str, Any],
        *,
        default: Any = None,
        name: str = "route",
    ) -> None:
        if not callable(choose) or inspect.iscoroutinefunction(choose):
            kind = "an async def function" if callable(choose) else type(choose).__name__
            raise CompositionError(
                f"route {name!r} expected a plain function that returns a name of its stages as "
                f"its first argument, got {kind}"
            )
        self.choose = choose
        self.stages = named_stages("route", name, stages)
        self.default = None if default is None else as_stage(default)
        self.name = name
        if not self.stages and self.default is None:
            raise CompositionError(f"route {name!r} expected at least one stage, got none")

    @property
    def takes(self) -> tuple[TensorSpec, ...] | None:
        """Specs of the values that its stages take, if they are all the same."""
        return equal_inputs(self.children)

    def check(self) -> None:
        """Do nothing: each stage receives different values."""

    @property
    def children(self) -> tuple[Stage, ...]:
        """The stages, in the order of their names, then the default one."""
        stages = tuple(self.stages.values())
        return stages if self.default is None else (*stages, self.default)

    def _settings(self) -> dict[str, Any]:
        return {} if self.default is None else {"default": self.default}

    def run(self, value: Any) -> Any:
        """Run the chosen stage."""
        return self._chosen(value)(value)

    async def arun(self, value: Any) -> Any:
        """Await the chosen stage."""
        return await self._chosen(value).acall(value)

    def stream(self, value: Any, /) -> Stream[Any, Any]:
        """Return the stream of the chosen stage."""
        return self._chosen(value).stream(value)

    def _chosen(self, value: Any) -> Stage:
        try:
            key: Any = self.choose(value)
        except Exception as error:
            note = f"{self._choice} raised it, so no stage was chosen"
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
            raise
        try:
            return self.stages[key]
        except KeyError:
            if self.default is not None:
                return self.default
        except TypeError:  # unhashable
            pass
        raise self._unknown(key)

    @property
    def _choice(self) -> str:
        return f"choose={getattr(self.choose, '__name__', 'choose')} of route {self.name!r}"

    def _unknown(self, key: Any) -> CompositionError:
        names = list(self.stages)
        more = len(names) - _MAX_NAMES
        known = ", ".join(map(repr, names[:_MAX_NAMES])) + (f" and {more} more" if more > 0 else "")
        got = repr(key) if isinstance(key, str) else f"{key!r} ({type(key).__name__})"
        text = f"{self._choice} expected to return one of {known}, got {got}."
        texts = {str(name): name for name in names}
        for near in difflib.get_close_matches(str(key), texts, 1):
            text += f" Did you mean {texts[near]!r}?"
        if self.default is None:
            text += " Route(…, default=stage) handles all other names."
        return CompositionError(text)
