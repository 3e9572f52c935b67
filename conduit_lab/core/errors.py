"""All exceptions of the package; messages name the thing, expected, got, and the next step.

`InputError` and its subclasses mean that the caller's data was wrong: over HTTP they become a 400
with their message. Everything else becomes a 500 whose message appears only in the server's log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ConduitError(Exception):
    """Base class of all errors that this package raises on purpose."""


class InputError(ConduitError, ValueError):
    """The caller's data does not fit: wrong shape, dtype, type or value."""


class ModelInputError(InputError):
    """An input that a model does not accept; names the model, expected and got."""


class VectorInputError(InputError):
    """A vector, id, filter or `top_k` that a store does not accept; nothing was stored."""


class ModelLoadError(ConduitError):
    """A model file that is missing, broken or refused; names the file and the reason."""


class ModelRunError(ConduitError):
    """A failed model run: out of memory or a device fault, not the caller's mistake."""


class DeadlineExceeded(ConduitError, TimeoutError):
    """A call that missed its deadline and was cancelled."""


class Overloaded(ConduitError):
    """A full queue: too many calls are waiting; try again later."""


class OptimizeError(ConduitError):
    """A model that cannot be optimized or fused within its tolerance; nothing was changed."""


class DeviceError(ConduitError):
    """A device that was requested by name and is not available."""


class StoreError(ConduitError):
    """An index file that cannot be read or written; names the file."""


class TenantError(ConduitError):
    """A store that belongs to another tenant than the caller; over HTTP a 404."""


class UnknownName(ConduitError, KeyError):
    """A name that a registry does not contain; suggests the nearest one."""

    __str__ = Exception.__str__  # KeyError's would put the message in quotes


class UnknownOption(ConduitError, TypeError):
    """An unexpected keyword argument; suggests the nearest one."""


class CompositionError(ConduitError):
    """Stages that do not fit together; names both sides, or the mismatched part."""


class TraceError(ConduitError):
    """A trace that cannot be rerun, for example because its values were dropped."""


class EndpointError(ConduitError):
    """An endpoint that cannot be registered: a duplicate path, an unusable signature."""


class ServeError(ConduitError):
    """A server that cannot start or stop: a port in use, a start that failed."""


class ExportError(ConduitError):
    """Something that cannot be exported, with the chain of names that needs it."""


class MissingExtra(ConduitError, ImportError):
    """An optional package that is not installed; names the extra, if any, that provides it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        installed = f"'conduit-lab[{extra}]'" if extra else package
        super().__init__(
            f"{purpose} needs {package}, which is not installed: pip install {installed}"
        )


class StreamLagged(ConduitError):
    """A reader requested chunks that the stream's bounded log no longer holds.

    `missed` chunks were dropped; the next read continues at chunk `resume_at`. `snapshot` holds the
    chunks still in the log.
    """

    def __init__(
        self, name: str, missed: int, resume_at: int, snapshot: Sequence[Any] = ()
    ) -> None:
        super().__init__(
            f"stream {name!r} has dropped {missed} chunk{'s' * (missed != 1)} that this reader had "
            f"not read: its log is bounded; read on from chunk {resume_at}, or read faster"
        )
        self.missed = missed
        self.resume_at = resume_at
        self.snapshot = snapshot


class StreamCancelled(ConduitError):
    """The stream was cancelled before its end; `partial` holds the chunks produced until then."""

    def __init__(self, name: str, partial: Any) -> None:
        super().__init__(
            f"stream {name!r} was cancelled before its end; .partial holds the chunks until then"
        )
        self.partial = partial


class RemoteError(ConduitError):
    """A request to a served app that failed.

    `status` is the HTTP status, or 0 without a response. `kind` is the error's type and `hint` the
    next step, as reported by the server; `request_id` identifies the error in the server's log.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        kind: str = "",
        hint: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.hint = hint
        self.request_id = request_id

    # also for subclasses of KeyError, whose __str__ would put the message in quotes
    __str__ = Exception.__str__


class RemoteInputError(RemoteError, InputError):
    """A request whose data the endpoint rejected: a 400, 413, 415 or 422."""


class RemoteOverloaded(RemoteError, Overloaded):
    """A request rejected by a full server or a quota: a 429."""


class RemoteDeadlineExceeded(RemoteError, DeadlineExceeded):
    """A request that timed out: a 408 or 504, or the client's `timeout`."""


class RemoteUnknownName(RemoteError, UnknownName):
    """A path, store or stream that the served app does not have: a 404 or 410."""


class RemoteUnreachable(RemoteError, ConnectionError):
    """A connection that failed, or was lost before the response was complete."""
