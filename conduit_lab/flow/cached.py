"""Cached: cache a stage's results, so that an equal call does not run it again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any, NamedTuple

import anyio.to_thread

from conduit_lab.core.errors import CompositionError
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.call_record import CallRecord, Values
from conduit_lab.core.trace.span import current
from conduit_lab.core.views import figures
from conduit_lab.core.weight import weight
from conduit_lab.flow.call_key import CallKeys, NoKeyError, opens_files
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.result_cache import (
    Flight,
    FlightOutcome,
    Kept,
    ResultCache,
    Unkept,
    copied,
    touch_again,
)

MAX_CACHE_BYTES = 64 * 2**20

_INLINE_BYTES = 256 * 2**10  # larger values are hashed (0.3 ms) and copied off the event loop

# the calls that this thread or task is part of: a call that waits for itself would deadlock
_computing: ContextVar[tuple[Flight, ...]] = ContextVar("conduit_lab_flights", default=())


class _Key(NamedTuple):
    """The key of a call, and the state of the stages at that time."""

    digest: bytes
    state: blake2b


class Cached(Combinator):
    """A stage with an LRU cache of its results, at most `bytes` in size; thread-safe.

        answer = Cached(Sequential(embedder, topic))

    An equal call returns a copy of the cached result. Calls are equal if the bytes of their inputs
    are equal, and the contents and devices of the models below and the `revision` of the other
    stages have not changed. Cacheable inputs are arrays, text, bytes, numbers, None, and lists,
    tuples and dicts of them; any other input runs the stage. Results that cannot be copied or
    exceed the limit are not cached, nor are exceptions; streams pass through. Concurrent equal
    calls run the stage once.

    A call that writes to a store is not cached; any other side effect happens only on a miss. If a
    function reads a store, a file or a model through a global name, the key does not cover it: call
    `clear()` after it changes. A hit counts as a use of the stores and files that its miss used.
    """

    def __init__(self, stage: Any, *, bytes: int = MAX_CACHE_BYTES, name: str = "cached") -> None:
        if isinstance(bytes, bool) or not isinstance(bytes, int) or bytes < 1:
            raise CompositionError(
                f"Cached {name!r} expected bytes of at least 1, got {bytes!r}: "
                "Cached(stage, bytes=64 * 2**20)"
            )
        self.stage = as_stage(stage)
        self.bytes = bytes
        self.name = name
        self._keys = CallKeys()
        self._cache = ResultCache(bytes)

    @property
    def children(self) -> tuple[Stage, ...]:
        """The stage."""
        return (self.stage,)

    def _settings(self) -> dict[str, Any]:
        return {} if self.bytes == MAX_CACHE_BYTES else {"bytes": self.bytes}

    # The cache

    @property
    def hits(self) -> int:
        """Calls answered from the cache, or by a concurrent equal call."""
        return self._cache.hits

    @property
    def misses(self) -> int:
        """Calls that ran the stage although their input is cacheable."""
        return self._cache.misses

    @property
    def size(self) -> int:
        """Bytes of the cached results."""
        return self._cache.size

    def clear(self) -> None:
        """Drop all cached results, and discard those of running calls; keep the counters."""
        self._cache.clear()

    @property
    def statistics(self) -> str:
        """The counters in words: `3 hits, 1 miss, 1.75 KB of 64.0 MB`, and the calls not cached."""
        cache = self._cache
        misses = figures.plural(cache.misses, "miss")
        filled = f"{figures.size(cache.size)} of {figures.size(cache.limit)}"
        reasons = [
            f"{figures.plural(number, 'call')} not cacheable: {reason}"
            for reason, number in cache.reasons()
        ]
        return ", ".join([figures.plural(cache.hits, "hit"), misses, filled, *reasons])

    # Work

    def run(self, value: Any) -> Any:
        """Return a copy of the cached result, or run the stage."""
        key = self._key(value)
        while key is not None:
            outcome: Flight | FlightOutcome
            outcome, begins = self._cache.find(key.digest, of_task=False)
            if isinstance(outcome, Flight):
                if begins:
                    with self._beginning(key, outcome) as record:
                        result = self.stage(value)
                        outcome.outcome = self._keepable(key, result, record)
                    return result
                self._check_ends(outcome)
                if outcome.of_task:  # its event loop may need this thread to proceed
                    break
                outcome.landed.result()
                outcome = outcome.outcome
            if isinstance(outcome, Kept):
                _record_hit(outcome)
                return copied(outcome.value)
            if isinstance(outcome, Exception):
                raise outcome
            if outcome is Unkept.ALONE:
                break
        return self.stage(value)

    async def arun(self, value: Any) -> Any:
        """Return a copy of the cached result, or await the stage; never block the event loop."""
        if opens_files(self.stage):
            key = await anyio.to_thread.run_sync(self._key, value)
        else:
            key = await _off_loop(weight(value), self._key, value)
        while key is not None:
            outcome: Flight | FlightOutcome
            outcome, begins = self._cache.find(key.digest, of_task=True)
            if isinstance(outcome, Flight):
                if begins:
                    with self._beginning(key, outcome) as record:
                        result = await self.stage.acall(value)
                        outcome.outcome = await _off_loop(
                            weight(result), self._keepable, key, result, record
                        )
                    return result
                self._check_ends(outcome)
                await asyncio.wrap_future(outcome.landed)
                outcome = outcome.outcome
            if isinstance(outcome, Kept):
                _record_hit(outcome)
                return await _off_loop(outcome.size, copied, outcome.value)
            if isinstance(outcome, Exception):
                raise outcome
            if outcome is Unkept.ALONE:
                break
        return await self.stage.acall(value)

    def batch(self, values: Sequence[Any]) -> list[Any]:
        """Return one result per value: copies of the cached ones, and the others in one batch."""
        with recorder.span(self.name, self.kind, self, values) as span, self._recorded() as record:
            keys = [self._key(value) for value in values]
            results: list[Any] = [None] * len(values)
            missing: dict[Any, list[int]] = {}  # the indexes of each distinct input
            for place, key in enumerate(keys):
                distinct = place if key is None else key.digest
                kept = None if key is None or distinct in missing else self._cache.take(key.digest)
                if kept is None:
                    missing.setdefault(distinct, []).append(place)
                else:
                    results[place] = copied(kept.value)
                    if span is not None and kept.touched is not None:
                        touch_again(span, kept.touched)
            firsts = [places[0] for places in missing.values()]
            computed = self.stage.batch([values[place] for place in firsts]) if firsts else []
            for (first, *others), result in zip(missing.values(), computed, strict=True):
                results[first] = result
                key = keys[first]
                outcome = Unkept.ALONE if key is None else self._keepable(key, result, record)
                if key is not None and isinstance(outcome, Kept):
                    self._cache.put(key.digest, outcome, more_hits=len(others))
                for place in others:
                    results[place] = (
                        copied(outcome.value)
                        if isinstance(outcome, Kept)
                        else self.stage(values[place])
                    )
            if span is not None:
                found = len(values) - len(missing)
                span.output = results
                span.annotate(cached=not missing, detail=f"{found} of {len(values)} from the cache")
        return results

    def stream(self, value: Any, /) -> Stream[Any, Any]:
        """Return the stream of the stage, which is not cached."""
        return self.stage.stream(value)

    def _key(self, value: Any) -> _Key | None:
        here = current()
        if here is not None and here.recording.replay is not None:
            return None  # a rerun of a trace may replace stages
        state = self._keys.state(self.stage)
        try:
            return _Key(self._keys.of(state, value), state)
        except NoKeyError as reason:
            self._note(str(reason))
            return None

    def _keepable(self, key: _Key, result: Any, record: CallRecord) -> Kept | Unkept:
        """Return a copy to cache, unless a model was swapped during the call."""
        kept: Kept | str = "a result of stages that changed during the call"
        if self._keys.state(self.stage) is key.state:
            kept = self._cache.copy_of(result, record)
        if isinstance(kept, Kept):
            return kept
        self._note(kept)
        return Unkept.ALONE

    def _note(self, reason: str) -> None:
        self._cache.count_unkept(reason)
        recorder.annotate(detail=f"not cacheable: {reason}")

    @contextmanager
    def _beginning(self, key: _Key, flight: Flight) -> Iterator[CallRecord]:
        """Run the call that others wait for, and publish its outcome; yields its record."""
        token = _computing.set((*_computing.get(), flight))
        try:
            with self._recorded() as record:
                yield record
        except Exception as error:
            flight.outcome = error
            raise
        finally:
            _computing.reset(token)
            self._cache.land(key.digest, flight)

    @contextmanager
    def _recorded(self) -> Iterator[CallRecord]:
        """Record the attributes of the block, for calls that use its results from the cache."""
        here = current()
        if here is not None and here.target is self:
            here.record = CallRecord(here.record)
            yield here.record
        else:
            with recorder.record(self.name, self, values=Values(0)) as trace:
                yield trace.record

    def _check_ends(self, flight: Flight) -> None:
        """Raise `CompositionError` for a call that would wait for itself."""
        if flight in _computing.get():
            raise CompositionError(
                f"Cached {self.name!r} expected a stage that ends, but its stage calls it with the "
                "same value: let the stage call the stages that it needs, not its own pipeline"
            )


def _record_hit(kept: Kept) -> None:
    here = current()
    if here is not None:
        here.annotate(cached=True)
        if kept.touched is not None:
            touch_again(here, kept.touched)


async def _off_loop(size: int, work: Callable[..., Any], *values: Any) -> Any:
    """Return `work(*values)`; for large values, run it on a worker thread."""
    if size > _INLINE_BYTES:
        return await anyio.to_thread.run_sync(work, *values)
    return work(*values)
