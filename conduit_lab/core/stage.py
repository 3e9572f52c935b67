"""Stage: the unit of composition. Models, functions, endpoints and combinators are stages."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio.to_thread

from conduit_lab.core import views
from conduit_lab.core.errors import InputError
from conduit_lab.core.progress import counted, progress
from conduit_lab.core.shown_signature import shown_signature
from conduit_lab.core.spec import TensorSpec, ValueSpec
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace.span import Kind, Span, current
from conduit_lab.core.trace.tally import tallying
from conduit_lab.core.views import figures
from conduit_lab.core.views.viewed import Viewed


class Stage(ABC):
    """A callable with one value in and one value out, alone or as part of a tree.

    A stage has a `name`, input and output specs if they are known, and `children`, the stages it
    consists of. Call it as `stage(value)`, `stage.batch(values)`, `await stage.acall(value)` or, if
    it produces chunks, `stage.stream(value)`. Subclasses implement `run`, and `arun` if they can
    await their work instead of occupying a thread. `last_seconds` is the duration of the last
    recorded call.
    """

    name: str
    kind: Kind = "call"
    last_seconds: float | None = None

    @property
    def revision(self) -> Any:
        """The current code or weights of a stage that can change; compared with `==`."""
        return None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the input arrays; empty if the stage takes any Python value."""
        return ()

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the output arrays; empty if the stage returns any Python value."""
        return ()

    @property
    def takes(self) -> tuple[TensorSpec, ...] | None:
        """Specs of the values that the stage takes, None if unknown; opens nothing."""
        return self.inputs or None

    @property
    def gives(self) -> ValueSpec:
        """The values passed to the next stage, None if unknown; opens nothing."""
        return self.outputs or None

    @property
    def children(self) -> tuple[Stage, ...]:
        """The stages that this one calls, in order; empty for a leaf."""
        return ()

    @abstractmethod
    def run(self, value: Any) -> Any:
        """Do the work. Call the stage itself instead, so that the call is traced."""

    async def arun(self, value: Any) -> Any:
        """Do the work without blocking the event loop: by default on a worker thread."""
        return await anyio.to_thread.run_sync(self.run, value)

    def __call__(self, value: Any) -> Any:
        """Run the stage on one value."""
        here = current()
        if here is None:
            try:
                if (tally := tallying()) is not None:
                    return tally.call(self.name, self.run, value)
                return self.run(value)
            except RecursionError as error:
                raise endless(self.name, error) from None
        run = self.run
        if (replay := here.recording.replay) is not None:
            kept = replay.kept(here, self.name, self.kind, self, value)
            if kept is not None:
                return kept.gave
            run = as_stage(replay.changed.get(self.name, self)).run
        # `here.child(…)`, inlined
        with Span(self.name, self.kind, self, value, here.recording, here.record, here) as span:
            span.output = result = run(value)
        self.last_seconds = span.duration
        return result

    def acall(self, value: Any) -> Coroutine[Any, Any, Any]:
        """Run the stage on one value without blocking the event loop; to be awaited."""
        here = current()  # a separate coroutine would cost a tenth of a small model's run
        if here is not None:
            return self._arecorded(value, here)
        tally = tallying()
        return self.arun(value) if tally is None else tally.acall(self.name, self.arun, value)

    async def _arecorded(self, value: Any, here: Span) -> Any:
        run = self.arun
        if (replay := here.recording.replay) is not None:
            kept = replay.kept(here, self.name, self.kind, self, value)
            if kept is not None:
                return kept.gave
            run = as_stage(replay.changed.get(self.name, self)).arun
        with here.child(self.name, self.kind, self, value) as span:
            span.output = result = await run(value)
        self.last_seconds = span.duration
        return result

    def run_again(self, value: Any, arguments: Any) -> Any:
        """Run with the arguments of an earlier span, which affect the result besides the value.

        They may come from another kind of stage; by default they are ignored.
        """
        return self.run(value)

    def batch(self, values: Sequence[Any]) -> list[Any]:
        """Return one result per value, in order."""
        with progress(len(values), "value", f"{self.name}.batch"):
            return [self(value) for value in counted(values, "value")]

    def stream(self, value: Any, /) -> Stream[Any, Any]:
        """Return a stream of the answer's chunks; `InputError` for a stage that does not stream."""
        raise InputError(
            f"{self.name!r} does not stream: it returns whole answers. Use {self.name}(value)"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self, 'name', '')!r})"

    def hand_on(self, value: Any, following: Stage) -> Any:
        """Run the stage for `following`, which may accept the result in a special form.

        Two models on one accelerator keep the tensor there; by default this is a plain call.
        """
        return self(value)

    async def ahand_on(self, value: Any, following: Stage) -> Any:
        """Run the stage for `following` from an event loop."""
        return await self.acall(value)


class Function(Stage, Viewed):
    """A Python function of one argument as a stage; call an `async def` one with `acall` only."""

    def __init__(self, function: Callable[[Any], Any], name: str | None = None) -> None:
        self.function = function
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self._is_async = inspect.iscoroutinefunction(function)

    @property
    def revision(self) -> Any:
        """The code of the function."""
        return getattr(self.function, "__code__", None)

    def run(self, value: Any) -> Any:
        """Call the function."""
        return self.function(value)

    async def arun(self, value: Any) -> Any:
        """Await an `async def` function; run any other on a worker thread."""
        if self._is_async:
            return await self.function(value)
        return await anyio.to_thread.run_sync(self.function, value)

    def __eq__(self, other: object) -> bool:
        if type(self) is not Function or type(other) is not Function:
            return NotImplemented
        return self.name == other.name and bool(self.function == other.function)

    def __hash__(self) -> int:
        return hash((Function, self.name))  # excludes the function, as callables may be unhashable

    def _view(self) -> views.View:
        signature = shown_signature(self.function)
        last = self.last_seconds
        facts = [] if last is None else [f"last call {figures.seconds(last)}"]
        doc = inspect.getdoc(self.function) if inspect.isroutine(self.function) else None
        code = views.Code([f"{'async ' if self._is_async else ''}def {self.name}{signature}"])
        pieces = [code, views.Line(doc)] if doc else [code]
        return views.View(type(self).__name__, self.name, facts, pieces=pieces)


_ENDLESS = "calls itself without an end"


def endless(name: str, error: RecursionError) -> RecursionError:
    """Return the error for too deeply nested calls."""
    if _ENDLESS in str(error):
        return error
    return RecursionError(f"{name}() {_ENDLESS}, or too many calls are nested: {error}")


def as_stage(value: Any) -> Stage:
    """Return `value` if it is a stage, or wrap a callable in `Function`."""
    if isinstance(value, Stage):
        return value
    if callable(value):
        return Function(value)
    raise TypeError(f"expected a Stage or a callable with one argument, got {type(value).__name__}")
