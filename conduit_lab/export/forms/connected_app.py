"""The form of a connected app: a call that reconnects, with its key read from the environment."""

from __future__ import annotations

import ast
from typing import Any

from conduit_lab.export.forms.form import Draft, Form
from conduit_lab.export.literals import quoted
from conduit_lab.export.namespace import Namespace

_READS = ("os.environ[{}]", "os.environ.get({})", "os.getenv({})")


class ConnectedAppForm(Form):
    """A connected app reconnects on first use; a key is never written."""

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return False: a project module may contain the key."""
        return False

    def statement(self, value: Any, draft: Draft) -> str:
        """Return the call to `connect`; refuse a key that does not come from the environment."""
        options = [quoted(value.url)]
        if value.has_key:
            options.append(f"key=os.environ[{quoted(self._variable(draft))}]")
            draft.packages.add("import os", "os")
        if value.timeout != value.default_timeout:
            options.append(f"timeout={value.timeout!r}")
        draft.packages.add("from conduit_lab import connect", "conduit_lab")
        draft.packages.pin("httpx")
        return f"{draft.name} = connect({', '.join([*options, 'lazy=True'])})"

    def _variable(self, draft: Draft) -> str:
        """Return the environment variable from which the session's own statement reads the key."""
        call = None if draft.own is None else draft.own.assigned
        keys = [each.value for each in getattr(call, "keywords", ()) if each.arg == "key"]
        for constant in (node for key in keys for node in ast.walk(key)):
            name = getattr(constant, "value", None)
            if isinstance(name, str) and ast.unparse(keys[0]) in [
                read.format(repr(name)) for read in _READS
            ]:
                return name
        raise draft.refusal(
            f"{draft.name} is connected with a key, which an export does not hold",
            f'{draft.name} = connect(url, key=os.environ["…"])',
        )


class ConnectedPartForm(Form):
    """An endpoint or store of a connected app: look it up inside the function that uses it."""

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return False: it belongs to a connection."""
        return False

    def statement(self, value: Any, draft: Draft) -> str:
        """Refuse: looking it up would call the other app while `app.py` is imported."""
        raise draft.refusal(
            f"{draft.name} belongs to a connected app",
            "use the app itself inside the function, such as remote.analyze(…)",
        )
