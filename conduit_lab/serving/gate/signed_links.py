"""Signed links: access to one page with the rights of a key, for browsers, which send no key.

A signature is the HMAC-SHA256, with the link secret, of the page's path, the expiry time and the
key. So it is valid for that page only, ends with the key, and cannot be forged from the key hashes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from time import time
from urllib.parse import parse_qs, urlencode

from conduit_lab.core.errors import EndpointError
from conduit_lab.serving.gate.keys import Key

SIGNED_PREFIX = "/sources/"  # only paths below it may be signed
LINK_SECRET_VARIABLE = "CONDUIT_LAB_LINK_SECRET"
LINK_DAYS = 7  # minimum validity; all links of a day are equal

_DAY_SECONDS = 86400
_MIN_SECRET_CHARACTERS = 32
_SIGNATURE_CHARACTERS = 32
_MAX_QUERY_BYTES = 512
_MAX_TIME_DIGITS = 12

_process_secret = secrets.token_urlsafe(_MIN_SECRET_CHARACTERS)  # inherited by forked workers


def check_link_secret(environ: Mapping[str, str] = os.environ) -> None:
    """Raise `EndpointError` if the link secret in the environment is too short."""
    given = environ.get(LINK_SECRET_VARIABLE, "")
    if given and len(given) < _MIN_SECRET_CHARACTERS:
        raise EndpointError(
            f"{LINK_SECRET_VARIABLE} expected at least {_MIN_SECRET_CHARACTERS} random characters, "
            f"got {len(given)}: "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'` prints one"
        )


def share_link_secret() -> None:
    """Put the link secret into the environment, for worker processes started later."""
    os.environ[LINK_SECRET_VARIABLE] = _secret()


def signed_query(key: Key | None, path: str) -> str:
    """Return the query of a link to `path` with the rights of `key`; empty without a key."""
    if key is None:
        return ""
    expires = (int(time()) // _DAY_SECONDS + 1 + LINK_DAYS) * _DAY_SECONDS
    signature = _sign(key, path, expires)
    return "?" + urlencode({"key": key.name, "expires": expires, "signature": signature})


def signed_caller(keys: Iterable[Key], path: str, query: bytes) -> Key | None:
    """Return the key that signed an unexpired link, or None."""
    if not path.startswith(SIGNED_PREFIX) or not 0 < len(query) <= _MAX_QUERY_BYTES:
        return None
    given = parse_qs(query.decode("latin-1"))
    name, expires, signature = (
        given.get(each, [""])[0] for each in ("key", "expires", "signature")
    )
    if not (expires.isascii() and expires.isdigit() and len(expires) <= _MAX_TIME_DIGITS):
        return None
    if int(expires) <= time():
        return None
    for key in keys:
        if key.name == name and hmac.compare_digest(
            _sign(key, path, int(expires)).encode(), signature.encode()
        ):
            return key
    return None


def _secret() -> str:
    return os.environ.get(LINK_SECRET_VARIABLE) or _process_secret


def _sign(key: Key, path: str, expires: int) -> str:
    signed = "\n".join((key.name, key.hash, key.tenant or "", str(expires), path))
    signature = hmac.new(_secret().encode(), signed.encode("utf-8", "replace"), hashlib.sha256)
    return signature.hexdigest()[:_SIGNATURE_CHARACTERS]
