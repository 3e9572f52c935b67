"""EndpointHost: the app as its endpoints, the gate and the faces see it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.trace.span import Observer
from conduit_lab.serving.gate.body import MAX_BODY_BYTES

if TYPE_CHECKING:
    from conduit_lab.serving.call import Call
    from conduit_lab.serving.endpoint import Endpoint


class EndpointHost:
    """The app as its endpoints, the gate and the faces see it.

    `values` bounds the inputs and outputs that its traces keep, `observers` see every span of its
    calls, and `records` says whether `observe` keeps the calls. `body_limit` is in bytes,
    `deadline` in seconds until an answer must have started. `open_streams` are being sent now.
    """

    root: Path
    endpoints: Sequence[Endpoint[..., Any]]
    open_streams: set[Stream[Any]]
    values = Values(0)
    observers: Sequence[Observer] = ()
    records = False
    ready = False
    body_limit = MAX_BODY_BYTES
    deadline: float | None = None

    def observe(self, endpoint: Endpoint[..., Any], call: Call, result: Any, body: bytes) -> None:
        """Record one call that ended well; a stream that it returned may still run.

        `body` is the answer as it was sent, empty for one that was not.
        """
