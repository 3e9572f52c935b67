"""FileModel: a model stored as a file or folder, opened on first use."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, cast

from conduit_lab.core import forking, views
from conduit_lab.core.paths import display
from conduit_lab.core.spec import TensorSpec, ValueSpec
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.core.trace.span import current
from conduit_lab.core.trace.tally import tallying
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.models.benchmark import BENCHMARK_SECONDS, Benchmark, benchmark
from conduit_lab.runtime.sessions.cache import Shared
from conduit_lab.runtime.sessions.remote import RemoteRuns
from conduit_lab.runtime.sessions.session import Options


class Opened(Protocol):
    """An opened file. Each call holds one from start to finish, so a swap never mixes versions."""

    @property
    def shared(self) -> Shared:
        """The opened graph or weights, shared with other models."""


_MAIN_METHODS = {"predict", "encode", "generate", "score"}

_Parts = TypeVar("_Parts", bound=Opened)
_Result = TypeVar("_Result")


class FileModel(Stage, Viewed, Generic[_Parts]):
    """A model at `path`, opened by `open()` or on first use; equal files share a session.

    `revision` is the digest of the content opened last, or None. `remote` means that it runs in a
    separate deployment on Ray Serve.
    """

    revision: str | None = None
    remote: bool = False
    main_call: ClassVar[str] = "predict(value)"  # suggested if another kind's method is called

    def __init__(self, path: Path, name: str, options: Options) -> None:
        self.path = path
        self.name = name
        self.options = options
        self._opened: _Parts | None = None
        self._opening = threading.Lock()
        forking.free_in_child(self, "_opening")

    @abstractmethod
    def _open(self) -> _Parts:
        """Open the file or folder at `path`; raises `ModelLoadError` or `DeviceError`."""

    def open(self) -> Self:
        """Load it now; raises `ModelLoadError` or `DeviceError`. Idempotent."""
        with self._opening:
            if self._opened is None:
                self._hold(self._open())
        return self

    def _hold(self, opened: _Parts) -> None:
        """Use `opened` for all further calls."""
        self._opened = opened
        self.revision = opened.shared.key[0]  # last: a call that reads this runs the new file

    def unload(self) -> None:
        """Free the memory, unless another model shares the session; the next call reopens it."""
        self._opened = None

    def run_elsewhere(self, runs: RemoteRuns) -> None:
        """Run its graph in another process from the next call on; opens nothing."""
        self.options = replace(self.options, remote=runs)
        self.unload()

    def _parts(self) -> _Parts:
        opened = self._opened
        while opened is None:  # retry if another thread unloads it meanwhile
            self.open()
            opened = self._opened
        return opened

    def _load(self) -> None:
        """Open it, and reopen its session if that was evicted."""
        self._parts().shared.load()

    @property
    def held(self) -> Shared | None:
        """The opened graph or weights, or None; opens nothing."""
        opened = self._opened
        return None if opened is None else opened.shared

    @property
    def shared(self) -> Shared:
        """The opened graph or weights, opened on first use."""
        return self._parts().shared

    @property
    def takes(self) -> tuple[TensorSpec, ...] | None:
        """Specs of the input values, or None while it is not open; opens nothing."""
        opened = self._opened
        return None if opened is None else self._takes(opened)

    @property
    def gives(self) -> ValueSpec:
        """The values passed to the next stage, or None while it is not open; opens nothing."""
        opened = self._opened
        return None if opened is None else self._gives(opened)

    def _takes(self, opened: _Parts) -> tuple[TensorSpec, ...] | None:
        """Return the specs of the opened model's input values, or None for other values."""
        return None

    def _gives(self, opened: _Parts) -> ValueSpec:
        """Return the opened model's output values."""
        return None

    @property
    def loaded(self) -> bool:
        """Whether the session is in memory now."""
        return self.held is not None and self.held.loaded

    @property
    def device(self) -> str:
        """The device that the model actually runs on, such as `cpu`, `cuda` or `numpy`."""
        return self.shared.device

    @property
    def size(self) -> int:
        """Size of the weights in bytes."""
        return self.shared.size

    def benchmark(
        self,
        sample: Any,
        *,
        batch_sizes: Sequence[int] | None = None,
        seconds: float = BENCHMARK_SECONDS,
    ) -> Benchmark:
        """Measure calls on `sample` for each batch size; see `conduit_lab.models.benchmark`."""
        return benchmark(self, sample, batch_sizes=batch_sizes, seconds=seconds)

    def _traced(self, value: Any, call: Callable[[], _Result], arguments: Any = ()) -> _Result:
        """Make a call on `value`, in its own span if a trace is recorded.

        `arguments` are the other arguments that affect the result.
        """
        here = current()
        if here is None:
            tally = tallying()
            return call() if tally is None else tally.call(self.name, lambda _: call(), None)
        if (replay := here.recording.replay) is not None:
            kept = replay.kept(here, self.name, self.kind, self, value, arguments)
            if kept is not None:
                return cast(_Result, kept.gave)
            if (other := replay.changed.get(self.name)) is not None:
                call = partial(as_stage(other).run_again, value, arguments)
        with here.child(self.name, self.kind, self, value) as span:
            if arguments:
                span.annotate(arguments=arguments)
            span.output = result = call()
        self.last_seconds = span.duration
        return result

    def __dir__(self) -> list[str]:
        return [
            name for name in super().__dir__() if name not in _MAIN_METHODS or hasattr(self, name)
        ]

    @abstractmethod
    def _facts(self) -> list[tuple[str, str]]:
        """Return the rows of the repr; does not open the model."""

    def __repr__(self) -> str:
        state = "not opened" if self.held is None else self.held.state
        return f"{type(self).__name__}({display(self.path)!r}, {state})"

    def _view(self) -> views.View:
        facts = views.Table(("property", "value"), self._facts())
        return views.View(type(self).__name__, self.name, tables=[facts])


class _OtherKindsMethod:
    """The main method of another kind of model: raises an `AttributeError` naming its own."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, model: Any, kind: type[Any]) -> Any:
        called = kind.__name__ if model is None else f"{kind.__name__} {model.name!r}"
        raise AttributeError(
            f"{called} has no {self.name}(): a model of this kind is called with {kind.main_call}",
            name=self.name,
            obj=model,
        )


# set, not declared, so type checkers and completion list only the methods of each kind; with a
# `__getattr__`, IPython would not complete calls of a model's methods
for _name in _MAIN_METHODS:
    setattr(FileModel, _name, _OtherKindsMethod(_name))
