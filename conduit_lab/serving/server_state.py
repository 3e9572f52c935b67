"""ServerState: the state of one running server of an app."""

from __future__ import annotations

from typing import Any

from conduit_lab.core.streams.stream import Stream


class ServerState:
    """One running server of an app; two servers of one `Lab` share nothing of it.

    `ready` says whether it takes new requests: a load balancer asks /readyz. `open_streams` are
    being sent now.
    """

    def __init__(self, *, ready: bool = False) -> None:
        self.ready = ready
        self.open_streams: set[Stream[Any]] = set()
