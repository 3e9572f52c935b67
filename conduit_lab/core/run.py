"""run: the outermost recorded call that is running here, and the values that its stages share."""

from __future__ import annotations

from typing import Any

from conduit_lab.core.trace.span import current

_NEXT_STEP = (
    "use it inside a function that an endpoint calls, or inside `with record('name'):` of "
    "conduit_lab.core.trace.recorder"
)


class Run:
    """The outermost recorded call: that of an endpoint, or a `record` block.

    `run.values["embedding"] = vector` in one stage, `run.values["embedding"]` in a later one. All
    stages, threads and tasks of the call share the values, and so do the calls inside it. They are
    freed when the call ends, or with its stream.
    """

    __slots__ = ()

    @property
    def values(self) -> dict[str, Any]:
        """The values of this run by name, empty at its start; `LookupError` outside of a run."""
        here = current()
        if here is None:
            raise LookupError(
                f"run.values expects a recorded call, and none runs here: {_NEXT_STEP}"
            )
        values = here.recording.shared
        if values is None:
            raise LookupError(
                f"run.values expects a running call, and {here.recording.name!r} has ended: read "
                "the values before it returns, or inside its stream"
            )
        return values

    def __repr__(self) -> str:
        here = current()
        if here is None or (values := here.recording.shared) is None:
            return "<run: no call is being recorded here>"
        return f"<run of {here.recording.name!r}: {', '.join(map(str, values)) or 'no values'}>"


run = Run()
