"""Caller: who sent the current request, and the tenant whose stores they may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass

from conduit_lab.core.errors import TenantError


@dataclass(frozen=True)
class Caller:
    """The caller of a served app: the name of its key, and that key's tenant, if any.

    Holds nothing that would grant access to the app.
    """

    name: str
    tenant: str | None = None


# inherited by threads, tasks and streams through their context
_current: ContextVar[Caller | None] = ContextVar("conduit_lab_caller", default=None)

# the two halves of `called_by`, for the request path, where a context manager costs too much
enter_caller, leave_caller = _current.set, _current.reset


def current_caller() -> Caller | None:
    """Return the caller of the current request.

    None if the app has no keys, or outside of a request. Threads, tasks and streams that a handler
    starts inherit its caller.
    """
    return _current.get()


@contextmanager
def called_by(caller: Caller | None) -> Iterator[None]:
    """Run the block on behalf of a caller."""
    token = _current.set(caller)
    try:
        yield
    finally:
        with suppress(ValueError):  # an abandoned coroutine is closed in another context
            _current.reset(token)


def check_tenant(tenant: str, owned: str) -> None:
    """Raise `TenantError` if the caller belongs to another tenant; `owned` names the store."""
    caller = _current.get()
    if caller is not None and caller.tenant not in (None, tenant):
        raise TenantError(
            f"{owned} belongs to tenant {tenant!r}, got a call by {caller.name!r} of tenant "
            f"{caller.tenant!r}: use the store of request.caller.tenant"
        )
