"""Scheduler: many texts on one decoder; each joins and leaves between two steps."""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any
from weakref import WeakSet

import numpy as np

from conduit_lab.core.errors import ModelRunError, Overloaded
from conduit_lab.models.generation.prefixes import LEAST, Prefixes
from conduit_lab.models.generation.request import Request
from conduit_lab.models.generation.sampling import Sampler
from conduit_lab.runtime.decoding.decoder import Decoder

# Tokens of a prompt that are read between two steps. A prompt is always cut at the same places, so
# that its logits do not depend on who else is there; fewer would make reading slow, more would make
# those who are writing wait.
SLICE = 64
TOGETHER = 256  # tokens of several prompts that are read in one run; more is hardly faster
LOGITS = (
    2**24
)  # numbers; such a run gives the logits of each token, which a wide vocabulary makes large
PADDING = 8  # tokens; where prompts differ by more, the padding costs more than a run of their own
IDLE_SECONDS = (
    5.0  # the thread ends after so long without work, and the cache's memory is given back
)
_EXIT_SECONDS = 2.0


class Scheduler:
    """Runs the requests of one decoder on a thread of its own, which lives while there is work.

    Each turn of its loop lets those go that were cancelled, reads a slice of the next prompts, and
    adds one token to every text. At most `decoder.rows` texts run at once and `queue` wait;
    `submit` raises `Overloaded` beyond.
    """

    def __init__(self, name: str, decoder: Decoder, ends: frozenset[int], queue: int) -> None:
        self.name = name
        self.decoder = decoder
        self.queue = queue
        self._ends = ends
        self._sampler = Sampler(decoder.rows, decoder.vocabulary)
        self._prefixes = Prefixes()
        self._next = np.zeros(decoder.rows, np.int64)  # the token that each row goes on with
        self._together = max(SLICE, min(TOGETHER, LOGITS // decoder.vocabulary))
        self._begin()
        _schedulers.add(self)

    def _begin(self) -> None:
        """Begin without work and without a thread; also in a forked child, where only the forking thread lives."""
        self._changed, self._alive = threading.Condition(), threading.Lock()
        self._waiting: deque[Request] = deque()
        self._rows: list[Request] = []  # in the order of the decoder's rows
        self._slots: list[int] = []  # the sampler's, of each row
        self._filling: list[
            Request
        ] = []  # whose prompts are being read; their rows are the ones after those
        self._crossing: deque[Request] = deque()  # to prefill again; they keep their slots
        self._apart = False  # whether they are read one by one, after a run of all has failed
        self._free = list(range(self.decoder.rows))
        self._woken = self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> int:
        """Texts that are being written or read now."""
        return len(self._rows) + len(self._filling) + len(self._crossing)

    @property
    def waiting(self) -> int:
        """Texts that wait for a row."""
        return len(self._waiting)

    def submit(self, requests: Sequence[Request]) -> None:
        """Take requests, all or none; `Overloaded` where too many wait."""
        with self._changed:
            free = self.decoder.rows - self.running
            if len(self._waiting) + len(requests) > self.queue + free:
                raise Overloaded(
                    f"{self.name!r} writes {self.running} texts and {len(self._waiting)} wait: the limit is "
                    f"{self.decoder.rows} and {self.queue}; try again later"
                )
            for request in requests:
                request.owner = self
            self._waiting.extend(requests)
            if self._thread is None:
                self._stopping = False
                self._thread = threading.Thread(
                    target=self._live, name=f"generator {self.name}", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def wake(self) -> None:
        """Make the loop look at what was cancelled."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def stop(self) -> None:
        """Cancel what runs and what waits, and wait until the thread has ended."""
        with self._changed:
            self._stopping = True
            thread = self._thread
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # On the thread

    def _live(self) -> None:
        with self._alive:  # the thread before this one may still be giving memory back
            error: BaseException | None = None
            try:
                with self.decoder.held():
                    while self._ready():
                        if self._woken:
                            self._sweep()
                        self._read()
                        self._write()
            except BaseException as problem:  # arrives at everybody who waits
                error = problem
            self.decoder.clear()
            if error is not None or self._stopping:
                self._abort(error)

    def _ready(self) -> bool:
        """Wait for work; False when there is none any more, and the thread ends."""
        if self.running and not self._stopping:
            return True
        with self._changed:
            while not (self._waiting or self.running or self._stopping):
                if not self._changed.wait(IDLE_SECONDS) and not self._waiting:
                    self._thread = None
                    return False
            return not self._stopping

    def _abort(self, error: BaseException | None) -> None:
        """Let all go that are left."""
        with self._changed:
            left = [*self._rows, *self._filling, *self._crossing, *self._waiting]
            for slot in range(self.decoder.rows):
                self._sampler.leave(slot)
            self._waiting.clear()
            self._crossing.clear()
            self._rows, self._slots, self._filling = [], [], []
            self._free = list(range(self.decoder.rows))
            self._prefixes.clear()
            self._thread = None
        for request in left:
            request.end("cancelled" if error is None else "error", error)

    def _sweep(self) -> None:
        """Let go of what was cancelled."""
        self._woken = False
        with self._changed:
            gone = [request for request in self._waiting if request.cancelled]
            for request in gone:
                self._waiting.remove(request)
        for request in [request for request in self._crossing if request.cancelled]:
            self._crossing.remove(request)
            self._release(request)
            gone.append(request)
        reading = [place for place, request in enumerate(self._filling) if request.cancelled]
        gone.extend(self._forget(place) for place in reversed(reading))
        for row in range(len(self._rows) - 1, -1, -1):
            if self._rows[row].cancelled:
                gone.append(self._rows[row])
                self._leave(row)
        for request in gone:
            request.end("cancelled")

    def _read(self) -> None:
        """Read the next prompts, a slice of them where texts are being written."""
        budget, most = (SLICE, SLICE) if self._rows else (SLICE * self.decoder.rows, self._together)
        while budget > 0:
            if not self._filling and not self._admit(most):
                return
            budget -= self._fill()
            if self._woken:
                return

    def _admit(self, most: int) -> bool:
        """Give the next pending request the first free row, and rows to those prefilled in the same
        run.

        Return False if no request is pending or no row is free. A sequence that crosses a switch
        comes before all pending ones.
        """
        row = len(self._rows)
        if self._crossing:
            self._filling = [self._crossing.popleft()]
            self.decoder.begin(row, len(self._filling[0].reading))
            return True
        with self._changed:
            nearest = list(self._waiting)[: self.decoder.rows - row]
        if not nearest:
            return False
        leader = nearest[0]
        switches = self.decoder.switches
        known, saved = self._prefixes.find(leader.prompt, switches.side(len(leader.prompt)))
        if self.decoder.io.merged:
            known = 0  # its second decoder adds single tokens
        if not self.decoder.io.independent:  # scaled together, read together
            known = known - known % SLICE if known >= switches.shortest(len(leader.prompt)) else 0
        alone = known or not self.decoder.batches_prefill
        taken = [leader] if alone else self._company(nearest, most)
        with self._changed:
            for request in taken:
                self._waiting.remove(request)
            self._filling = sorted(
                taken, key=_length
            )  # whose prompts are read first become the next rows
        self._apart = False
        for place, request in enumerate(self._filling):
            self.decoder.begin(row + place, len(request.prompt))
        if known:
            self.decoder.load(row, saved, known)
            leader.filled = leader.cached = known
        return True

    def _company(self, nearest: Sequence[Request], most: int) -> list[Request]:
        """Return the first and those that can begin with it in one run of at most so many tokens.

        One that begins like another waits until that is read, for its beginning is known then. All
        must be on one side of every switch, with the tokens of this run alone as with their whole
        prompts.
        """
        switches, prompt = self.decoder.switches, nearest[0].prompt
        size, least, side = (
            min(SLICE, len(prompt)),
            switches.shortest(len(prompt)),
            switches.side(len(prompt)),
        )
        taken, begun, longest = [nearest[0]], {_begin_of(nearest[0])}, size
        for request in nearest[1:] if size >= least else ():
            own, begin = min(SLICE, len(request.prompt)), _begin_of(request)
            if abs(own - size) > PADDING or max(own, longest) * (len(taken) + 1) > most:
                continue
            if own < least or switches.side(len(request.prompt)) != side:
                continue
            if begin in begun or self._prefixes.find(request.prompt, side)[0]:
                continue
            taken.append(request)
            begun.add(begin)
            longest = max(own, longest)
        return taken

    def _fill(self) -> int:
        """Read the next slice of a prompt, or the first of several; return how many tokens were run."""
        row = len(self._rows)
        together = (
            self._filling[:1] if self._apart or self._filling[0].filled else list(self._filling)
        )
        parts = [
            request.reading[request.filled :][
                : max(SLICE - request.filled % SLICE, self.decoder.min_prefill(row + place))
            ]
            for place, request in enumerate(together)
        ]
        tokens = len(parts) * max(map(len, parts))
        try:
            several = len(parts) > 1
            logits = (
                self.decoder.prefill_batch(row, parts)
                if several
                else self.decoder.prefill(row, parts[0])[None]
            )
        except Exception as error:
            if several:
                self._apart = True  # it may be for one of them
            else:
                self._forget(0).end("error", error)
            return tokens
        for request, part in zip(together, parts, strict=True):
            request.filled += len(part)
        for request, last in zip(together, logits, strict=True):
            if request.filled == len(request.reading):
                self._join(last)
        return tokens

    def _join(self, logits: Any) -> None:
        """Make the first request, whose prompt is read, one of the rows, with its first token."""
        request, row = self._filling[0], len(self._rows)
        try:
            if request.slot < 0:
                self._enter(request, row)
        except Exception as error:
            self._forget(0).end("error", error)
            return
        del self._filling[0]
        self._rows.append(request)
        self._slots.append(request.slot)
        try:
            self._take(logits[None], [request.slot], [row])
        except Exception as error:
            self._leave(row)
            request.end("error", error)

    def _enter(self, request: Request, row: int) -> None:
        """Keep the prompt of a row for others, and give its request a slot of the sampler."""
        side = self.decoder.switches.side(len(request.prompt))
        self._prefixes.keep(request.prompt, partial(self.decoder.save, row), side)
        request.seed = self._sampler.join(
            self._free[-1],
            request.sampling,
            request.prompt,
            request.constraint,
            choice=request.choice,
        )
        request.slot = self._free.pop()

    def _write(self) -> None:
        """Add one token to every text."""
        if self.decoder.switches.lengths:
            for row in reversed(self.decoder.crossing(len(self._rows))):
                self._rows[row].read_again()
                self._crossing.append(self._vacate(row))
        rows = len(self._rows)
        if not rows:
            return
        try:
            logits = self.decoder.step(self._next[:rows])
            self._take(logits, self._slots, range(rows))
        except Exception as error:
            failed = list(self._rows)
            for row in range(len(failed) - 1, -1, -1):
                self._leave(row)
            for request in failed:
                request.end("error", error)

    def _take(self, logits: Any, slots: Sequence[int], rows: Sequence[int]) -> None:
        """Choose the next token of some rows, hand it on, and let go of the texts that end."""
        picked = self._sampler.pick(logits, slots)
        now = perf_counter()
        ended = []
        ids, logprobs = picked.ids.tolist(), picked.logprobs.tolist()
        self._next[rows[0] : rows[0] + len(ids)] = picked.ids
        for row, token, logprob, tops in zip(rows, ids, logprobs, picked.tops, strict=True):
            request = self._rows[row]
            if logprob != logprob:  # NaN
                ended.append(row)
                request.end(
                    "error", ModelRunError(f"{self.name!r} gave logits that are no numbers")
                )
            elif request.take(token, logprob, tops, self._ends, now):
                ended.append(row)
        for row in reversed(ended):
            self._leave(row)

    def _leave(self, row: int) -> None:
        """Free a row and its slot."""
        self._release(self._vacate(row))

    def _release(self, request: Request) -> None:
        """Free the slot of a request, if it has one."""
        if request.slot >= 0:
            self._sampler.leave(request.slot)
            self._free.append(request.slot)
            request.slot = -1

    def _vacate(self, row: int) -> Request:
        """Free a row; the last row comes into its place, and those that are read come after it."""
        request = self._rows[row]
        last = len(self._rows) - 1
        if row != last:
            self.decoder.move(last, row)
            self._rows[row], self._slots[row] = self._rows[last], self._slots[last]
            self._next[row] = self._next[last]
        else:
            self.decoder.drop(row)
        del self._rows[last], self._slots[last]
        self._close(last)
        return request

    def _forget(self, place: int) -> Request:
        """Give up a prompt that is being read."""
        row = len(self._rows) + place
        self.decoder.drop(row)
        request = self._filling.pop(place)
        self._release(request)
        self._close(row)
        return request

    def _close(self, free: int) -> None:
        """Move the rows of the prompts that are being read, behind a free one, down by one."""
        for row in range(free, len(self._rows) + len(self._filling)):
            if self.decoder.lengths[row + 1]:
                self.decoder.move(row + 1, row)


def _length(request: Request) -> int:
    return len(request.prompt)


def _begin_of(request: Request) -> tuple[int, ...]:
    return tuple(request.prompt[:LEAST])


_schedulers: WeakSet[Scheduler] = WeakSet()


def _forget_all() -> None:
    for scheduler in list(_schedulers):
        scheduler.decoder.abandon()
        scheduler._begin()


def _stop_all() -> None:
    """End the threads while there is an interpreter for them to end in."""
    for scheduler in list(_schedulers):
        with scheduler._changed:
            scheduler._stopping = True
            thread = scheduler._thread
            scheduler._changed.notify()
        if thread is not None:
            thread.join(_EXIT_SECONDS)


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
