"""The form of a store: the call that opens it, and a consistent copy of its file."""

from __future__ import annotations

import re
from typing import Any

from conduit_lab.export.forms.form import Draft, Form
from conduit_lab.export.literals import quoted
from conduit_lab.export.namespace import Namespace

_NOT_IN_A_LABEL = re.compile(r"[^A-Za-z0-9_-]")
_QDRANT_CLIENT = ("qdrant_client",)
_POSTGRES_CLIENT = ("psycopg", "psycopg_binary")


class StoreForm(Form):
    """A local store is copied, named after itself or its variable; a remote one stays remote."""

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return False: a store is its entries, no matter where it was opened."""
        return False

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call to `vector_store` for one of the app's stores."""
        if not _is_of_app(value, draft):
            raise draft.nameless(value)
        return _call(value, value.name, draft)

    def statement(self, value: Any, draft: Draft) -> str:
        """Return the call to `vector_store`; a store without an app is named after its variable."""
        label = _NOT_IN_A_LABEL.sub("", draft.name).lstrip("_-") or "store"
        label = value.name if _is_of_app(value, draft) else label
        return f"{draft.name} = {_call(value, label, draft)}"


def _is_of_app(store: Any, draft: Draft) -> bool:
    return any(store is each for each in draft.namespace.app.stores.values())


def _call(store: Any, label: str, draft: Draft) -> str:
    options = [quoted(label), f"dimension={store.dimension}"]
    if store.metric != "cosine":
        options.append(f"metric={quoted(store.metric)}")
    if store.tenant is not None:
        options.append(f"tenant={quoted(store.tenant)}")
    if store.embedder is not None:
        options.append(f"embedder={draft.find(store.embedder)}")
    if store.url is None:
        draft.assets.add_store(store, label)
    else:
        _need_client(store.url, draft)
        options.append(f"url={quoted(store.url)}")
    return f"{draft.namespace.app_name}.vector_store({', '.join(options)})"


def _need_client(url: str, draft: Draft) -> None:
    """Pin the client of a remote store; refuse a URL that contains a password."""
    if url.rpartition("@")[0].count(":") > 1:  # beyond the one after the scheme
        raise draft.refusal(
            "the store's URL contains a password",
            "leave it out and set PGPASSWORD, for Qdrant QDRANT_API_KEY, where the app runs",
        )
    for module in _QDRANT_CLIENT if url.startswith("qdrant") else _POSTGRES_CLIENT:
        draft.packages.pin(module)
