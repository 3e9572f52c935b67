"""Origins: reject requests from pages of other sites unless their origin is allowed (CORS)."""

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
PREFLIGHT_SECONDS = 600  # browsers cache the response this long

_HEADER_NAMES = re.compile(rb"[A-Za-z0-9, _-]{0,1000}")
_EXPOSED = b"x-request-id, x-conduit-fallback, x-conduit-device, retry-after"


class Origins:
    """Validates the headers in which a browser names the requesting page's site.

    A page cannot set `Sec-Fetch-Site`: "same-origin" and "none" (a typed address) pass. Otherwise
    `Origin` must be in `allowed`, such as "https://app.example.org", or "*" for any origin. Links
    from other sites may open pages, the routes marked with `page`. Non-browser clients such as curl
    send neither header and pass.
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
        """Return the origin of an allowed cross-site request, None for any other request.

        Raises 403 for a site that is not allowed. `is_for_page` returns whether the route is a
        page.
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
    """The ASGI app that answers CORS preflight requests of an allowed origin."""

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
    """Return whether a request is a CORS preflight."""
    return scope["method"] == "OPTIONS" and b"access-control-request-method" in headers


def origin_headers(origin: bytes) -> RawHeaders:
    """Return the CORS headers of a response to an allowed origin."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


def page(route: Route) -> Route:
    """Mark a route whose GET has no side effects, so links from other sites may open it."""
    route.app.is_page = True  # type: ignore[attr-defined]
    return route


def _is_of_host(origin: bytes, host: bytes) -> bool:
    return host != b"" and origin.partition(b"://")[2].lower() == host.lower()
