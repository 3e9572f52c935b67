"""The forms of a Rag and of its two endpoints."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from conduit_lab.export.forms.endpoint import check_app
from conduit_lab.export.forms.form import Draft, Form
from conduit_lab.export.literals import is_literal, literal, quoted
from conduit_lab.export.namespace import Namespace
from conduit_lab.export.secret import looks_secret
from conduit_lab.flow.rag import Rag

_SETTINGS = ("top_k", "prompt", "mode", "min_score", "name")


class RagForm(Form):
    """A Rag is rebuilt from its named parts and its non-default settings."""

    exact = True

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return False: a Rag consists of the session's store and generator."""
        return False

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call to `Rag`, with its current settings."""
        kind = draft.library(Rag)
        parts = [draft.find(value.store), draft.find(value.generator)]
        if value.rerank is not None:
            parts.append(f"rerank={draft.find(value.rerank)}")
        defaults = inspect.signature(Rag).parameters
        chosen = {key: getattr(value, key) for key in _SETTINGS}
        changed = {key: item for key, item in chosen.items() if item != defaults[key].default}
        for key, item in (changed | value.options).items():
            _check_setting(key, item, value, draft)
            parts.append(f"{key}={literal(item)}")
        return f"{kind}({', '.join(parts)})"


def _check_setting(key: str, item: Any, rag: Rag, draft: Draft) -> None:
    if looks_secret(key, item):
        raise draft.refusal(f"{key}= of {rag.name!r} looks like a secret", "leave it out")
    if not is_literal(item):
        raise draft.refusal(
            f"{key}= of {rag.name!r} expected numbers and text, got {type(item).__name__}",
            "leave it out, or set it inside the generator",
        )


class RagEndpointForm(Form):
    """One call registers both endpoints of a Rag."""

    def key(self, value: Any) -> str:
        """Return the path that the two endpoints share."""
        return f"rag {value.at}"

    def binds(self, name: str, value: Any, namespace: Namespace) -> Sequence[str]:
        """Return the session's names for the endpoint that returns whole answers."""
        return namespace.names_of(value.whole)

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return False: an app's endpoints are written into its own file."""
        return False

    def statement(self, value: Any, draft: Draft) -> str:
        """Return the call to `rag`, with every name bound to its endpoint."""
        check_app(value, draft)
        rag = draft.find(value.rag)
        names = "".join(f"{name} = " for name in draft.namespace.names_of(value.whole))
        return f"{names}{draft.namespace.app_name}.rag({quoted(value.at)}, {rag})"
