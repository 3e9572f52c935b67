"""Endpoint: a function at a path, called the same way in the notebook and over HTTP."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, cast, get_type_hints

from conduit_lab.core import views
from conduit_lab.core.errors import EndpointError
from conduit_lab.core.materialize import materialize
from conduit_lab.core.paths import enter_root, leave_root
from conduit_lab.core.stage import Function, Stage, endless
from conduit_lab.core.streams.loop import package_loop
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.trace.root_span import begin_call
from conduit_lab.core.trace.span import Observer, Span
from conduit_lab.core.trace.stage_statistics import StageStatistics
from conduit_lab.core.trace.trace import Trace
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.core.weight import PLAIN
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.models.registry import Models
from conduit_lab.serving.call import Call
from conduit_lab.serving.faces.resume import Resumes
from conduit_lab.serving.gate.hosts import Hosts
from conduit_lab.serving.gate.keys import Keys
from conduit_lab.serving.gate.metering import Metering
from conduit_lab.serving.gate.origins import Origins
from conduit_lab.serving.handler_threads import HandlerThreads
from conduit_lab.serving.limits import Limits
from conduit_lab.serving.server_state import ServerState
from conduit_lab.serving.signature import Signature
from conduit_lab.serving.stores import Stores
from conduit_lab.serving.trace_sampling import TraceMode

if TYPE_CHECKING:
    from starlette.types import Scope

    from conduit_lab.serving.gate.request_cycle import RequestCycle

Shape = Literal["value", "stream", "tool"]
Proof = Literal["ready", "running", "missing", ""]
MAX_TRACES = 50  # per endpoint

_P = ParamSpec("_P")
_R = TypeVar("_R")


class EndpointHost:
    """The interface of an app to its endpoints, the gate and the faces.

    `values` bounds the inputs and outputs kept in traces, `observers` are notified of every span,
    `statistics` counts the calls, and `records` is true if `observe` records them. `protocols`
    names the protocols it serves in addition to its own, and `mcp` is the MCP server object once
    created. `keys`, `hosts` and `origins` restrict callers, and `metering` counts the usage per
    key. `public_url` is the base of generated links, by default that of each request. `trace`
    selects the calls to trace, and `handler_threads` runs handlers that would block the event loop.
    """

    name: str
    root: Path
    endpoints: Sequence[Endpoint[..., Any]]
    models: Models
    stores: Stores
    limits: Limits
    keys: Keys
    hosts: Hosts
    origins: Origins
    public_url: str = ""
    metering: Metering
    protocols: Sequence[str] = ()
    mcp: Any = None
    trace: TraceMode = "always"
    default_trace: TraceMode = "sample"  # if `trace` is not given
    values = Values(0)
    observers: Sequence[Observer] = ()
    statistics: StageStatistics
    records = False
    _gate: Any = None  # the endpoints and their `Gate`, after the first connection

    @functools.cached_property
    def handler_threads(self) -> HandlerThreads:
        """The worker threads for its handlers."""
        return HandlerThreads()

    def server_of(self, scope: Scope) -> ServerState:
        """Return the state of the server that received a request."""
        raise NotImplementedError

    def begin_request(self, cycle: RequestCycle) -> bool:
        """Answer a `BoundedHttp` request without a task, if possible; return whether it did."""
        built = self._gate
        return built is not None and built[0] is self.endpoints and built[1].begin(cycle)

    def observe(self, endpoint: Endpoint[..., Any], call: Call, result: Any, body: bytes) -> None:
        """Record one successful call; a stream that it returned may still be running.

        `body` is the response as sent, or empty.
        """

    @property
    def spoken(self) -> Sequence[str]:
        """The protocols to serve: the configured ones, and MCP if there are tools."""
        has_tools = any(endpoint.shape == "tool" for endpoint in self.endpoints)
        return [*self.protocols, *({"mcp"} - {*self.protocols} if has_tools else ())]

    def session_tools(self) -> Sequence[Endpoint[..., Any]]:
        """Return the tools that expose a notebook session to an agent; empty for other apps."""
        return ()

    def proof(self, endpoint: Endpoint[..., Any]) -> Proof:
        """Return whether `endpoint` has a recorded or a running call for an export's proof.

        Empty if the app records no calls.
        """
        return ""


class Endpoint(Viewed, Stage, Generic[_P, _R]):
    """A registered function; calling it runs the same code as a request to its path.

    It keeps the function's signature, docstring and module. `first` is called with the arguments:
    the function itself, unless an ensemble calls it later. `plan` runs its requests. With the
    `shape` "stream" it answers POST and GET with events, and clients may resume a stream for
    `resume` seconds. The stage `then` receives the function's result. `is_bound` is true if a `def`
    binds the function's name to it. `varies` is true if equal requests may get different answers of
    the same shape.
    """

    is_bound = True
    varies = False

    def __init__(
        self,
        function: Callable[..., Any],
        path: str,
        method: str,
        shape: Shape,
        app: EndpointHost,
        *,
        then: Stage | None = None,
        files: Sequence[str | Path] = (),
        resume: float | None = None,
    ) -> None:
        if not hasattr(function, "__name__"):  # an object with __call__, a partial, or no function
            raise EndpointError(
                f"{method} {path} expects a function, got {type(function).__name__}: define one "
                "that calls it, such as def answer(text: str): return …"
            )
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self.name = function.__name__
        self.__doc__ = self.__doc__ or f"Answer {method} {path}."  # or help() shows the class
        self.path = path
        self.method = method
        self.shape = shape
        self.app = app
        self.then = then
        self.files = tuple(files)
        self._calls: deque[Span] = deque(maxlen=MAX_TRACES)
        self.resumes = Resumes(resume)
        self.plan: Any = None  # a `Plan`; its module imports this one
        self.first = _value_of_body if isinstance(then, Ensemble) else function
        self.signature = Signature(
            self.first, path, method, name=self.name, answer=self._answer_type()
        )
        if self.first is not function:
            self.__signature__ = inspect.signature(self.first)
        self.is_async = shape == "value" and (
            inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        )
        # calling a generator function runs none of its body
        self.starts_at_once = shape == "stream" and (
            inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        )

    @property
    def revision(self) -> Any:
        """The code of the function."""
        return getattr(self.function, "__code__", None)

    @property
    def trace(self) -> Trace | None:
        """The trace of the last call, failed or not, if the app keeps traces."""
        return Trace(self._calls[-1]) if self._calls else None

    @property
    def history(self) -> list[Trace]:
        """The traces of the last 50 calls, newest last."""
        return [Trace(span) for span in list(self._calls)]

    @property
    def children(self) -> tuple[Stage, ...]:
        """The function and the stage after it; for an ensemble, the ensemble's children."""
        if self.then is None:
            return (Function(self.function),)
        if self.first is not self.function:
            return self.then.children
        return (Function(self.function), self.then)

    @property
    def methods(self) -> list[str]:
        """The HTTP methods of its requests."""
        return ["POST", "GET"] if self.shape == "stream" else [self.method]

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run the endpoint with Python arguments.

        An endpoint that takes the request accepts the JSON value of its body. A stream endpoint
        returns a `Stream`, an `async def` endpoint an awaitable. Iterators in other answers become
        lists, as in JSON. Raises the function's own errors, and `InputError` if the arguments do
        not match the signature.
        """
        call = self.signature.from_call(args, kwargs)
        if self.app.records:
            call.freeze()
        if self.is_async:
            return cast(_R, self._observed(call))
        result = self.invoke(call)
        if self.app.records:
            self.app.observe(self, call, result, b"")
        return cast(_R, result)

    async def _observed(self, call: Call) -> Any:
        result = await self.ainvoke(call)
        if self.app.records:
            self.app.observe(self, call, result, b"")
        return result

    def run(self, value: Any) -> Any:
        """Run the endpoint on one value, as a stage of a composition."""
        return self(value)  # type: ignore[call-arg]  # a stage takes one value

    async def arun(self, value: Any) -> Any:
        """Await an `async def` endpoint; run any other on a worker thread."""
        call: Any = self
        return await call(value) if self.is_async else await super().arun(value)

    def acall(self, value: Any) -> Any:
        """Return an awaitable that runs the endpoint on one value."""
        return self.arun(value)

    def stream(self, value: Any, /) -> Stream[Any, Any]:
        """Return the stream of a stream endpoint for one value."""
        if self.shape != "stream":
            return super().stream(value)
        call: Any = self
        stream: Stream[Any, Any] = call(value)
        return stream

    def invoke(self, call: Call) -> Any:
        """Run the bound call under the app's root, in the span `call.span`."""
        app, then = self.app, self.then
        token = enter_root(app.root)
        try:
            with self.begin(call) as span:
                if self.shape == "stream":
                    result = self.open_stream(call)
                    span.output = result  # before `follow`, which measures an ended stream
                    span.follow(result)
                else:
                    result = self._first_of(call)
                    if then is not None:
                        result = then(result)
                    if type(result) not in PLAIN:
                        result = materialize(result)
                    span.output = result
        finally:
            leave_root(token)
        return result

    def open_stream(self, call: Call) -> Stream[Any, Any]:
        """Start the stream of the bound call of a stream endpoint, without a span."""
        result, then = self._first_of(call), self.then
        return then.stream(result) if then is not None else _stream(result, self.name)

    def _first_of(self, call: Call) -> Any:
        try:
            return self.first(**call.kwargs)
        except RecursionError as error:
            raise endless(self.name, error) from None

    async def ainvoke(self, call: Call) -> Any:
        """Await the bound call of an `async def` endpoint; use `invoke` for any other."""
        app = self.app
        token = enter_root(app.root)
        try:
            with self.begin(call) as span:
                result = self.first(**call.kwargs)
                if isinstance(result, Awaitable):
                    result = await result
                if isinstance(result, AsyncIterator):
                    result = [item async for item in result]
                span.output = result = materialize(result)
        finally:
            leave_root(token)
        return result

    def begin(self, call: Call) -> Span:
        """Return the root span of a call, not yet entered."""
        app = self.app
        call.span = span = begin_call(
            self.name, self, app.values, app.observers, app.statistics, call.payload
        )
        if app.records:
            if call.path_params:
                span.attributes = {"arguments": call.path_params}
            if span.recording.replay is None:
                self._calls.append(span)
        return span

    def rerun(self, root: Span) -> Span:
        """Repeat an earlier call with the same parameters; return the new root span."""
        call = self.signature.from_payload(root.input, root.attributes.get("arguments", {}))
        if self.is_async:  # on the package's loop, since a notebook's is running this code
            asyncio.run_coroutine_threadsafe(self.ainvoke(call), package_loop()).result()
        else:
            self.invoke(call)
        return cast(Span, call.span)

    def inherit(self, replaced: Endpoint[..., Any]) -> None:
        """Copy the traces and `varies` of the endpoint that this one replaces."""
        self.varies = replaced.varies
        for span in replaced._calls:
            span.target = self
            self._calls.append(span)

    def _answer_type(self) -> Any:
        """Return the answer's type: Any for a model's, Ellipsis for the function's return type."""
        if isinstance(self.then, Ensemble):
            try:
                return get_type_hints(self.function, include_extras=True).get("return", Any)
            except NameError:
                return Any
        return ... if self.then is None else Any

    def _view(self) -> views.View:
        from conduit_lab.serving.endpoint_view import endpoint_view

        return endpoint_view(self)

    def __repr__(self) -> str:
        return f"<Endpoint {self.method} {self.path} · {self.name}{self.signature}>"


def _value_of_body(value: Any) -> Any:
    """Return the whole JSON body as the input of an ensemble's models."""
    return value


def _stream(result: Any, name: str) -> Stream[Any, Any]:
    return result if isinstance(result, Stream) else Stream(_chunks(result, name), name=name)


def _chunks(result: Any, name: str) -> Any:
    """Return the chunks of a stream handler's result, awaiting it if needed."""
    if isinstance(result, Awaitable):

        async def unrolled() -> Any:
            chunks = _checked_chunks(await result, name)
            if hasattr(chunks, "__aiter__"):
                async for chunk in chunks:
                    yield chunk
            else:
                for chunk in chunks:
                    yield chunk

        return unrolled()
    return _checked_chunks(result, name)


def _checked_chunks(result: Any, name: str) -> Any:
    """Return the iterable of a stream handler; reject text and mappings."""
    whole = isinstance(result, str | bytes | Mapping)
    if whole or not (hasattr(result, "__iter__") or hasattr(result, "__aiter__")):
        raise EndpointError(
            f"{name}() must yield chunks, but returned {type(result).__name__}: write "
            "`yield` instead of `return`, or return an iterator such as writer.stream(prompt)"
        )
    return result
