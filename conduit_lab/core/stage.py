"""Stage: the one thing that composes. Models, functions and combinators are stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import anyio.to_thread

from conduit_lab.core.spec import TensorSpec
from conduit_lab.core.trace import recorder


class Stage(ABC):
    """Something callable with one value in and one value out.

    A stage has a `name`, input and output specs where they are known, and three ways to be called:
    `stage(value)`, `stage.batch(values)` and `await stage.acall(value)`.
    """

    name: str
    kind: recorder.Kind = "call"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Specs of what the stage takes; empty where it takes any Python value."""
        return ()

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Specs of what the stage gives; empty where it gives any Python value."""
        return ()

    @abstractmethod
    def run(self, value: Any) -> Any:
        """Do the work. Call the stage itself instead, so that a trace sees it."""

    def __call__(self, value: Any) -> Any:
        """Run the stage on one value."""
        if recorder.current() is None:
            return self.run(value)
        with recorder.span(self.name, self.kind, self, value) as span:
            result = self.run(value)
            if span is not None:
                span.output = result
            return result

    def batch(self, values: Sequence[Any]) -> list[Any]:
        """Return one result for each value, in order."""
        return [self(value) for value in values]

    async def acall(self, value: Any) -> Any:
        """Run the stage on a worker thread and return its result; the event loop stays free."""
        return await anyio.to_thread.run_sync(self, value)


class Function(Stage):
    """A Python function of one argument as a stage."""

    def __init__(self, function: Callable[[Any], Any], name: str | None = None) -> None:
        self.function = function
        self.name = name or str(getattr(function, "__name__", type(function).__name__))

    def run(self, value: Any) -> Any:
        """Call the function."""
        return self.function(value)

    def __repr__(self) -> str:
        return f"Function({self.name!r})"


def as_stage(value: Any) -> Stage:
    """Return `value` if it is a stage, or wrap a callable in `Function`."""
    if isinstance(value, Stage):
        return value
    if callable(value):
        return Function(value)
    raise TypeError(f"a stage is a Stage or a callable of one argument, got {type(value).__name__}")
