"""Every exception of the package: each names the thing, expected, got, and the next step.

`InputError` and its children mean that the caller's data was wrong: over HTTP they become a 400 and
their message is shown. Everything else becomes a 500 whose message stays in the server's log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ConduitError(Exception):
    """Anything this package raises on purpose."""


class InputError(ConduitError, ValueError):
    """The caller's data does not fit: wrong shape, dtype, type or value."""


class ModelInputError(InputError):
    """An input that a model cannot take; names the model, expected and got."""


class VectorInputError(InputError):
    """A vector, id, filter or `top_k` that a store cannot take; nothing was stored."""


class ModelLoadError(ConduitError):
    """A model file that is missing, broken or refused; names the file and the reason."""


class ModelRunError(ConduitError):
    """A model run that failed: out of memory, a device fault; not the caller's mistake."""


class DeadlineExceeded(ConduitError, TimeoutError):
    """A call that did not finish by its deadline; its run was cancelled."""


class Overloaded(ConduitError):
    """A full queue: more calls wait than are allowed; try again later."""


class OptimizeError(ConduitError):
    """A model that cannot be optimized or fused within its tolerance; nothing was kept."""


class DeviceError(ConduitError):
    """A device that was requested by name and is not available."""


class StoreError(ConduitError):
    """An index file that cannot be read or written; names the file."""


class TenantError(ConduitError):
    """A store of another tenant than that of the caller; over HTTP a 404."""


class UnknownName(ConduitError, KeyError):
    """A name that a registry does not have; names the nearest one."""

    __str__ = Exception.__str__  # that of a KeyError puts the message in quotes


class UnknownOption(ConduitError, TypeError):
    """A keyword argument that a call does not take; names the nearest one."""


class CompositionError(ConduitError):
    """Stages that do not fit together; names both sides, or the part that does not fit."""


class TraceError(ConduitError):
    """A trace that cannot run again, such as one whose values were dropped."""


class EndpointError(ConduitError):
    """An endpoint that cannot be registered: a duplicate path, an unusable signature."""


class ServeError(ConduitError):
    """A server that cannot start or stop: a port in use, a start that failed."""


class ExportError(ConduitError):
    """Something that cannot be exported, with the chain of names that needs it."""


class MissingExtra(ConduitError, ImportError):
    """An optional package that is not installed; names the extra, if any, that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        installed = f"'conduit-lab[{extra}]'" if extra else package
        super().__init__(
            f"{purpose} needs {package}, which is not installed: pip install {installed}"
        )


class StreamLagged(ConduitError):
    """A reader asked for chunks that the stream's bounded log no longer keeps.

    `missed` chunks are gone; the next read goes on at chunk `resume_at`. `snapshot` holds the
    chunks that are kept.
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
    """The stream was cancelled before its end; `partial` holds the chunks until then."""

    def __init__(self, name: str, partial: Any) -> None:
        super().__init__(
            f"stream {name!r} was cancelled before its end; .partial holds the chunks until then"
        )
        self.partial = partial


class RemoteError(ConduitError):
    """A request to a served app that failed.

    `status` is that of the answer, 0 where there was none. `kind` is the error's type and `hint`
    the next step, as the server names them; `request_id` finds the error in the server's log.
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

    __str__ = Exception.__str__  # also beside a KeyError, which would put the message in quotes


class RemoteInputError(RemoteError, InputError):
    """A request whose data does not fit the endpoint: a 400, 413, 415 or 422."""


class RemoteOverloaded(RemoteError, Overloaded):
    """A request that a full server or a quota has rejected: a 429."""


class RemoteDeadlineExceeded(RemoteError, DeadlineExceeded):
    """A request without an answer in time: a 408 or 504, or the `timeout` of the client."""


class RemoteUnknownName(RemoteError, UnknownName):
    """A path, store or stream that the served app does not have: a 404 or 410."""


class RemoteUnreachable(RemoteError, ConnectionError):
    """A connection that could not be made, or was lost before the answer was whole."""
