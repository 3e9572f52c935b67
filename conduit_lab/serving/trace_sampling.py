"""TraceSampler: select the served calls to trace."""

from __future__ import annotations

from typing import Literal, cast, get_args

from conduit_lab.core.errors import EndpointError

TraceMode = Literal["always", "sample", "errors"]
FIRST_TRACED_CALLS = 16  # of each endpoint, under "sample"
SAMPLE_EVERY = 64  # after those, 1 call in this many


def check_trace_mode(mode: str) -> TraceMode:
    """Validate a trace mode; raise `EndpointError` for an unknown one."""
    if mode not in get_args(TraceMode):
        known = ", ".join(map(repr, get_args(TraceMode)))
        raise EndpointError(f"App(trace=) expected one of {known}, got {mode!r}")
    return cast(TraceMode, mode)


class TraceSampler:
    """Selects the calls of one endpoint to trace; a failed call has a span in any mode."""

    __slots__ = ("_calls", "_due")

    def __init__(self) -> None:
        self._calls = 0
        self._due = 0  # calls that `skips` has passed to `takes`

    def takes(self, mode: TraceMode, *, observed: bool) -> bool:
        """Return whether to trace the next call; with observers all but in mode "errors"."""
        if mode != "sample":
            return mode == "always"
        if self._due:
            self._due -= 1
            return True
        self._calls = calls = self._calls + 1
        return observed or calls <= FIRST_TRACED_CALLS or calls % SAMPLE_EVERY == 0

    def skips(self, mode: TraceMode, *, observed: bool) -> bool:
        """Return whether the next call is not traced, and count it; otherwise call `takes` next."""
        if mode != "sample":
            return mode == "errors"
        self._calls = calls = self._calls + 1
        if observed or calls <= FIRST_TRACED_CALLS or calls % SAMPLE_EVERY == 0:
            self._due += 1
            return False
        return True
