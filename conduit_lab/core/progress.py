"""Progress: one line about a long job, shown once it has run for a second.

A job does not draw anything itself: a thread does, four times per second, through the
`ProgressLine` that is set where the job runs. Scripts show one on a terminal's stderr and none in a
pipe; notebooks set their own.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token, copy_context
from time import perf_counter, sleep
from typing import Protocol, TypeVar

from conduit_lab.core import forking
from conduit_lab.core.progress_state import BYTES as BYTES
from conduit_lab.core.progress_state import STEP as STEP
from conduit_lab.core.progress_state import TIME as TIME
from conduit_lab.core.progress_state import Pace, ProgressState, ended_state, running_state
from conduit_lab.core.terminal_line import terminal_line

SHOW_AFTER_SECONDS = 1.0
UPDATE_SECONDS = 0.25
SWITCH = "CONDUIT_LAB_PROGRESS"  # environment variable; "0" disables progress lines

T = TypeVar("T")

_log = logging.getLogger(__name__)
_lock = threading.Lock()  # guards the amounts of all jobs and their nested jobs
forking.hold_at_fork(_lock)


class ProgressLine(Protocol):
    """A line that shows a job's progress and is updated in place."""

    def show(self, state: ProgressState) -> None:
        """Show the line, replacing its previous state."""

    def end(self, state: ProgressState) -> None:
        """Show the final state."""


class Progress:
    """One job: `done` of `total` units; a nested job is shown in the line of its outermost job.

    `phase` names its current step when there is no nested job. Thread-safe.
    """

    def __init__(
        self, total: float | None, unit: str, name: str, outer: Progress | None = None
    ) -> None:
        self.total, self.unit, self.name = total, unit, name
        self.phase = ""
        self.done = 0.0
        self.ended = False
        self._pace = Pace(perf_counter())
        self._outer = outer
        self._root: Progress = self if outer is None else outer._root
        # of an outermost job: its running nested jobs, newest last
        self._inner: list[Progress] = []
        self._line: ProgressLine | None = None
        self._context = copy_context()  # a notebook shows the line in the output of this cell

    def step(self, amount: float = 1.0) -> None:
        """Count `amount` more units as done."""
        with _lock:
            self.done += amount

    def next_phase(self, phase: str) -> None:
        """Count a step as done, and name the next one."""
        self.step()
        self.phase = phase

    def reach(self, done: float) -> None:
        """Set the number of units done."""
        with _lock:
            self.done = done

    @property
    def seconds(self) -> float:
        """Seconds since the job started."""
        return perf_counter() - self._pace.begun_at

    def state(self) -> ProgressState:
        """Return the current state of its line."""
        with _lock:
            inner = [each for each in self._inner if not each.ended]
            same = sum(each.done for each in inner if each.unit == self.unit)
            done = self.done + same
        if self.total is not None:
            done = min(done, self.total)
        return running_state(self, done, self._pace, inner)

    def _begin(self) -> None:
        if self._outer is not None:
            with _lock:
                self._root._inner.append(self)
            return
        self._line = None if os.environ.get(SWITCH) == "0" else _new_line()
        if self._line is not None:
            _ticker.add(self)

    def _end(self, error: BaseException | None) -> None:
        self.ended = True
        if self._outer is not None:
            with _lock:
                if self in self._root._inner:
                    self._root._inner.remove(self)
                if error is not None and self.unit == self._outer.unit:
                    self._outer.done += self.done  # which no longer counts it
        elif self._line is not None:
            _ticker.remove(self, error)


class _Ticker:
    """A thread that draws one outermost job at a time, oldest first.

    The thread runs only while there are jobs, so even a job of a few microseconds can register.
    """

    def __init__(self) -> None:
        self._drawing = threading.Lock()  # guards all attributes below
        self._jobs: list[Progress] = []
        self._lost: list[Progress] = []  # jobs that had already ended at the last update
        self._shown: Progress | None = None
        self._thread: threading.Thread | None = None

    def add(self, job: Progress) -> None:
        """Show the job once it has run for a second."""
        with self._drawing:
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="conduit_lab progress", daemon=True
                )
                self._thread.start()

    def remove(self, job: Progress, error: BaseException | None) -> None:
        """Show the job's final line, if it was shown before or the user interrupted it."""
        with self._drawing:
            if job not in self._jobs:  # belongs to the parent process of a fork
                return
            self._jobs.remove(job)
            if self._shown is job or (self._shown is None and isinstance(error, KeyboardInterrupt)):
                self._shown = None
                _draw(job, ended_state(job, error), last=True)

    def _run(self) -> None:
        while True:
            sleep(UPDATE_SECONDS)
            with self._drawing:
                self._drop_lost()
                if not self._jobs:
                    self._thread = None
                    return
                long = [job for job in self._jobs if job.seconds >= SHOW_AFTER_SECONDS]
                self._shown = next(iter(long), None)  # the oldest, until it ends
                if self._shown is not None:
                    _draw(self._shown, self._shown.state())

    def _drop_lost(self) -> None:
        """Drop jobs whose removal was prevented by a second interrupt."""
        lost = self._lost
        self._jobs = [job for job in self._jobs if not job.ended or job not in lost]
        self._lost = [job for job in self._jobs if job.ended]


def _draw(job: Progress, state: ProgressState, *, last: bool = False) -> None:
    line = job._line
    if line is None:
        return
    try:
        job._context.copy().run(line.end if last else line.show, state)
    except Exception:  # a closed stderr must not abort the job
        job._line = None
        _log.debug("the progress line could not be shown", exc_info=True)


def _forget_jobs() -> None:
    global _ticker
    _ticker = _Ticker()


_ticker = _Ticker()
forking.in_forked_child(_forget_jobs)
_current: ContextVar[Progress | None] = ContextVar("conduit_lab_progress", default=None)
_silent = Progress(None, "", "")  # the outermost job where progress is not shown
_new_line: Callable[[], ProgressLine | None] = terminal_line


@contextmanager
def progress(total: float | None, unit: str, name: str) -> Iterator[Progress]:
    """Show the progress of a block that may take longer than a second; yield its `Progress`.

        with progress(len(pages), "page", "handbook.add_documents") as job:
            for page in pages:
                ...
                job.step()

    `total` is None if unknown. `unit` is the singular of a noun, "B" for bytes, "step" for parts of
    unlike length, or "s" for a block that takes `total` seconds, measured by the clock. A block
    inside another one's shares its line, and where both have one unit its steps count there until
    it ends. An interrupt leaves a line with the amount that was done.
    """
    outer = _running()
    job = Progress(total, unit, name, outer)
    token = _current.set(job)
    error: BaseException | None = None
    try:
        job._begin()
        yield job
    except BaseException as raised:
        error = raised
        raise
    finally:
        with suppress(ValueError):  # an abandoned coroutine is closed in another context
            _current.reset(token)
        job._end(error)


@contextmanager
def inner_progress(total: float, unit: str) -> Iterator[Progress]:
    """Count the steps of a block toward its enclosing job; without one, show nothing."""
    if _running() is None:
        yield Progress(total, unit, "")
    else:
        with progress(total, unit, "") as job:
            yield job


def counted(items: Iterable[T], unit: str) -> Iterable[T]:
    """Return the items; taking one counts as a step of the running job, if the units match."""
    job = _running()
    return items if job is None or job.unit != unit else _counted(items, job)


def _counted(items: Iterable[T], job: Progress) -> Iterator[T]:
    for item in items:
        yield item
        job.step()


def silence() -> Token[Progress | None]:
    """Hide the progress of this task's jobs until `end_silence`; used for every request."""
    return _current.set(_silent)


def is_silenced() -> bool:
    """Return whether progress is hidden because this code runs for a request, not the session."""
    return _current.get() is _silent


def end_silence(token: Token[Progress | None]) -> None:
    """Show progress again, undoing the `silence` call that returned the token."""
    try:  # `suppress` would cost a µs per request
        _current.reset(token)
    except ValueError:  # an abandoned coroutine is closed in another context
        return


@contextmanager
def silenced() -> Iterator[None]:
    """Hide the progress of jobs in this block, whose output has other readers."""
    token = silence()
    try:
        yield
    finally:
        end_silence(token)


def show_progress_on(new_line: Callable[[], ProgressLine | None]) -> None:
    """Show jobs that start from now on in lines created by `new_line`; None shows nothing."""
    global _new_line
    _new_line = new_line


def _running() -> Progress | None:
    """Return the job that encloses this one, unless it has ended."""
    job = _current.get()
    return None if job is None or job.ended or job._root.ended else job
