"""Caller: the sender of the request that this code answers, and the tenant of their stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass

from conduit_lab.core.errors import TenantError


@dataclass(frozen=True)
class Caller:
    """The caller of a served app: the name of its key, and the tenant of that key, if it has one.

    It holds nothing that opens the app.
    """

    name: str
    tenant: str | None = None


# copied into threads, tasks and streams with their context
_current: ContextVar[Caller | None] = ContextVar("conduit_lab_caller", default=None)

# The two halves of `called_by`, for the request path: a context manager costs more than a call.
enter_caller, leave_caller = _current.set, _current.reset


def current_caller() -> Caller | None:
    """Return the caller whose request this code answers.

    None where the app has no keys, and outside of a request. Threads, tasks and streams that a
    handler begins have its caller.
    """
    return _current.get()


@contextmanager
def called_by(caller: Caller | None) -> Iterator[None]:
    """Run the block for a caller."""
    token = _current.set(caller)
    try:
        yield
    finally:
        with suppress(ValueError):  # an abandoned coroutine is closed in another context
            _current.reset(token)


def check_tenant(tenant: str, owned: str) -> None:
    """Raise `TenantError` where the caller has another tenant; `owned` names the store."""
    caller = _current.get()
    if caller is not None and caller.tenant not in (None, tenant):
        raise TenantError(
            f"{owned} is of the tenant {tenant!r}, got a call of {caller.name!r} of the tenant "
            f"{caller.tenant!r}: take the store of request.caller.tenant"
        )
