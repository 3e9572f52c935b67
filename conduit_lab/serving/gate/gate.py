"""Gate: the ASGI wrapper around all faces of an app."""

from __future__ import annotations

from functools import partial
from logging import INFO
from time import monotonic
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import Match, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from conduit_lab.core.caller import enter_caller, leave_caller
from conduit_lab.core.progress import end_silence, silence
from conduit_lab.serving.answer import Answer, send_json
from conduit_lab.serving.body_mistakes import body_mistake
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import (
    HttpError,
    drop_tracebacks,
    error_body,
    http_error,
    internal_error,
)
from conduit_lab.serving.failures import log_failure
from conduit_lab.serving.gate.access_log import ACCESS_LOG, record_access
from conduit_lab.serving.gate.admission import Admission
from conduit_lab.serving.gate.context import RequestContext
from conduit_lab.serving.gate.deadline import start_within
from conduit_lab.serving.gate.direct_request import DirectRequest
from conduit_lab.serving.gate.request_cycle import RequestCycle
from conduit_lab.serving.gate.tenants import CalledFace, caller_of, visible_endpoints

FAULTS = (Exception, SystemExit)  # `sys.exit` in a handler ends only its call


class Gate:
    """Gives each HTTP request a `RequestContext`, and turns exceptions into error responses.

    Paths without parameters are looked up in a dict before the router runs, so they take precedence
    over parametrized paths that also match.
    """

    def __init__(self, app: EndpointHost, router: Router) -> None:
        self._app = app
        self._router = router
        self._admission = Admission(app, router)
        self._faces: dict[tuple[str, str], ASGIApp] = {}
        for route in router.routes:
            if isinstance(route, Route) and not route.param_convertors:
                for method in route.methods or ():
                    self._faces.setdefault((method, route.path), route.app)
        self._direct: dict[tuple[str, str], Any] = {}  # faces that can answer without a task
        for (method, path), each in self._faces.items():
            if hasattr(each, "begin") and method != "HEAD":
                self._direct[method, path] = each

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        app = self._app
        server = app.server_of(scope)
        context = RequestContext(app, server, scope, send)
        server.in_flight += 1
        path = scope["path"]
        if root := scope.get("root_path"):  # behind a proxy, or mounted in another app
            path = path.removeprefix(root)
        face = self._faces.get((scope["method"], path))
        if face is not None:
            context.template = path
        else:
            face = self._router
            scope["app"] = app  # makes the router raise 404 and 405 instead of answering
        token = silence()
        try:
            face = self._admission.admit(scope, context, face)
            if context.caller is not None or app.limits.deadline is not None:
                face = self._bounded(face, context)
            await face(scope, receive, context.send)
        except FAULTS as error:
            await self._answer_error(error, context, scope)
        finally:
            end_silence(token)
            self.end(context, scope)

    def begin(self, cycle: RequestCycle) -> bool:
        """Answer a complete request, without a task if its face can; False if no face takes it."""
        scope = cycle.scope
        path = scope["path"]
        if root := scope["root_path"]:
            path = path.removeprefix(root)
        face: Any = self._direct.get((scope["method"], path))
        if face is None:
            return False
        app = self._app
        try:
            server = app.server_of(scope)
        except KeyError:  # no lifespan
            return False
        context = RequestContext(app, server, scope, cycle.send)
        context.template, context.cycle = path, cycle
        server.in_flight += 1
        request = DirectRequest(self, context, cycle)
        try:
            admitted = self._admission.admit(scope, context, face)
            if admitted is not face or not self._begins(face, request, cycle.body):
                request.go_on(admitted)
        except BaseException as error:  # no task would catch it
            request.fail(error)
        return True

    def _begins(self, face: Any, request: DirectRequest, body: bytes) -> bool:
        """Start the answer of a face for the caller; return False if it needs a task."""
        if request.context.caller is None:
            begins: bool = face.begin(request, body)
            return begins
        token = enter_caller(caller_of(request.context))
        try:
            begins = face.begin(request, body)
        finally:
            leave_caller(token)
        return begins

    def _bounded(self, face: ASGIApp, context: RequestContext) -> ASGIApp:
        """Wrap `face` so that it runs for the caller and within the deadline of the request."""
        if context.caller is not None:
            face = CalledFace(face, context)
        if (seconds := self._app.limits.deadline) is not None:
            return partial(start_within, seconds, face, context)
        return face

    def going_on(self, face: ASGIApp, context: RequestContext) -> ASGIApp:
        """Return an ASGI app that runs a face in a task."""

        async def go_on(scope: Scope, receive: Receive, send: Send) -> None:
            silence()
            try:
                await self._bounded(face, context)(scope, receive, context.send)
            except FAULTS as error:
                await self._answer_error(error, context, scope)
            finally:
                self.end(context, scope)

        return go_on

    def end(self, context: RequestContext, scope: Scope) -> None:
        """Record a finished request in the metrics and the access log."""
        self._admission.leave(context)
        server = context.server
        server.in_flight -= 1
        if not context.template and self._is_routed(context, scope):
            context.template = scope["route"].path
        seconds = (context.answered_at or monotonic()) - context.begun_at
        server.count(scope["method"], context.template, context.status, seconds)
        server.prompt_tokens += context.prompt_tokens
        server.generated_tokens += context.generated_tokens
        if ACCESS_LOG.isEnabledFor(INFO):
            record_access(context, scope)

    async def _answer_error(
        self, error: BaseException, context: RequestContext, scope: Scope
    ) -> None:
        answer = self.error_answer(error, context, scope)
        if answer is not None:
            await send_json(context.send, answer.status, answer.body, answer.headers)

    def error_answer(
        self, error: BaseException, context: RequestContext, scope: Scope
    ) -> Answer | None:
        """Log a fault; return the error response, or None if a response has already started."""
        if not context.template and self._is_routed(context, scope):
            context.template = scope["route"].path
        answer = http_error(body_mistake(error, self._app.endpoints) or error)
        if isinstance(error, HTTPException) and not context.template:
            answer = self._not_routed(error, context, scope)
        if answer is None or answer.status >= 500 or context.started:
            # the server closes the connection of an incomplete response
            log_failure(error, None if context.started else answer, context)
        answer = answer or internal_error()
        drop_tracebacks(error)
        if context.started:
            return None
        if context.error_body is error_body:
            self._admission.take_form(scope, context)
        headers = [(key.encode(), value.encode()) for key, value in answer.headers.items()]
        return Answer(answer.status, context.error_body(answer, context.id), headers)

    def _not_routed(self, error: HTTPException, context: RequestContext, scope: Scope) -> HttpError:
        """Return a 404, or a 405 with the methods of the path."""
        if error.status_code != 405:
            return HttpError(404, "not_found", self._nothing_here(context, scope))
        routes = [route for route in self._router.routes if isinstance(route, Route)]
        here = [route.methods or () for route in routes if route.matches(scope)[0] != Match.NONE]
        allowed = ", ".join(sorted({method for methods in here for method in methods}))
        message = f"this path does not support {scope['method']}: use {allowed}"
        return HttpError(405, "method_not_allowed", message, {"allow": allowed})

    def _nothing_here(self, context: RequestContext, scope: Scope) -> str:
        """Return the message of a 404; it lists endpoints only to callers who may use them."""
        text = "nothing is served at this path"
        path = _path_of(scope)
        routes = [route.path for route in self._router.routes if isinstance(route, Route)]
        for other in (path.rstrip("/"), f"{path}/"):
            if other != path and other in routes:
                return f"{text}; {other} is"
        if self._app.records or context.caller is not None:
            visible = visible_endpoints(context)
            known = ", ".join(f"{each.method} {each.path}" for each in visible)
            return f"{text}; this app has {known or 'no endpoints yet'}"
        return text

    def _is_routed(self, context: RequestContext, scope: Scope) -> bool:
        """Return whether the request was routed by this app, not by an outer one."""
        if context.template:
            return True
        route = scope.get("route")
        return route in self._router.routes and scope["method"] in (route.methods or ())


def _path_of(scope: Scope) -> str:
    """Return the path below the root path, under which a proxy or another app has this one."""
    path: str = scope["path"]
    root = scope.get("root_path")
    return path.removeprefix(root) if root else path
