"""Fallback: the first stage that succeeds."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from time import monotonic
from typing import Any

from conduit_lab.core.errors import CompositionError, StreamCancelled
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.core.streams.backpressure import awaiting_reader
from conduit_lab.core.streams.chunk import join_chunks
from conduit_lab.core.streams.reader import Reader
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.flow.breaker import CircuitBreaker
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.deadline import acall_within, call_within, exceeded, run_within
from conduit_lab.flow.tries import Tries

_RESET_SECONDS = 30.0
_HOLD_SECONDS = 5.0  # how long a stage's stream waits, with a full log, until it is held


class Fallback(Combinator):
    """The first stage whose call succeeds; errors of bad input are raised immediately.

    Any other error, such as a failed run, a timeout or a provider's error, moves on to the next
    stage. The answer itself is not checked: NaN is a valid answer. Each failure is logged with its
    reason, the trace holds the failed span beside the successful one, and the attribute `fallback`
    names the stage that answered instead of the first. If all fail, the last error is raised, with
    the others as notes.

    A failed stage is tried again up to `retries` times. Each try may take `timeout` seconds, for a
    stream until its first chunk; `call_within` describes what happens to a late call. After
    `open_after` consecutive failures a stage is skipped for `reset_after` seconds, then one call
    probes it: it is used again once a probe succeeds. The last stage is never skipped, as it has no
    fallback.
    """

    arrangement = "fallback"

    def __init__(
        self,
        *stages: Any,
        name: str = "fallback",
        retries: int = 0,
        timeout: float | None = None,
        open_after: int | None = None,
        reset_after: float = _RESET_SECONDS,
    ) -> None:
        if not stages:
            raise CompositionError(f"fallback {name!r} expected at least one stage, got none")
        _check(name, "retries", retries, isinstance(retries, int) and retries >= 0, "0 or more")
        _check(name, "timeout", timeout, timeout is None or _positive(timeout), "seconds above 0")
        opens = open_after is None or (isinstance(open_after, int) and open_after >= 1)
        _check(name, "open_after", open_after, opens, "1 or more failures, or None")
        _check(name, "reset_after", reset_after, _positive(reset_after), "seconds above 0")
        self.stages = tuple(as_stage(stage) for stage in stages)
        self.name = name
        self.retries = retries
        self.timeout = timeout
        self.open_after = open_after
        self.reset_after = reset_after
        self._breakers: tuple[CircuitBreaker | None, ...] = (None,) * len(stages)
        if open_after is not None:
            breakers = (
                CircuitBreaker(f"{name}: {stage.name}", open_after, reset_after)
                for stage in self.stages[:-1]
            )
            self._breakers = (*breakers, None)
        self._plain = retries == 0 and timeout is None and open_after is None
        self.check()

    @property
    def children(self) -> tuple[Stage, ...]:
        """The stages, in the order in which they are tried."""
        return self.stages

    def _settings(self) -> dict[str, Any]:
        settings = {
            "retries": (self.retries, 0),
            "timeout": (self.timeout, None),
            "open_after": (self.open_after, None),
            "reset_after": (self.reset_after, _RESET_SECONDS),
        }
        return {name: value for name, (value, default) in settings.items() if value != default}

    def run(self, value: Any) -> Any:
        """Return the answer of the first stage that succeeds, or raise the last error."""
        tries = None
        if self._plain:
            try:
                return self.stages[0](value)
            except Exception as error:
                tries = self._tries()
                if not tries.failed(error):
                    raise
        tries = tries or self._tries()
        for stage in tries:
            try:
                answer = call_within(stage, value, self.timeout)
            except BaseException as error:
                if not tries.failed(error):
                    raise
            else:
                tries.succeeded()
                return answer
        raise tries.error()

    async def arun(self, value: Any) -> Any:
        """Await the stages until one succeeds; the async version of `run`."""
        tries = None
        if self._plain:
            try:
                return await self.stages[0].acall(value)
            except Exception as error:
                tries = self._tries()
                if not tries.failed(error):
                    raise
        tries = tries or self._tries()
        for stage in tries:
            try:
                answer = await acall_within(stage, value, self.timeout)
            except BaseException as error:
                if not tries.failed(error):
                    raise
            else:
                tries.succeeded()
                return answer
        raise tries.error()

    def stream(self, value: Any, /) -> Stream[Any, Any]:
        """Return a stream of the chunks of the first stage whose stream starts.

        If a stage fails before its first chunk, the next one is tried; an empty stream is a valid
        answer. Later errors are raised by the stream. Its chunks and result are those of the
        stage's stream, which ends with it, and which waits for a reader with `hold`.
        """
        with recorder.span(self.name, self.kind, self, value) as span:
            tries = self._tries()
            stages = iter(tries)
            opened = self._open(tries, stages, value)
            stream: Stream[Any, Any] = Stream(
                self._relay(value, tries, stages, opened), name=self.name
            )
            stream.adopt(opened.reader.stream)
            if span is not None:
                span.output = stream
                span.follow(stream)
        return stream

    def _tries(self) -> Tries:
        return Tries(self.name, self.stages, self._breakers, self.retries)

    def _open(self, tries: Tries, stages: Iterator[Stage], value: Any) -> _Opened:
        """Start the stream of the next stage that can; raise the last error if none can."""
        for stage in stages:
            began = monotonic()
            try:
                with awaiting_reader(_HOLD_SECONDS):
                    stream = run_within(stage, stage.stream, value, self.timeout)
            except BaseException as error:
                if not tries.failed(error):
                    raise
            else:
                return _Opened(stage, stream.hold(), self.timeout, began)
        raise tries.error()

    def _relay(
        self, value: Any, tries: Tries, stages: Iterator[Stage], opened: _Opened
    ) -> Generator[Any, None, Any]:
        while True:
            try:
                beginning = opened.beginning()
                break
            except BaseException as error:
                opened.reader.leave()
                if not tries.failed(error):
                    raise
            opened = self._open(tries, stages, value)
        tries.succeeded()
        reader = opened.reader
        try:
            yield from beginning
            result = yield from reader
            opened.raise_cancelled()
            return result
        finally:
            reader.leave()


class _Opened:
    """A stage's started stream, and its reader; `began` is on the monotonic clock."""

    def __init__(
        self, stage: Stage, reader: Reader[Any], seconds: float | None, began: float
    ) -> None:
        self.stage = stage
        self.reader = reader
        self._seconds = seconds
        self._deadline = None if seconds is None else began + seconds

    def beginning(self) -> list[Any]:
        """Wait for the first chunk and return it in a list; the list is empty for an empty stream.

        Raises the stream's error, or `DeadlineExceeded` if there is no chunk in time.
        """
        if not self.reader.block(self._deadline) and self._seconds is not None:
            raise exceeded(self.stage, self._seconds)
        for chunk in self.reader:
            return [chunk]
        self.raise_cancelled()
        return []

    def raise_cancelled(self) -> None:
        """Raise `StreamCancelled` if the stream was cancelled."""
        if self.reader.stream.cancelled:
            raise StreamCancelled(self.stage.name, join_chunks(self.reader.stream.kept))


def _positive(seconds: Any) -> bool:
    return isinstance(seconds, int | float) and 0 < seconds < math.inf


def _check(fallback: str, argument: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise CompositionError(
            f"fallback {fallback!r}: {argument}= expected {expected}, got {value!r}"
        )
