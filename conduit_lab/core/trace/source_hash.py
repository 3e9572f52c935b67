"""source_hash: identify the code or weights of a stage."""

from __future__ import annotations

from hashlib import blake2b
from types import CodeType
from typing import Any


def source_hash(revision: Any) -> str:
    """Return 32 hex digits for a stage's `revision`; equal for equivalent code.

    Line numbers do not count. Returns "" if there is no revision.
    """
    if revision is None:
        return ""
    digest = blake2b(digest_size=16)
    _feed(digest, revision)
    return digest.hexdigest()


def _feed(digest: Any, part: Any) -> None:
    if isinstance(part, CodeType):
        flags = (part.co_argcount, part.co_kwonlyargcount, part.co_flags, part.co_varnames)
        digest.update(repr((part.co_name, flags, part.co_names, part.co_freevars)).encode())
        digest.update(part.co_code)
        for constant in part.co_consts:
            _feed(digest, constant)
    else:
        digest.update(f"{type(part).__name__} {part!r}".encode())
