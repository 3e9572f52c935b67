"""Secrets: texts that must not be written into an export."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

MIN_SECRET_CHARACTERS = 8

_SECRET_NAME = re.compile(r"(api_?key|secret|password|passwd|token|credential)s?$", re.IGNORECASE)
_APP_KEY = re.compile(r"clk_[\w-]{20}", re.ASCII)  # of `new_key`


def looks_secret(name: str, value: Any, environ: Mapping[str, str] | None = None) -> bool:
    """Return whether a text in `value` is named like a secret, or begins like a key of an app.

    A text that an environment variable with such a name holds is a secret too.
    """
    if isinstance(value, Mapping):
        return any(looks_secret(str(key), item, environ) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return any(looks_secret(name, item, environ) for item in value)
    if not isinstance(value, str) or len(value) < MIN_SECRET_CHARACTERS:
        return False
    environ = os.environ if environ is None else environ
    named = _SECRET_NAME.search(name) or _APP_KEY.match(value)
    return bool(named) or any(
        value == known for key, known in environ.items() if _SECRET_NAME.search(key)
    )
