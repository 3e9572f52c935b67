"""Preloader: learn which model follows which in a pipeline, and load evicted models early."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Protocol
from weakref import ref

from conduit_lab.core.errors import ConduitError
from conduit_lab.core.progress import silenced
from conduit_lab.core.trace.span import current

_log = logging.getLogger("conduit_lab")

_MAX_UNCOUNTED_USES = 256
MIN_PRELOAD_SHARE = 0.5  # preload a model that follows in more than this share of the calls


_Key = tuple[str, ...]


class Loadable(Protocol):
    """An opened model, which may be evicted."""

    key: tuple[str, ...]

    @property
    def loaded(self) -> bool:
        """Whether it is in memory."""

    def load(self) -> None:
        """Bring it into memory."""


class _Successors:
    """How often each model followed a given model."""

    __slots__ = ("counts", "total", "usual")

    def __init__(self) -> None:
        self.counts: dict[_Key, int] = {}
        self.total = 0
        self.usual: _Key = ()  # the most frequent one

    def add(self, key: _Key) -> None:
        count = self.counts[key] = self.counts.get(key, 0) + 1
        self.total += 1
        if count > self.counts.get(self.usual, 0):
            self.usual = key


class _Pipeline:
    """The transitions between the models of one pipeline."""

    __slots__ = ("last", "successors")

    def __init__(self) -> None:
        self.last: _Key | None = None  # the model used last in any of its calls
        self.successors: dict[_Key, _Successors] = {}


class Preloader:
    """Counts transitions between models per pipeline, identified by its name.

    The transition from the last model of one call to the first of the next counts too. If the
    usual successor is not in memory, a thread of its own loads it while the current model runs.
    `preloads` counts these loads. Until a model is closed, uses are only recorded, to be counted
    later.
    """

    def __init__(self) -> None:
        self.preloads = 0
        # pipeline, previous model of the call, model; append and pop are atomic
        self._uses: deque[tuple[str, _Key | None, _Key, ref[Loadable]]] = deque()
        self._lock = threading.Lock()  # guards everything below
        self._closed = 0  # models that were open and no longer are
        self._pipelines: dict[str, _Pipeline] = {}
        self._known: dict[_Key, ref[Loadable]] = {}
        self._loading: set[_Key] = set()

    def record_use(self, model: Loadable) -> None:
        """Record a use of `model` in the current call, and preload its usual successor."""
        span = current()
        if span is None:
            return
        call, key = span.recording, model.key
        before = call.last_model
        if before is key:  # successive runs of one model count once
            return
        call.last_model = key
        self._uses.append((call.name, before, key, ref(model)))
        if self._closed > 0:
            self._preload_after(call.name, key)
        elif len(self._uses) > _MAX_UNCOUNTED_USES:
            with self._lock:
                self._count()

    def count_closed(self, change: int) -> None:
        """Record that a model was closed (1) or opened again (-1)."""
        with self._lock:
            self._closed += change

    def _count(self) -> None:
        """Count the recorded transitions; requires the lock."""
        for _ in range(len(self._uses)):
            name, before, key, model = self._uses.popleft()
            pipeline = self._pipelines.get(name)
            if pipeline is None:
                pipeline = self._pipelines[name] = _Pipeline()
            before = before or pipeline.last
            pipeline.last = key
            self._known[key] = model
            if before is not None and before != key:
                successors = pipeline.successors.get(before)
                if successors is None:
                    successors = pipeline.successors[before] = _Successors()
                successors.add(key)

    def _preload_after(self, name: str, key: _Key) -> None:
        with self._lock:
            self._count()
            successor = self._successor(self._pipelines[name], key)
            if successor is None or successor.loaded or successor.key in self._loading:
                return
            self._loading.add(successor.key)
            self.preloads += 1
        threading.Thread(
            target=self._load, args=(successor,), name="conduit_lab preload", daemon=True
        ).start()

    def _successor(self, pipeline: _Pipeline, key: _Key) -> Loadable | None:
        """Return the model that usually follows `key`, or None."""
        successors = pipeline.successors.get(key)
        if successors is None:
            return None
        usual = successors.usual
        if successors.counts[usual] <= MIN_PRELOAD_SHARE * successors.total:
            return None
        known = self._known.get(usual)
        return None if known is None else known()

    def _load(self, model: Loadable) -> None:
        try:
            with silenced():  # no caller waits for it
                model.load()
        except ConduitError as error:  # the call that needs the model raises it again
            _log.warning("preload: %s", error)
        finally:
            with self._lock:
                self._loading.discard(model.key)
