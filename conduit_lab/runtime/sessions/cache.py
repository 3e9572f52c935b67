"""The session cache: one opened file for each content and options, shared by everyone who asks, within a budget."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from weakref import WeakValueDictionary, ref

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import TensorSpec
from conduit_lab.core.trace import recorder
from conduit_lab.core.views import figures
from conduit_lab.runtime.checks.content import TRIES, files_digest
from conduit_lab.runtime.checks.graph import Graph, check_graph
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.sessions.npz import Dense
from conduit_lab.runtime.sessions.order import Order
from conduit_lab.runtime.sessions.session import Options, Session, memory_bytes

log = logging.getLogger("conduit_lab")

BUDGET_SHARE = 0.5  # of the machine's memory, for the weights of all loaded models

Key = tuple[str, ...]


class Shared:
    """One model file, opened. Its session may be evicted while nobody runs it; the next run opens
    it again.

    `key` begins with the digest of the content, and only a file with that content is opened again:
    one that has changed is passed over for another known file. `path` is the file that held it
    last. `inputs`, `outputs`, `metadata`, `labels`, `graph` (None for `.npz`) and `size` (bytes of
    weights) stay known when it is evicted. `calls`, `rows` and `seconds` count what it ran, `loads`
    how often it was opened, `hits` how often it was asked for and already there.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: dict[str, str]
    labels: list[str] | None
    graph: Graph | None
    size: int = 0

    def __init__(self, cache: SessionCache, key: Key, path: Path, options: Options) -> None:
        self.key = key
        self.path = path
        self.options = options
        self._paths = {path: None}  # every file that held the content, the most recent last
        self.calls = self.rows = self.running = self.loads = self.hits = 0
        self.seconds = 0.0
        self.used = perf_counter()
        self.company: ref[Any] | None = None  # the `Joined` of everybody who uses it
        self._cache = cache
        self._engine: Session | Dense | None = None
        self._counting = threading.Lock()
        self._opening = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether the session is in memory now."""
        return self._engine is not None

    @property
    def device(self) -> str:
        """What it runs on, such as `cpu` or `numpy`; opens it where it was evicted."""
        return (self._engine or self._open()).device

    @property
    def memory(self) -> str:
        """Where outputs can stay for the next model, or nothing for the host's memory."""
        engine = self._engine
        return (
            f"{engine.memory} {engine.options.device}"
            if isinstance(engine, Session) and engine.memory
            else ""
        )

    @property
    def state(self) -> str:
        """The device, or "evicted" for what is not in memory now; opens nothing."""
        engine = self._engine
        return engine.device if engine else "evicted"

    def statistics(self) -> str:
        """Return what it ran so far in words: `1 024 calls, 3 072 samples, 41.2 µs a call`."""
        if not self.calls:
            return "none yet"
        calls, rows = figures.plural(self.calls, "call"), figures.plural(self.rows, "sample")
        words = f"{calls}, {rows}, {figures.seconds(self.seconds / self.calls)} a call"
        return f"{words}, {self.fallbacks} on the CPU instead" if self.fallbacks else words

    @property
    def note(self) -> str:
        """Why that is not the device that was wanted, or nothing."""
        engine = self._engine
        return engine.note if isinstance(engine, Session) else ""

    @property
    def fallbacks(self) -> int:
        """How many runs the CPU did in the device's place, since the session was opened."""
        engine = self._engine
        return engine.fallbacks if isinstance(engine, Session) else 0

    def run(
        self,
        feeds: Mapping[str, Any],
        rows: int = 1,
        *,
        keep: bool | None = None,
        count: bool = True,
    ) -> list[Any]:
        """Run the model on `feeds`, which hold `rows` samples; raises what the session's `run`
        raises.

        With `keep` the feeds may be `DeviceTensor`s; True leaves the outputs on the device too, as
        such. `count=False` leaves the run out of the statistics: nobody asked for it.
        """
        with self._counting:
            engine = self._engine
            self.running += 1
        begin = perf_counter()
        try:
            engine = engine or self._open()
            if recorder.current() is not None:
                self.noted()
            if keep is None or isinstance(engine, Dense):
                return engine.run(feeds)
            return engine.run_bound(feeds, keep)
        finally:
            took = perf_counter() - begin
            with self._counting:
                self.running -= 1
                if count:
                    self.calls += 1
                    self.rows += rows
                    self.seconds += took
                self.used = begin + took

    @contextmanager
    def hold(self) -> Iterator[Session | Dense]:
        """Give the session for a block in which it is in use, and so is not evicted."""
        with self._counting:
            self.running += 1
        try:
            yield self._engine or self._open()
        finally:
            with self._counting:
                self.running -= 1
                self.used = perf_counter()

    def noted(self) -> None:
        """Put the use into the trace that is being recorded here: for the order, and where the CPU stands in."""
        self._cache.order.used(self)
        if self.note and self.state == "cpu":
            recorder.note(f"cpu: {self.note}")

    @contextmanager
    def told(self) -> Iterator[None]:
        """Put into the caller's trace what a run in company, on whichever thread, cannot: its use, and its fallback."""
        if recorder.current() is None:
            yield
            return
        self.noted()
        before = self.fallbacks
        yield
        if self.fallbacks > before:
            recorder.note(f"cpu: {self.note}")

    def load(self) -> None:
        """Open the session now where it was evicted."""
        if self._engine is None:
            self._open()

    def close(self) -> None:
        """Let go of the session; what still runs on it ends well."""
        self._engine = None

    def found_at(self, path: Path) -> None:
        """Remember `path` as a file that holds the content now."""
        self._paths.pop(path, None)
        self._paths[path] = None
        self.path = path

    def _open(self) -> Session | Dense:
        with self._opening:
            engine = self._engine
            if engine is None:
                engine = self._find()
                self._keep(engine)
                self._cache.trim(keep=self)
        return engine

    def _find(self) -> Session | Dense:
        """Open a known file that still holds the content, the most recent first."""
        for path in reversed(list(self._paths)):
            if _content(path) == self.key[0]:
                engine = Dense(path) if path.suffix == ".npz" else Session(path, self.options)
                if engine.content == self.key[0]:  # unless it was replaced just now
                    self.path = path
                    return engine
        where = display(self.path)
        what = "has become another model" if self.path.exists() else "is gone"
        raise ModelLoadError(
            f"{where} {what} since it was loaded, and its session was closed to save memory: "
            f"load the file that is there now with load_model({where!r}), or with reload() of a Model"
        )

    def _keep(self, engine: Session | Dense) -> None:
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.metadata, self.labels, self.size = engine.metadata, engine.labels, engine.size
        self.graph = engine.graph if isinstance(engine, Session) else None
        self.loads += 1
        self.used = perf_counter()
        self._engine = engine

    def abandon(self) -> None:
        """Forget the session in a forked child, where its threads are not: even closing it would wait for them."""
        if self._engine is not None:
            ctypes.pythonapi.Py_IncRef(
                ctypes.py_object(self._engine)
            )  # so that nothing ever closes it
        self._engine = None
        self.running = 0
        self._counting, self._opening = threading.Lock(), threading.Lock()

    def __repr__(self) -> str:
        return f"<Shared {display(self.path)} · {self.state} · {figures.size(self.size)} · {self.statistics()}>"


class SessionCache:
    """All opened models of this process.

    `budget` is what their weights may take in memory, in bytes: beyond it the sessions that were
    not used for longest and are not running now are closed, and opened again at their next use.
    `order` learns which model follows which, and opens one that was closed before it is asked for.
    """

    def __init__(self, budget: int | None = None) -> None:
        self._budget = budget
        self.evictions = 0
        self.order = Order()
        self._lock = threading.RLock()
        self._shared: WeakValueDictionary[Key, Shared] = WeakValueDictionary()

    def open(self, path: Path, options: Options | None = None) -> Shared:
        """Return the opened file; raises `ModelLoadError` or `DeviceError`."""
        options = options or Options()
        key = _key(path, options)
        for left in reversed(range(TRIES)):
            with self._lock:
                shared = self._shared.get(key)
                if shared is None:
                    shared = self._shared[key] = Shared(self, key, path, options)
                elif shared.loaded:
                    shared.hits += 1
                shared.found_at(path)
            try:
                shared.load()  # not under the lock: others may open other files meanwhile
            except ModelLoadError:
                before, key = key, _key(path, options)
                if key == before or not left:
                    raise
                continue  # the file was replaced between the two
            return shared
        raise AssertionError("the last try returns or raises")

    def __iter__(self) -> Iterator[Shared]:
        with self._lock:
            return iter(list(self._shared.values()))

    @property
    def size(self) -> int:
        """The bytes of weights that are in memory now."""
        return sum(shared.size for shared in self if shared.loaded)

    @property
    def budget(self) -> int:
        """What the weights may take, in bytes: by default half of the machine's memory."""
        if self._budget is None:
            self._budget = int(memory_bytes() * BUDGET_SHARE)
        return self._budget

    @budget.setter
    def budget(self, size: int) -> None:
        if size <= 0:
            raise ValueError(f"a memory budget is a positive number of bytes, got {size}")
        self._budget = size
        self.trim()

    def trim(self, keep: Shared | None = None) -> None:
        """Close what was not used for longest, until the rest fits the budget or is in use."""
        loaded = sorted(
            (shared for shared in self if shared.loaded), key=lambda shared: shared.used
        )
        total = sum(shared.size for shared in loaded)
        for shared in loaded:
            if total <= self.budget:
                return
            if shared is not keep and shared.running == 0:
                shared.close()
                self.evictions += 1
                total -= shared.size
                log.info(
                    "%s was evicted: the loaded models went over %s",
                    display(shared.path),
                    self.budget,
                )


def _key(path: Path, options: Options) -> Key:
    """Return what two requests must share to share a session: the content, and how it is opened."""
    if path.suffix == ".npz":
        return (_npz_content(path), "npz")
    providers: list[Any] = devices.providers_for(options.device, options.fallback)
    content = check_graph(path).content
    how = (options.may_fall_back, options.threads, options.graph_level, options.timeout)
    return (content, repr(providers), repr(how))


def _npz_content(path: Path) -> str:
    if not path.is_file():
        raise ModelLoadError(
            f"no model file at {display(path)}: check the path and the root it starts from"
        )
    return files_digest((path,))


def _content(path: Path) -> str:
    """Return the digest of a model file as it is now, or "" where it is gone or broken."""
    try:
        return _npz_content(path) if path.suffix == ".npz" else check_graph(path).content
    except (ModelLoadError, OSError):
        return ""


sessions = SessionCache()


def _forget() -> None:
    """Start anew in a forked child: onnxruntime's threads did not come along. The next run opens the file again."""
    sessions._lock = threading.RLock()  # another thread may have held it
    for shared in sessions:
        shared.abandon()
    sessions.order = Order()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
