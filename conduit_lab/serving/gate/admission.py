"""Admission: checks on a request's head, made before its body is read or any handler runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.routing import Match, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.context import RequestContext
from conduit_lab.serving.gate.keys import CREDENTIAL_HEADERS, Keys
from conduit_lab.serving.gate.origins import Preflight, is_preflight
from conduit_lab.serving.gate.signed_links import signed_caller
from conduit_lab.serving.gate.slots import too_busy

# set in ASGI's lifespan state if the server itself bounds request heads
BOUNDED_HEAD = "conduit_lab:bounded_head"
# repeated, two parsers might use different values
_SINGLE_HEADERS = (b"host", *sorted(CREDENTIAL_HEADERS))
UNCOUNTED_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})  # answered even at capacity


class Admission:
    """Checks an app's hosts, origins, keys and limits, in this order.

    Every request takes this path, so an app without any configuration costs few attribute reads.
    """

    def __init__(self, app: EndpointHost, router: Router) -> None:
        self._app = app
        self._router = router
        self._hosts = app.hosts
        self._origins = app.origins
        self._keys = app.keys or None
        self._metering = app.metering

    def admit(self, scope: Scope, context: RequestContext, face: ASGIApp) -> ASGIApp:
        """Return the ASGI app for a request: `face`, or a wrapper that first waits for a free slot.

        Raises an `HttpError` for a rejected request.
        """
        headers = scope["headers"]
        limits = self._app.limits
        if len(headers) > limits.header_count:
            raise _large_head(f"{limits.header_count} headers")
        context.headers = values = dict(headers)
        is_repeated = len(values) < len(headers)
        if is_repeated:
            _check_single(headers)
        if BOUNDED_HEAD not in scope.get("state", ()):
            size = sum(map(len, values.values())) + len(scope.get("query_string", b""))
            if is_repeated:
                size = sum(len(value) for _, value in headers)
            if size > limits.header_bytes:
                raise _large_head(f"{limits.header_bytes} bytes")
        if (host := values.get(b"host")) not in self._hosts.passed:
            server = scope.get("server")
            self._hosts.check(host, server[0] if server else None)
        if b"origin" in values or b"sec-fetch-site" in values:
            context.origin = self._origins.check(
                values, lambda: getattr(self._answering(scope), "is_page", False)
            )
            if context.origin is not None and is_preflight(scope, values):
                return Preflight(values)
        path = scope["path"]
        if "\ufffd" in path:
            _check_utf8(scope.get("raw_path"))
        if root := scope.get("root_path"):
            path = path.removeprefix(root)
        if self._keys is not None and path not in self._keys.open_paths:
            signed = signed_caller(self._keys, path, scope.get("query_string", b""))
            if signed is not None and scope["method"] == "GET":
                context.caller = signed
            else:
                self._identify(self._keys, scope, context, values)
        if limits.concurrent_requests is None or path in UNCOUNTED_PATHS:
            return face
        slots = context.server.slots
        if slots.taken >= limits.concurrent_requests:
            return _Queued(face, context, limits.queued_requests)
        slots.taken += 1
        context.slots = slots
        return face

    def leave(self, context: RequestContext) -> None:
        """Release the slot of a finished request and count its tokens."""
        if (slots := context.slots) is not None:
            if slots.waiting:
                slots.release()
            else:
                slots.taken -= 1
        if context.is_stream:
            context.server.slots.streams -= 1
        if context.caller is not None:
            tokens = context.prompt_tokens, context.generated_tokens
            self._metering.count(context.caller, *tokens)

    def take_form(self, scope: Scope, context: RequestContext) -> None:
        """Use the error format of the route's protocol for a request that its face has not seen."""
        context.error_body = getattr(self._answering(scope), "error_body", context.error_body)

    def _identify(
        self, keys: Keys, scope: Scope, context: RequestContext, headers: Mapping[bytes, bytes]
    ) -> None:
        """Identify the caller by its key, and remove the key from the request."""
        context.caller = keys.caller(headers)
        # handlers and logs must not see the key
        context.headers = {k: v for k, v in headers.items() if k not in CREDENTIAL_HEADERS}
        scope["headers"] = [each for each in scope["headers"] if each[0] not in CREDENTIAL_HEADERS]
        self._metering.begin(context.caller, self._app.limits)

    def _answering(self, scope: Scope) -> Any:
        """Return the app of the matching route, or None."""
        for route in self._router.routes:
            if isinstance(route, Route) and route.matches(scope)[0] == Match.FULL:
                return route.app
        return None


def admit_stream(context: RequestContext) -> None:
    """Admit a request as a stream and free its slot; 429 if too many streams are open."""
    limit, slots = context.app.limits.concurrent_streams, context.server.slots
    if limit is not None and slots.streams >= limit:
        raise too_busy("too many streams are open")
    slots.streams += 1
    context.is_stream = True
    leave_slot(context)


def leave_slot(context: RequestContext) -> None:
    """Free the slot of a request that has become a stream."""
    if context.slots is not None:
        context.slots.release()
        context.slots = None


class _Queued:
    """An ASGI app that waits for a free slot before it runs a face."""

    def __init__(self, face: ASGIApp, context: RequestContext, queued: int) -> None:
        self._face = face
        self._context = context
        self._queued = queued

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        slots = self._context.server.slots
        await slots.wait(self._queued)
        self._context.slots = slots
        # ask uvicorn's cycle: calling `receive` would consume the unread body
        if getattr(getattr(receive, "__self__", None), "disconnected", False):
            raise HttpError(499, "client_left", "the client disconnected before its turn")
        await self._face(scope, receive, send)


def _check_single(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise 400 for a repeated header of which only one value can apply."""
    names = [name for name, _ in headers]
    for name in _SINGLE_HEADERS:
        if names.count(name) > 1:
            shown = name.decode().title()
            raise HttpError(400, "bad_request", f"the request has the header {shown} twice or more")


def _check_utf8(raw_path: bytes | None) -> None:
    """Raise 400 for a path that is not UTF-8, whose bytes the server has replaced by U+FFFD."""
    try:
        unquote_to_bytes(raw_path or b"").decode()
    except UnicodeDecodeError:
        message = "the path expects percent-encoded UTF-8, got other bytes"
        raise HttpError(400, "bad_request", message) from None


def _large_head(limit: str) -> HttpError:
    return HttpError(431, "head_too_large", f"the head of the request has more than {limit}")
