"""run: values shared by all stages of the outermost recorded call."""

from __future__ import annotations

import threading
from typing import Any

from conduit_lab.core.forking import hold_at_fork
from conduit_lab.core.trace.call_record import Recording
from conduit_lab.core.trace.span import current
from conduit_lab.core.trace.tally import Tally, tallying

_creating = threading.Lock()  # so that concurrent first uses create one dict
hold_at_fork(_creating)

_NEXT_STEP = "use it in a stage that an endpoint calls, or inside `with record('name'):`"


class Run:
    """The outermost recorded call: that of an endpoint, or a `record` block.

    Set `run.values["embedding"] = vector` in one stage, and read `run.values["embedding"]` in a
    later one. All stages, threads and tasks of the call share the values, as do calls nested in it.
    They are released when the call, or its stream, ends.
    """

    __slots__ = ()

    @property
    def values(self) -> dict[str, Any]:
        """The values of this run by name, initially empty; `LookupError` outside of a run."""
        recording = _outermost()
        if recording is None:
            raise LookupError(
                f"run.values expects a recorded call, but none is active: {_NEXT_STEP}"
            )
        if recording.ended:
            raise LookupError(
                f"run.values expects a running call, and {recording.name!r} has ended: read the "
                "values before it returns, or inside its stream"
            )
        values = recording.shared
        if values is None:
            with _creating:
                values = recording.shared
                if values is None:
                    values = recording.shared = {}
        return values

    def __repr__(self) -> str:
        recording = _outermost()
        if recording is None or recording.ended:
            return "<run: no call is being recorded here>"
        names = ", ".join(map(str, recording.shared or ())) or "no values"
        return f"<run of {recording.name!r}: {names}>"


def _outermost() -> Recording | Tally | None:
    """Return the outermost call, traced or not, or None."""
    here = current()
    return tallying() if here is None else here.recording


run = Run()
