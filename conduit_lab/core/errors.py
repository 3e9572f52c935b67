"""Every exception of the package: what was wrong, what was wanted, what to do.

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
    """An input that a model cannot take; names the model, what came and what was wanted."""


class VectorInputError(InputError):
    """A vector, id, filter or `top_k` that a store cannot take; nothing was stored."""


class ModelLoadError(ConduitError):
    """A model file that is missing, broken or refused; names the file and the reason."""


class ModelRunError(ConduitError):
    """A model that failed at its work: out of memory, a fault of the device; not the caller's mistake."""


class DeadlineExceeded(ConduitError, TimeoutError):
    """A call that was not done at its deadline; what ran for it was cut."""


class Overloaded(ConduitError):
    """A queue that is full: more calls wait than were allowed; try again later."""


class OptimizeError(ConduitError):
    """A model that cannot be optimised or fused, or whose answers would be too different; nothing was kept."""


class DeviceError(ConduitError):
    """A device that was asked for by name and cannot be had."""


class StoreError(ConduitError):
    """An index file that cannot be read or written; names the file."""


class EndpointError(ConduitError):
    """An endpoint that cannot be registered: a duplicate path, an unusable signature."""


class ServeError(ConduitError):
    """A server that cannot start or stop: a port in use, a start that failed."""


class ExportError(ConduitError):
    """Something that cannot be exported, with the chain of names that needs it."""


class MissingExtra(ConduitError, ImportError):
    """An optional package is not installed; names the extra that brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed: pip install 'conduit-lab[{extra}]'"
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
            f"stream {name!r} has dropped {missed} chunks that this reader had not read: it keeps a bounded log; "
            f"read on from chunk {resume_at}, or read faster"
        )
        self.missed = missed
        self.resume_at = resume_at
        self.snapshot = snapshot


class StreamCancelled(ConduitError):
    """The stream was cancelled before its end; `partial` holds what had come."""

    def __init__(self, name: str, partial: Any) -> None:
        super().__init__(
            f"stream {name!r} was cancelled before its end; what had come is in .partial"
        )
        self.partial = partial
