"""Preloader: learn which model follows which in a pipeline, and load an evicted one early."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

from conduit_lab.core.errors import ConduitError
from conduit_lab.core.trace.call_record import Recording
from conduit_lab.core.trace.span import current

_log = logging.getLogger("conduit_lab")

MIN_PRELOAD_SHARE = 0.5  # preload a model that follows in more than this share of the calls


class Loadable(Protocol):
    """An opened model, which may be evicted."""

    key: tuple[str, ...]

    @property
    def loaded(self) -> bool:
        """Whether it is in memory."""

    def load(self) -> None:
        """Bring it into memory."""


class Preloader:
    """Counts transitions between models per pipeline, which is known by its name.

    The transition from the last model of one call to the first of the next counts too. If the
    usual successor is not in memory, a thread of its own loads it while the current model runs.
    `preloads` counts these loads.
    """

    def __init__(self) -> None:
        self.preloads = 0
        self._lock = threading.Lock()  # guards everything below
        self._counts: dict[tuple[str, tuple[str, ...]], Counter[tuple[str, ...]]] = {}
        self._known: WeakValueDictionary[tuple[str, ...], Loadable] = WeakValueDictionary()
        # the last model used in any call of a pipeline, and in one call
        self._last_of: dict[str, tuple[str, ...]] = {}
        self._last_in: WeakKeyDictionary[Recording, tuple[str, ...]] = WeakKeyDictionary()
        self._loading: set[tuple[str, ...]] = set()

    def record_use(self, model: Loadable) -> None:
        """Record a use of `model` in the current call, and preload its usual successor."""
        span = current()
        if span is None:
            return
        call = span.recording
        with self._lock:
            self._known[model.key] = model
            before = self._last_in.get(call) or self._last_of.get(call.name)
            self._last_in[call] = self._last_of[call.name] = model.key
            if before is not None and before != model.key:  # successive runs of one model are one
                self._counts.setdefault((call.name, before), Counter())[model.key] += 1
            successor = self._successor(call.name, model.key)
            if successor is None or successor.loaded or successor.key in self._loading:
                return
            self._loading.add(successor.key)
            self.preloads += 1
        threading.Thread(
            target=self._load, args=(successor,), name="conduit_lab preload", daemon=True
        ).start()

    def _successor(self, pipeline: str, key: tuple[str, ...]) -> Loadable | None:
        """Return the model that usually follows `key`, or None."""
        counts = self._counts.get((pipeline, key))
        if not counts:
            return None
        successor, times = counts.most_common(1)[0]
        return self._known.get(successor) if times > MIN_PRELOAD_SHARE * counts.total() else None

    def _load(self, model: Loadable) -> None:
        try:
            model.load()
        except ConduitError as error:  # raised again in the call that needs the model
            _log.warning("preload: %s", error)
        finally:
            with self._lock:
                self._loading.discard(model.key)
