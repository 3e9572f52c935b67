"""Call: the bound arguments of one endpoint call, and its span."""

from __future__ import annotations

from typing import Any

from conduit_lab.core.trace.span import Span
from conduit_lab.core.trace.trace import Trace
from conduit_lab.serving import codec


class Call:
    """Bound arguments, with the equivalent JSON payload and path parameters.

    `body` is the payload as JSON text, or empty. `span` is the root span of the call.
    """

    __slots__ = ("body", "kwargs", "path_params", "payload", "span")

    def __init__(
        self,
        kwargs: dict[str, Any],
        payload: Any,
        path_params: dict[str, Any] | None = None,
        body: bytes = b"",
    ) -> None:
        self.kwargs = kwargs
        self.payload = payload
        self.path_params = {} if path_params is None else path_params
        self.body = body
        self.span: Span | None = None

    @property
    def trace(self) -> Trace | None:
        """The trace of the call, once it has started."""
        return None if self.span is None else Trace(self.span)

    def freeze(self) -> None:
        """Save a serializable payload as JSON text, before the function can modify it."""
        if not self.body:
            try:
                self.body = codec.dumps(self.payload)
            except TypeError:
                self.body = b""
