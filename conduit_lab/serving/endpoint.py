"""Endpoint: a function with a path. One signature, the same in the notebook and over HTTP."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel

from conduit_lab.core.errors import EndpointError, InputError
from conduit_lab.core.materialize import materialize
from conduit_lab.core.paths import use_root
from conduit_lab.core.stage import Stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.serving import codec
from conduit_lab.serving.arguments import MAX_PROBLEMS, Arguments
from conduit_lab.serving.faces.resume import Resumes
from conduit_lab.serving.gate.body import clipped

Shape = Literal["value", "stream"]


class Request:
    """What a handler with a parameter named or typed `request` gets.

    `body` is the raw body, `query` the query parameters, `path_params` the parts of the path,
    `headers` lower-case.
    """

    def __init__(
        self,
        body: bytes = b"",
        *,
        query: Mapping[str, str] | None = None,
        path_params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.body = body
        self.query = dict(query or {})
        self.path_params = dict(path_params or {})
        self.headers = dict(headers or {})

    def parse_json(self) -> Any:
        """Return the body as a JSON value; `InputError` where it is not JSON."""
        value = codec.loads(self.body)
        return Body(value) if isinstance(value, dict) else value


class Endpoint(Stage):
    """A registered function. Calling it runs exactly what a request to its path runs.

    `method` and `path` say where it answers, `trace` what ran inside its last call (where its app
    keeps traces). `shape` is "stream" where it answers with events; then it answers a GET too, and
    clients may come back to a stream for `resume` seconds. `run_with` is what is called with the
    bound arguments.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        path: str,
        method: str,
        shape: Shape,
        app: EndpointHost,
        run_with: Callable[..., Any] | None = None,
        parts: Mapping[str, Any] | None = None,
        resume: float | None = None,
    ) -> None:
        self.function = function
        self.name = function.__name__
        self.path = path
        self.method = method
        self.shape = shape
        self.trace: recorder.Trace | None = None
        self.parts = dict(parts or {})
        self.resumes = Resumes(resume)
        self.app = app
        self._run_with = run_with or function
        self.signature = Signature(self._run_with, path, method)
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__

    @property
    def is_async(self) -> bool:
        """Whether calling it gives an awaitable."""
        function = self._run_with
        is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        return self.shape == "value" and is_async

    @property
    def methods(self) -> list[str]:
        """The HTTP methods that it answers."""
        return ["POST", "GET"] if self.shape == "stream" else [self.method]

    @property
    def starts_at_once(self) -> bool:
        """Whether calling it runs none of the function: a generator function's body runs on the stream's own thread."""
        return self.shape == "stream" and (
            inspect.isgeneratorfunction(self._run_with)
            or inspect.isasyncgenfunction(self._run_with)
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the endpoint with Python arguments.

        An endpoint that takes the request accepts the value that its JSON body would hold. A stream
        endpoint returns a `Stream`, an `async def` one an awaitable. Iterators in any other answer
        are read to their end and become lists, as they are in JSON. Raises what the function
        raises; `InputError` where arguments do not fit the signature.
        """
        return self.invoke(self.signature.from_call(args, kwargs))

    def run(self, value: Any) -> Any:
        """Run the endpoint on one value, as a stage of a composition."""
        return self(value)

    def invoke(self, call: Call) -> Any:
        """Run the bound call under the app's root, with a trace that `call.trace` keeps."""
        if self.is_async:
            return self._invoke_async(call)
        with (
            use_root(self.app.root),
            recorder.record(self.name, self, values=self.app.values) as call.trace,
        ):
            result = self._run_with(**call.kwargs)
            if self.shape == "stream":
                result = (
                    result
                    if isinstance(result, Stream)
                    else Stream(_chunks(result), name=self.name)
                )
            else:
                result = materialize(result)
        self._done(call, result)
        return result

    async def _invoke_async(self, call: Call) -> Any:
        with (
            use_root(self.app.root),
            recorder.record(self.name, self, values=self.app.values) as call.trace,
        ):
            result = self._run_with(**call.kwargs)
            if isinstance(result, Awaitable):
                result = await result
            if isinstance(result, AsyncIterator):
                result = [item async for item in result]
            result = materialize(result)
        self._done(call, result)
        return result

    def _done(self, call: Call, result: Any) -> None:
        assert call.trace is not None
        call.trace.keep(call.payload, result)
        self.app.observe(self, call, result)

    def __repr__(self) -> str:
        return f"<Endpoint {self.method} {self.path} · {self.name}{self.signature}>"


class EndpointHost:
    """The app as an endpoint sees it: root, values kept of its calls, a hook for each call."""

    root: Path
    values = recorder.Values(0)

    def observe(self, endpoint: Endpoint, call: Call, result: Any) -> None:
        """Take note of one call that ended well; a stream that it returned may still run."""


class MissingField(InputError, KeyError):
    """A key that a handler looked up in the body and that the body does not have."""

    __str__ = Exception.__str__  # KeyError would show the repr


class Body(dict[str, Any]):
    """A JSON object as a handler gets it: looking up a missing key is the caller's mistake, not the handler's."""

    def __missing__(self, key: str) -> Any:
        keys = [repr(clipped(str(known), 60)) for known in islice(self, MAX_PROBLEMS)]
        more = f" and {len(self) - len(keys):,} more" if len(self) > len(keys) else ""
        raise MissingField(f"the body has no {key!r}; it has {', '.join(keys) or 'no keys'}{more}")


@dataclass
class Call:
    """Bound arguments, the JSON-able payload and path parts that give the same ones over HTTP, and what ran."""

    kwargs: dict[str, Any]
    payload: Any
    path_params: dict[str, Any] = field(default_factory=dict)
    trace: recorder.Trace | None = None


class Signature:
    """How a JSON value becomes the arguments of a function.

    A parameter named or typed `request` takes the request. A single other parameter without a type,
    or typed as a mapping, a model or Any, takes the JSON body as it is. All else is taken by name
    from a JSON object, the query (all of a GET) or the path, and checked against its type.
    """

    def __init__(self, function: Callable[..., Any], path: str, method: str = "POST") -> None:
        self._signature = inspect.signature(function)
        try:
            hints = get_type_hints(function, include_extras=True)
        except NameError as error:
            raise EndpointError(
                f"a type of {function.__name__}{self._signature} cannot be found ({error}): import it where the "
                "function is defined, since its arguments are checked against it"
            ) from error
        parameters = list(self._signature.parameters.values())
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY) for p in parameters):
            raise EndpointError(
                f"{function.__name__}{self._signature} cannot be an endpoint: "
                "give every parameter a name (no *args, **kwargs or /)"
            )
        self.request = next(
            (p.name for p in parameters if p.name == "request" or hints.get(p.name) is Request),
            None,
        )
        self._named = [p for p in parameters if p.name != self.request]
        self._in_path = [
            p.name for p in self._named if "{" + p.name + "}" in path or "{" + p.name + ":" in path
        ]
        free = [p for p in self._named if p.name not in self._in_path]
        whole = len(free) == 1 and method != "GET" and _takes_whole(hints.get(free[0].name, Any))
        self.whole = free[0].name if whole else None
        defaults = {p.name: ... if p.default is p.empty else p.default for p in self._named}
        fields = {name: (hints.get(name, Any), default) for name, default in defaults.items()}
        self._arguments = Arguments(function.__name__, fields)

    @property
    def takes_body(self) -> bool:
        """Whether a request must have a body."""
        return any(p.default is p.empty for p in self._named if p.name not in self._in_path)

    def __str__(self) -> str:
        return str(self._signature)

    def from_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Return the call for Python arguments."""
        if self.request is not None:
            value = kwargs.get(self.request, args[0] if args else None)
            if len(args) + len(kwargs) > 1:
                raise InputError(
                    f"this endpoint takes one request, got {len(args) + len(kwargs)} arguments"
                )
            request = (
                value
                if isinstance(value, Request)
                else Request(b"" if value is None else codec.dumps(value))
            )
            return self.from_request(request)
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(f"wanted {self._signature}: {error}") from error
        arguments = materialize(bound.arguments)  # the call and its recording both read them
        kwargs = self._checked(arguments)
        payload = {name: value for name, value in arguments.items() if name not in self._in_path}
        path_params = {name: arguments[name] for name in self._in_path if name in arguments}
        return Call(kwargs, payload if self.whole is None else payload.get(self.whole), path_params)

    def from_request(self, request: Request) -> Call:
        """Return the call for an HTTP request; `InputError` where the body does not fit."""
        body = request.body
        if self.request is not None:
            payload = codec.loads(body) if body else None
            arguments = (
                self._checked({**request.path_params, **request.query}) if self._named else {}
            )
            return Call({self.request: request, **arguments}, payload, request.path_params)
        if not self._named:
            return Call({}, None, request.path_params)
        payload = codec.loads(body) if body else dict(request.query)
        if self.whole is not None:
            kwargs = self._checked(
                {**({self.whole: payload} if body else {}), **request.path_params}, len(body)
            )
            return Call(kwargs, payload, request.path_params)
        if not isinstance(payload, dict):
            raise InputError(
                f"the body is a JSON {_json_type(payload)}: wanted an object with "
                f"{', '.join(p.name for p in self._named)}"
            )
        kwargs = self._checked({**payload, **request.path_params}, len(body))
        return Call(kwargs, payload, request.path_params)

    def _checked(self, arguments: Mapping[str, Any], size: int = 0) -> dict[str, Any]:
        """Return the arguments converted to their types, defaults filled in."""
        checked = self._arguments.check(arguments, size)
        if self.whole is not None and type(checked[self.whole]) is dict:
            checked[self.whole] = Body(checked[self.whole])
        return checked


def _takes_whole(hint: Any) -> bool:
    """Tell whether a single parameter of this type takes the JSON value as it is."""
    if hint is Any:
        return True
    kind = getattr(hint, "__origin__", hint)
    return isinstance(kind, type) and issubclass(kind, Mapping | BaseModel)


def _json_type(value: Any) -> str:
    names: dict[type, str] = {list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _chunks(result: Any) -> Any:
    """Return what a stream handler gave as something a `Stream` can run; an awaitable of it is awaited first."""
    if isinstance(result, Awaitable):

        async def unrolled() -> Any:
            chunks = await result
            if hasattr(chunks, "__aiter__"):
                async for chunk in chunks:
                    yield chunk
            else:
                for chunk in chunks:
                    yield chunk

        return unrolled()
    if not hasattr(result, "__iter__") and not hasattr(result, "__aiter__"):
        raise EndpointError(
            f"a stream endpoint yields its chunks, got {type(result).__name__}: use `yield`"
        )
    return result
