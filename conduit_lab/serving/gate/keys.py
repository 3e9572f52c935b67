"""Keys: the API keys of a served app; named, hashed, and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conduit_lab.core.errors import EndpointError
from conduit_lab.core.views import figures
from conduit_lab.serving.errors import HttpError

KEYS_VARIABLE = "CONDUIT_LAB_KEYS"
CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})

_SECRET_PREFIX = "clk_"  # recognizable to secret scanners
_SECRET_BYTES = 32
_MAX_SECRET_BYTES = 256  # longer secrets are rejected unhashed
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Key:
    """An API key: its name, and the SHA-256 of its secret as 64 hex digits.

    A key with a `tenant` sees the stores and usage of that tenant. `requests_per_minute` and
    `tokens_per_day` are its quota and default to those of `Limits`. A secret has 256 random bits,
    so a slow password hash would only slow down each request.
    """

    name: str
    hash: str
    tenant: str | None = None
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None

    def __post_init__(self) -> None:
        for what, value in (("name", self.name), ("tenant", self.tenant)):
            if value is not None and not _NAME.fullmatch(value):
                raise EndpointError(
                    f"a key's {what} expects letters, digits, '-', '_' and '.', got {value!r}"
                )
        if not _HASH.fullmatch(self.hash):
            raise EndpointError(
                f"the hash of key {self.name!r} expects 64 hex digits of SHA-256: "
                f"`conduit-lab key {self.name}` creates a key and prints its hash"
            )
        for what in ("requests_per_minute", "tokens_per_day"):
            number = getattr(self, what)
            if number is not None and (type(number) is not int or number < 1):
                raise EndpointError(f"{what} of key {self.name!r} expects 1 or more, got {number}")

    def line(self) -> str:
        """Return the key's entry in `CONDUIT_LAB_KEYS`: `name:hash`, then any `;option=value`."""
        options = ("tenant", "requests_per_minute", "tokens_per_day")
        given = [(name, getattr(self, name)) for name in options]
        shown = [f";{name}={value}" for name, value in given if value is not None]
        return "".join([f"{self.name}:{self.hash}", *shown])

    @classmethod
    def from_line(cls, line: str) -> Key:
        """Parse an entry; the `EndpointError` for an invalid one does not quote it."""
        head, *options = line.split(";")
        name, colon, digest = head.partition(":")
        if not colon:  # it may be the secret itself
            raise EndpointError(
                f"an entry in {KEYS_VARIABLE} expects name:hash, got no ':': "
                "`conduit-lab key NAME` prints the entry of a new key"
            )
        given: dict[str, Any] = {}
        for option in options:
            what, _, value = option.partition("=")
            if what == "tenant":
                given[what] = value
            elif what in ("requests_per_minute", "tokens_per_day") and value.isdecimal():
                given[what] = int(value)
            else:
                raise EndpointError(
                    f"key {name!r} in {KEYS_VARIABLE} expects tenant=, requests_per_minute= or "
                    "tokens_per_day= after a ';'"
                )
        return cls(name, digest, **given)


_OPEN_PATHS = ("/healthz", "/readyz", "/docs")


class Keys(Sequence[Key]):
    """The keys of an app; requests without a valid key get a 401.

        App("desk", keys=Keys.from_environment())

    /healthz, /readyz, the page /docs (the same for every app) and `open_paths`, such as "/metrics",
    need no key.
    """

    def __init__(self, keys: Iterable[Key] = (), *, open_paths: Iterable[str] = ()) -> None:
        self._keys = tuple(keys)
        self._digests = [(key.hash.encode(), key) for key in self._keys]
        self.open_paths = frozenset({*_OPEN_PATHS, *open_paths})
        names = [key.name for key in self._keys]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise EndpointError(f"two keys have the name {repeated[0]!r}: rename one")

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, *, open_paths: Iterable[str] = ()
    ) -> Keys:
        """Parse `CONDUIT_LAB_KEYS`: entries as written by `Key.line`, separated by spaces."""
        lines = environ.get(KEYS_VARIABLE, "").replace(",", " ").split()
        return cls(map(Key.from_line, lines), open_paths=open_paths)

    def __getitem__(self, index: Any) -> Any:
        return self._keys[index]

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        names = ", ".join(key.name for key in self._keys)
        return f"<{figures.plural(len(self), 'key')}: {names}>" if self._keys else "<no keys>"

    def find(self, secret: bytes) -> Key | None:
        """Return the key with this secret, or None, in constant time.

        The secret's hash is compared with that of every key.
        """
        if len(secret) > _MAX_SECRET_BYTES:
            return None
        digest = hashlib.sha256(secret).hexdigest().encode()
        found = None
        for known, key in self._digests:
            if hmac.compare_digest(known, digest):
                found = key
        return found

    def caller(self, headers: Mapping[bytes, bytes]) -> Key:
        """Return the key in a request's headers; raise 401 if it is missing or unknown."""
        secret = _secret(headers)
        key = None if secret is None else self.find(secret)
        if key is None:
            problem = "this app needs a key" if secret is None else "the key is unknown"
            raise HttpError(
                401,
                "unauthorized",
                f"{problem}: send it in the header authorization: Bearer <key>, or in x-api-key",
                {"www-authenticate": "Bearer"},
            )
        return key


def new_key(name: str, **options: Any) -> tuple[str, Key]:
    """Create a key: return its secret, which is stored nowhere, and the `Key` with its hash.

    `options` are the keyword arguments of `Key`.
    """
    import secrets  # imports `random`, needed only here

    secret = _SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    return secret, Key(name, hashlib.sha256(secret.encode()).hexdigest(), **options)


def given_keys(keys: Iterable[Key] | None) -> Keys:
    """Return `keys` as `Keys`, by default those of the environment."""
    if keys is None:
        return Keys.from_environment()
    return keys if isinstance(keys, Keys) else Keys(keys)


def _secret(headers: Mapping[bytes, bytes]) -> bytes | None:
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and value:
        return value.strip()
    return headers.get(b"x-api-key") or headers.get(b"api-key")
