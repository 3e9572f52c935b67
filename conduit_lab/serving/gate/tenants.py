"""Tenants: the stores that a caller may see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conduit_lab.serving.gate.context import RequestContext
    from conduit_lab.vectors.store import VectorStore


def visible_stores(context: RequestContext) -> dict[str, VectorStore]:
    """Return the stores that the caller of a request may see, by name.

    A key of a tenant sees the stores of that tenant and those of none. A key without a tenant, and
    a caller of an app without keys, see every store.
    """
    stores = context.app.stores
    return {name: each for name, each in stores.items() if may_see(context, each)}


def may_see(context: RequestContext, store: Any) -> bool:
    """Return whether the caller of a request may see a store, one that no app has named too."""
    caller = context.caller
    if caller is None or caller.tenant is None:
        return True
    return getattr(store, "tenant", None) in (None, caller.tenant)
