"""SessionCache: one session per file content and options, shared, within a memory budget."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from weakref import WeakValueDictionary, ref

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.forking import in_forked_child
from conduit_lab.core.paths import display
from conduit_lab.core.spec import TensorSpec
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span import current
from conduit_lab.core.trace.tally import is_observed
from conduit_lab.core.views import figures
from conduit_lab.runtime.checks.content import TRIES, files_digest
from conduit_lab.runtime.checks.graph import Graph, check_graph
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.sessions.memory import memory_bytes
from conduit_lab.runtime.sessions.npz import Dense
from conduit_lab.runtime.sessions.preloader import Preloader
from conduit_lab.runtime.sessions.remote import RemoteSession
from conduit_lab.runtime.sessions.run_counts import RunCounts
from conduit_lab.runtime.sessions.session import Options, Session

_log = logging.getLogger("conduit_lab")

WEIGHTS_MEMORY_SHARE = 0.5  # of the machine's memory, for the weights of all loaded models

Engine = Session | Dense | RemoteSession
_Key = tuple[str, ...]  # the digest of the content, and the options


class Shared(RunCounts):
    """One opened model file, shared by its users; thread-safe.

    An idle session may be evicted, and the next run opens it again. `key` begins with the digest
    of the content, and only a file with that content is opened again: a changed file is skipped in
    favour of another known file. `path` is the last file known to hold the content. `inputs`,
    `outputs`, `metadata`, `labels`, `graph` (None for `.npz`) and `size` (bytes of weights) outlive
    an eviction. `loads` counts how often it was opened, `hits` the requests that found it loaded.
    `active` has an entry for each call in progress; a run takes no lock for it.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: dict[str, str]
    labels: list[str] | None
    graph: Graph | None
    size: int = 0

    def __init__(self, cache: SessionCache, key: _Key, path: Path, options: Options) -> None:
        super().__init__()
        self.key = key
        self.path = path
        self.options = options
        self._paths = {path: None}  # files that held the content, the most recent last
        self.active: list[None] = []
        self.loads = self.hits = 0
        self.used = perf_counter()
        self.batcher: ref[Any] | None = None  # the `ModelBatcher` of all its users
        self._cache = cache
        self._engine: Engine | None = None
        self._is_closed = False  # closed after having been open
        self._opening = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether the session is in memory now."""
        return self._engine is not None

    @property
    def device(self) -> str:
        """The device, such as `cpu` or `numpy`; opens an evicted session."""
        return (self._engine or self._open()).device

    @property
    def is_remote(self) -> bool:
        """Whether it runs in another process."""
        return self.options.remote is not None

    @property
    def memory(self) -> str:
        """The device memory in which outputs can stay for the next model, or ""."""
        engine = self._engine
        if isinstance(engine, Session) and engine.memory:
            return f"{engine.memory} {engine.options.device}"
        return ""

    @property
    def state(self) -> str:
        """The device, or "evicted"; opens nothing."""
        engine = self._engine
        return engine.device if engine else "evicted"

    @property
    def running(self) -> int:
        """The number of calls in progress; a session with any is not evicted."""
        return len(self.active)

    def statistics(self) -> str:
        """Return the counters as text: `1 024 calls, 3 072 samples, 41.2 µs per call`."""
        if not self.calls:
            return "none yet"
        calls, rows = figures.plural(self.calls, "call"), figures.plural(self.rows, "sample")
        words = f"{calls}, {rows}, {figures.seconds(self.seconds / self.calls)} per call"
        return f"{words}, {self.fallbacks} on the CPU instead" if self.fallbacks else words

    @property
    def note(self) -> str:
        """The reason why the device is not the requested one, or ""."""
        engine = self._engine
        return engine.note if isinstance(engine, Session) else ""

    @property
    def fallbacks(self) -> int:
        """The number of runs on the CPU instead of the device since the session was opened."""
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
        """Run the model on `feeds`, which hold `rows` samples.

        With `keep` the feeds may be `DeviceTensor`s; True leaves the outputs on the device too.
        `count=False` excludes a run that no user requested from the statistics. Errors are
        those of the session's `run`.
        """
        self.active.append(None)
        begin = perf_counter()
        try:
            engine = self._engine or self._open()
            here = current()
            if engine.note or (here is not None and here.recording.last_model is not self.key):
                self.record_use()
            if keep is None or not isinstance(engine, Session):
                return engine.run(feeds)
            return engine.run_bound(feeds, keep)
        finally:
            self.used = end = perf_counter()
            self.active.pop()
            if count:
                self.count(rows, end - begin)

    @contextmanager
    def hold(self) -> Iterator[Engine]:
        """Yield the session, which is not evicted until the block ends."""
        self.active.append(None)
        try:
            yield self._engine or self._open()
        finally:
            self.active.pop()
            self.used = perf_counter()

    def record_use(self) -> None:
        """Record a use, and any CPU fallback, in the current trace; preload the next model."""
        self._cache.preloader.record_use(self)
        engine = self._engine
        if engine is not None and engine.note and engine.device == "cpu":
            recorder.annotate(device="cpu", device_fallback=engine.note)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record a run on any thread, and any fallback, in the caller's trace."""
        if not is_observed():
            yield
            return
        self.record_use()
        before = self.fallbacks
        yield
        if self.fallbacks > before:
            recorder.annotate(device="cpu", device_fallback=self.note)

    def load(self) -> None:
        """Open the session unless it is loaded."""
        _ = self._engine or self._open()

    def close(self) -> None:
        """Release the session; its running calls finish."""
        if self._engine is not None:
            self._engine = None
            self._is_closed = True
            self._cache.preloader.count_closed(1)

    def found_at(self, path: Path) -> None:
        """Record `path` as the latest file with the content."""
        self._paths.pop(path, None)
        self._paths[path] = None
        self.path = path

    def _open(self) -> Engine:
        with self._opening:
            engine = self._engine
            if engine is None:
                engine = self._find()
                self._keep(engine)
                self._cache.trim(keep=self)
        return engine

    def _find(self) -> Engine:
        """Open the most recent known file that still holds the content."""
        for path in reversed(list(self._paths)):
            if current_content(path) == self.key[0]:
                engine = _opened(path, self.options)
                if engine.content == self.key[0]:  # unless the file was just replaced
                    self.path = path
                    return engine
        where = display(self.path)
        change = "has become another model" if self.path.exists() else "is gone"
        raise ModelLoadError(
            f"{where} {change} since it was loaded, and its session was evicted: "
            f"load the current file with load_model({where!r}) or model.reload()"
        )

    def _keep(self, engine: Engine) -> None:
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.metadata, self.labels, self.size = engine.metadata, engine.labels, engine.size
        self.graph = None if isinstance(engine, Dense) else engine.graph
        self.loads += 1
        self.used = perf_counter()
        self._engine = engine
        if self._is_closed:
            self._is_closed = False
            self._cache.preloader.count_closed(-1)

    def abandon(self) -> None:
        """Drop the session in a forked child; closing it would wait for nonexistent threads."""
        if self._engine is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))  # never closed
        self._engine, self._is_closed = None, False
        self.active.clear()
        self.abandon_lock()
        self._opening = threading.Lock()

    def __repr__(self) -> str:
        facts = (display(self.path), self.state, figures.size(self.size), self.statistics())
        return f"<Shared {' · '.join(facts)}>"


class SessionCache:
    """All opened models of this process; thread-safe.

    `budget` limits the bytes of their weights in memory: beyond it the least recently used idle
    sessions are closed, then reopened on their next use. `preloader` learns which model follows
    which, and opens an evicted one early.
    """

    def __init__(self, budget: int | None = None) -> None:
        self._budget = budget
        self.evictions = 0
        self.preloader = Preloader()
        self._lock = threading.RLock()
        self._shared: WeakValueDictionary[_Key, Shared] = WeakValueDictionary()  # guarded by _lock

    def open(self, path: Path, options: Options | None = None) -> Shared:
        """Return the opened file. Raises `ModelLoadError` or `DeviceError`."""
        options = options or Options()
        key = _key(path, options)
        for tries_left in reversed(range(TRIES)):
            with self._lock:
                shared = self._shared.get(key)
                if shared is None:
                    shared = self._shared[key] = Shared(self, key, path, options)
                elif shared.loaded:
                    shared.hits += 1
                shared.found_at(path)
            try:
                shared.load()  # without the lock: other files open meanwhile
            except ModelLoadError:
                before, key = key, _key(path, options)
                if key == before or not tries_left:
                    raise
                continue  # the file was replaced after its digest was computed
            return shared
        raise AssertionError("the last try returns or raises")

    def __iter__(self) -> Iterator[Shared]:
        with self._lock:
            return iter(list(self._shared.values()))

    @property
    def size(self) -> int:
        """The bytes of weights in memory now."""
        return sum(shared.size for shared in self if shared.loaded)

    @property
    def budget(self) -> int:
        """The limit in bytes; by default half of the machine's memory."""
        if self._budget is None:
            self._budget = int(memory_bytes() * WEIGHTS_MEMORY_SHARE)
        return self._budget

    @budget.setter
    def budget(self, size: int) -> None:
        if size <= 0:
            raise ValueError(f"budget expects a positive number of bytes, got {size}")
        self._budget = size
        self.trim()

    def trim(self, keep: Shared | None = None) -> None:
        """Close the least recently used idle sessions until the rest fits the budget."""
        loaded = sorted((each for each in self if each.loaded), key=lambda each: each.used)
        total = sum(shared.size for shared in loaded)
        for shared in loaded:
            if total <= self.budget:
                return
            if shared is not keep and shared.running == 0:
                shared.close()
                self.evictions += 1
                total -= shared.size
                where, limit = display(shared.path), figures.size(self.budget)
                _log.info("%s was evicted: the loaded models exceed %s", where, limit)


def _opened(path: Path, options: Options) -> Engine:
    if options.remote is not None:
        return RemoteSession(path, options.remote)
    return Dense(path) if path.suffix == ".npz" else Session(path, options)


def _key(path: Path, options: Options) -> _Key:
    """Return the key under which requests share a session: the content and the options."""
    if options.remote is not None:
        content = _npz_content(path) if path.suffix == ".npz" else check_graph(path).content
        return (content, options.remote.name, str(id(options.remote)))  # kept alive by the session
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


def current_content(path: Path) -> str:
    """Return the current digest of a model file, or "" for a missing or broken one."""
    try:
        return _npz_content(path) if path.suffix == ".npz" else check_graph(path).content
    except (ModelLoadError, OSError):
        return ""


sessions = SessionCache()


def _reset() -> None:
    """Drop all sessions in a forked child; the next run opens the file again."""
    sessions._lock = threading.RLock()  # another thread may have held it
    for shared in sessions:
        shared.abandon()
    sessions.preloader = Preloader()


in_forked_child(_reset)
