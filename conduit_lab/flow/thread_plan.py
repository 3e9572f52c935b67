"""ThreadPlan: decide by measured times whether a Parallel's members should run on threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conduit_lab.core.views import figures

HOP_SECONDS = 1e-4  # per member: to another thread and back, `benchmarks/threads.py`
MEASURE_EVERY = 256  # runs, if the members are too fast to gain from threads
TRIAL_RUNS = 3
_NEWEST_WEIGHT = 0.25  # of the newest run in an exponential mean
_WAITING_RATIO = 0.2  # CPU time / time; members below it mostly wait
_TRIAL_RATIO = 0.9  # time on threads / time in order; threads are used below it


@dataclass(frozen=True)
class ThreadDecision:
    """Whether a Parallel runs its members on threads.

    `seconds` is the mean duration of each member's calls by name, in the current mode; empty before
    the first run. `reason` explains the choice in words.
    """

    threaded: bool
    seconds: Mapping[str, float]
    reason: str


class ThreadPlan:
    """The measured times of one Parallel's members, and the resulting decision.

    `threaded` is the mode of the next measured run. `unmeasured` runs come before it, in order; one
    that takes longer than `worthwhile` seconds ends them. Threads may share a plan: a lost update
    only makes a mean slightly older.
    """

    def __init__(self, members: int) -> None:
        self.threaded = False
        self.unmeasured = 0 if members > 1 else MEASURE_EVERY
        self.worthwhile = members * HOP_SECONDS if members > 1 else float("inf")
        self._members = members
        self._reason = "no run was measured" if members > 1 else "there is nothing to run beside"
        self._in_order = _Means()
        self._on_threads = _Means()
        self._cpu_ratio = 1.0
        self._runs = 0

    def decision(self) -> ThreadDecision:
        """Return the current choice."""
        means = self._on_threads if self.threaded and self._on_threads.runs else self._in_order
        return ThreadDecision(self.threaded, dict(means.seconds), self._reason)

    def ran_in_order(self, seconds: Mapping[str, float], cpu_seconds: float) -> None:
        """Add a run of one member after the other; `cpu_seconds` is that of the calling thread."""
        total = sum(seconds.values())
        self._in_order.add(seconds, total)
        self._cpu_ratio = cpu_seconds / total if total > 0 else 1.0
        self._choose(self._in_order)

    def ran_on_threads(self, seconds: Mapping[str, float], elapsed: float) -> None:
        """Add a run on threads, which took `elapsed` seconds in total."""
        self._on_threads.add(seconds, elapsed)
        self._choose(self._on_threads)

    def _choose(self, means: _Means) -> None:
        self._runs += 1
        times = means.seconds.values()
        most = sum(times) - max(times)
        cost = self._members * HOP_SECONDS
        self.unmeasured = 0
        if most <= cost:
            self.threaded = False
            self.unmeasured = MEASURE_EVERY
            self._reason = (
                f"threads would save at most {figures.seconds(most)} per run and cost about "
                f"{figures.seconds(cost)}"
            )
        else:
            self._compare()

    def _compare(self) -> None:
        """Choose the faster mode by measurement: times in order do not reveal the GIL's effect."""
        in_order, on_threads = self._in_order, self._on_threads
        if on_threads.runs < TRIAL_RUNS:
            self.threaded, self._reason = True, "a trial on threads is running"
            return
        faster = on_threads.whole < _TRIAL_RATIO * in_order.whole
        waits = self._cpu_ratio < _WAITING_RATIO
        self._reason = (
            f"measured: {figures.seconds(on_threads.whole)} on threads, "
            f"{figures.seconds(in_order.whole)} one after the other, "
            f"{self._cpu_ratio:.0%} of it on the CPU"
        )
        self.threaded = faster
        # the next run uses the other mode, unless that means running waiting members in order: slow
        if self._runs % MEASURE_EVERY == 0 and not (faster and waits):
            self.threaded = not faster


class _Means:
    """Exponential means of the times of runs in one mode."""

    def __init__(self) -> None:
        self.runs = 0
        self.whole = 0.0
        self.seconds: dict[str, float] = {}

    def add(self, seconds: Mapping[str, float], whole: float) -> None:
        self.runs += 1
        if self.runs <= 2:  # the first run may have loaded a model, so the second replaces it
            self.seconds, self.whole = dict(seconds), whole
            return
        self.whole += _NEWEST_WEIGHT * (whole - self.whole)
        means = self.seconds
        self.seconds = {
            name: means.get(name, new) + _NEWEST_WEIGHT * (new - means.get(name, new))
            for name, new in seconds.items()
        }
