"""Origins: a page of another site runs nothing, unless its origin is allowed (CORS)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conduit_lab.core.errors import EndpointError
from conduit_lab.serving.answer import RawHeaders, send_empty
from conduit_lab.serving.errors import HttpError

if TYPE_CHECKING:
    from starlette.routing import Route
    from starlette.types import Receive, Scope, Send

ORIGINS_VARIABLE = "CONDUIT_LAB_ORIGINS"
PREFLIGHT_SECONDS = 600  # that a browser keeps the answer

_HEADER_NAMES = re.compile(rb"[A-Za-z0-9, _-]{0,1000}")
_EXPOSED = b"x-request-id, x-conduit-fallback, x-conduit-device, retry-after"


class Origins:
    """The check of the headers with which a browser names the page that sends a request.

    `Sec-Fetch-Site` cannot be set by a page: "same-origin" and "none" (a typed address) pass. Else
    the `Origin` must be one of `allowed`, such as "https://app.example.org", or "*" for every one.
    Links of other sites may open pages, which are routes marked by `page`; curl, clients and
    servers send neither header and pass.
    """

    def __init__(self, allowed: Sequence[str] | None = ()) -> None:
        self.allowed = tuple(allowed or ())
        self._any = "*" in self.allowed
        for origin in self.allowed:
            parts = urlsplit(origin)
            if origin != "*" and origin != f"{parts.scheme}://{parts.netloc.lower()}":
                raise EndpointError(
                    f"origins= expects origins such as 'https://app.example.org', got {origin!r}"
                )
        self._allowed = frozenset(origin.encode() for origin in self.allowed)

    def check(
        self, headers: Mapping[bytes, bytes], is_for_page: Callable[[], bool]
    ) -> bytes | None:
        """Return the allowed origin of a request of another site, None for any other request.

        Raises a 403 for a site that is not allowed. `is_for_page` says whether a page answers.
        """
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if origin is not None and (origin in self._allowed or (self._any and origin != b"null")):
            return origin
        if site in (b"same-origin", b"none"):
            return None
        if origin is None:
            if site is None or (headers.get(b"sec-fetch-dest") == b"document" and is_for_page()):
                return None
        elif site is None and _is_of_host(origin, headers.get(b"host", b"")):
            return None
        raise HttpError(
            403,
            "cross_site",
            "a page of another site may not call this app: allow its origin with "
            f"App(origins=[…]) or {ORIGINS_VARIABLE}",
        )


class Preflight:
    """The ASGI app that answers a browser's question whether an allowed origin may call."""

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        asked = headers.get(b"access-control-request-headers", b"")
        self._headers: RawHeaders = [
            (b"access-control-allow-methods", b"GET, POST, DELETE"),
            (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
        ]
        if asked and _HEADER_NAMES.fullmatch(asked):
            self._headers.append((b"access-control-allow-headers", asked))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 204; `RequestContext.send` adds the origin."""
        await send_empty(send, 204, self._headers)


def is_preflight(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a request is a browser's question before the request itself."""
    return scope["method"] == "OPTIONS" and b"access-control-request-method" in headers


def origin_headers(origin: bytes) -> RawHeaders:
    """Return the headers with which a page of an allowed origin may read an answer."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


def page(route: Route) -> Route:
    """Mark a route whose GET runs nothing, so that links of other sites may open it."""
    route.app.is_page = True  # type: ignore[attr-defined]
    return route


def _is_of_host(origin: bytes, host: bytes) -> bool:
    return host != b"" and origin.partition(b"://")[2].lower() == host.lower()
