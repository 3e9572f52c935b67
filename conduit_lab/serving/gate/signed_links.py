"""Signed links: the right of a key to read one page, for a browser that sends no key.

A signature is an HMAC-SHA256 of the page's path with the hash of the key, so it holds for that page
alone, after a restart too, and ends with the key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import parse_qs, urlencode

from conduit_lab.serving.gate.keys import Key

SIGNED_PREFIX = "/sources/"  # of the paths that may be signed
_SIGNATURE_CHARACTERS = 32
_MAX_QUERY_BYTES = 512


def signed_query(key: Key | None, path: str) -> str:
    """Return the query of a link to `path` with the rights of `key`, or nothing without a key."""
    return "" if key is None else "?" + urlencode({"key": key.name, "signature": _sign(key, path)})


def signed_caller(keys: Iterable[Key], path: str, query: bytes) -> Key | None:
    """Return the key that has signed a link, or None."""
    if not path.startswith(SIGNED_PREFIX) or not 0 < len(query) <= _MAX_QUERY_BYTES:
        return None
    given = parse_qs(query.decode("latin-1"))
    name, signature = (given.get(each, [""])[0] for each in ("key", "signature"))
    for key in keys:
        if key.name == name and hmac.compare_digest(_sign(key, path).encode(), signature.encode()):
            return key
    return None


def _sign(key: Key, path: str) -> str:
    signature = hmac.new(key.hash.encode(), path.encode("utf-8", "replace"), hashlib.sha256)
    return signature.hexdigest()[:_SIGNATURE_CHARACTERS]
