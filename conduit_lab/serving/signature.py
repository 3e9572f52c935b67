"""Signature: binds a JSON value to the arguments of a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from starlette.types import Scope

from conduit_lab.core.errors import EndpointError, InputError
from conduit_lab.core.materialize import materialize
from conduit_lab.serving import codec
from conduit_lab.serving.arguments import Arguments
from conduit_lab.serving.call import Call
from conduit_lab.serving.request import Body, Request


class Signature:
    """Binds a JSON value to the arguments of a function.

    A parameter named or typed `request` takes the request. A single other parameter without a type,
    or typed as a mapping, a model or Any, takes the whole JSON body. Every other one is taken by
    name from the JSON object, the query (all of a GET) or the path, and checked against its type.
    `types` has the type of each parameter that has one.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        path: str,
        method: str = "POST",
        *,
        name: str | None = None,
    ) -> None:
        name = name or function.__name__
        self._signature = inspect.signature(function)
        try:
            hints = get_type_hints(function, include_extras=True)
        except NameError as error:
            raise EndpointError(
                f"a type of {name}{self._signature} cannot be found ({error}): "
                "import it in the module that defines the function"
            ) from error
        self.types = hints
        parameters = list(self._signature.parameters.values())
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY) for p in parameters):
            raise EndpointError(
                f"{name}{self._signature} cannot be an endpoint: "
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
        named = method in ("GET", "TOOL")
        whole = len(free) == 1 and not named and _takes_whole(hints.get(free[0].name, Any))
        self.whole = free[0].name if whole else None
        defaults = {p.name: ... if p.default is p.empty else p.default for p in self._named}
        fields = {name: (hints.get(name, Any), default) for name, default in defaults.items()}
        self._arguments = Arguments(name, fields)
        # the only parameter, where every JSON value fits it: there is nothing to check
        any_fits = len(parameters) == 1 and hints.get(parameters[0].name, Any) is Any
        self._only = self.whole if any_fits else None

    @property
    def required(self) -> list[str]:
        """The parameters without a default, the request apart."""
        return [p.name for p in self._named if p.default is p.empty]

    @property
    def takes_body(self) -> bool:
        """Whether a request must have a body."""
        return any(p.default is p.empty for p in self._named if p.name not in self._in_path)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of its arguments, an object; the request is left out."""
        return self._arguments.schema()

    def answer_schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of its answer; None where the return type does not give one."""
        hint = self.types.get("return", Any)
        if hint is Any:
            return None
        try:
            return TypeAdapter(hint).json_schema(mode="serialization")
        except (PydanticUserError, PydanticSchemaGenerationError, NameError):
            return None

    def __str__(self) -> str:
        return str(self._signature)

    def from_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Return the call for Python arguments; `InputError` where they do not fit."""
        if self._only is not None and len(args) == 1 and not kwargs:
            payload = materialize(args[0])
            argument = Body(payload) if type(payload) is dict else payload
            return Call({self._only: argument}, payload)
        if self.request is not None:
            value = kwargs.get(self.request, args[0] if args else None)
            if len(args) + len(kwargs) > 1:
                raise InputError(
                    f"this endpoint takes one request, got {len(args) + len(kwargs)} arguments"
                )
            if not isinstance(value, Request):
                value = Request(b"" if value is None else codec.dumps(value))
            return self.from_request(value)
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(f"expected {self._signature}: {error}") from error
        arguments = materialize(bound.arguments)  # the call and its recording both read them
        kwargs = self._checked(arguments)
        payload = {name: value for name, value in arguments.items() if name not in self._in_path}
        path_params = {name: arguments[name] for name in self._in_path if name in arguments}
        return Call(kwargs, payload if self.whole is None else payload.get(self.whole), path_params)

    def from_http(self, scope: Scope, body: bytes) -> Call:
        """Return the call for an ASGI scope and its body; `InputError` where they do not fit."""
        if body and self._only is not None:
            payload = codec.loads(body)
            argument = Body(payload) if type(payload) is dict else payload
            return Call({self._only: argument}, payload, {}, body)
        return self.from_request(Request.from_scope(scope, body))

    def from_request(self, request: Request) -> Call:
        """Return the call for a request; `InputError` where it does not fit."""
        body = request.body
        if self.request is not None:
            payload = codec.loads(body) if body else None
            named = {**request.path_params, **request.query}
            arguments = self._checked(named) if self._named else {}
            return Call({self.request: request, **arguments}, payload, request.path_params, body)
        if not self._named:
            return Call({}, None, request.path_params)
        payload = codec.loads(body) if body else dict(request.query)
        if self.whole is not None:
            whole = {self.whole: payload} if body else {}
            kwargs = self._checked({**whole, **request.path_params}, len(body))
            return Call(kwargs, payload, request.path_params, body)
        if not isinstance(payload, dict):
            raise InputError(
                f"the body expects an object with {', '.join(p.name for p in self._named)}, "
                f"got a JSON {_json_type(payload)}"
            )
        kwargs = self._checked({**payload, **request.path_params}, len(body))
        return Call(kwargs, payload, request.path_params, body)

    def from_payload(self, payload: Any, path_params: Mapping[str, Any]) -> Call:
        """Return the call for the payload and path parameters of an earlier one."""
        if self.request is not None:
            body = b"" if payload is None else codec.dumps(payload)
            return self.from_request(Request(body, path_params=path_params))
        arguments = dict(path_params)
        if self.whole is not None and payload is not None:
            arguments[self.whole] = payload
        elif self.whole is None and isinstance(payload, Mapping):
            arguments.update(payload)
        return Call(self._checked(arguments), payload, dict(path_params))

    def _checked(self, arguments: Mapping[str, Any], size: int = 0) -> dict[str, Any]:
        """Return the arguments converted to their types, defaults filled in."""
        checked = self._arguments.check(arguments, size)
        if self.whole is not None and type(checked[self.whole]) is dict:
            checked[self.whole] = Body(checked[self.whole])
        return checked


def _takes_whole(hint: Any) -> bool:
    """Return whether a single parameter of this type takes the whole JSON value."""
    if hint is Any:
        return True
    kind = getattr(hint, "__origin__", hint)
    return isinstance(kind, type) and issubclass(kind, Mapping | BaseModel)


def _json_type(value: Any) -> str:
    names: dict[type, str] = {list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
