"""Order: which model usually follows which, learnt pipeline by pipeline, and loaded before it is asked for."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

from conduit_lab.core.errors import ConduitError
from conduit_lab.core.trace.record import Recording
from conduit_lab.core.trace.span import current

log = logging.getLogger("conduit_lab")

SURE = 0.5  # the share of the times that one model followed another, above which it is expected to


class Loadable(Protocol):
    """What the order knows of an opened model."""

    key: tuple[str, ...]

    @property
    def loaded(self) -> bool:
        """Whether it is in memory."""

    def load(self) -> None:
        """Bring it into memory."""


class Order:
    """Counts which model was used after which, for each pipeline by its name.

    The step from the last model of one call to the first of the next counts too. When the model
    that usually follows is not in memory, it is loaded on a thread of its own while the present one
    runs.
    """

    def __init__(self) -> None:
        self.preloads = 0
        self._counts: dict[tuple[str, tuple[str, ...]], Counter[tuple[str, ...]]] = {}
        self._known: WeakValueDictionary[tuple[str, ...], Loadable] = WeakValueDictionary()
        self._last_of: dict[
            str, tuple[str, ...]
        ] = {}  # pipeline: the last model used in any of its calls
        self._last_in: WeakKeyDictionary[Recording, tuple[str, ...]] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._loading: set[tuple[str, ...]] = set()

    def used(self, model: Loadable) -> None:
        """Take note that `model` is used in the call that runs here, and load what usually follows it."""
        span = current()
        if span is None:
            return
        call = span.recording
        with self._lock:
            self._known[model.key] = model
            before = self._last_in.get(call) or self._last_of.get(call.name)
            self._last_in[call] = self._last_of[call.name] = model.key
            if (
                before is not None and before != model.key
            ):  # several runs of one model in a row are one use
                self._counts.setdefault((call.name, before), Counter())[model.key] += 1
            following = self._expected(call.name, model.key)
            if following is None or following.loaded or following.key in self._loading:
                return
            self._loading.add(following.key)
            self.preloads += 1
        threading.Thread(
            target=self._load, args=(following,), name="conduit_lab preload", daemon=True
        ).start()

    def _expected(self, pipeline: str, key: tuple[str, ...]) -> Loadable | None:
        """Return the model that follows `key` in more than half of the times, or None."""
        counts = self._counts.get((pipeline, key))
        if not counts:
            return None
        following, times = counts.most_common(1)[0]
        return self._known.get(following) if times > SURE * counts.total() else None

    def _load(self, model: Loadable) -> None:
        try:
            model.load()
        except ConduitError as error:  # the call that needs it will say so again
            log.warning("preload: %s", error)
        finally:
            with self._lock:
                self._loading.discard(model.key)
