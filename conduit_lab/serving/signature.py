"""Signature: the contract of a function, which binds requests and calls to its arguments."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from conduit_lab.core.errors import EndpointError, InputError
from conduit_lab.core.materialize import materialize
from conduit_lab.serving import codec
from conduit_lab.serving.arguments import arguments_of
from conduit_lab.serving.array_shape import ArrayType, array_type, takes_array
from conduit_lab.serving.call import Call
from conduit_lab.serving.file import is_of_file
from conduit_lab.serving.pydantic_models import is_model_type
from conduit_lab.serving.request import Body, Request, read_query
from conduit_lab.serving.text_values import TextReader, alternatives

if TYPE_CHECKING:
    from starlette.types import Scope

_JSON_VALUES = (str, int, float, list, dict, type(None))


class Parameter(NamedTuple):
    """One parameter of an endpoint: its JSON Schema, and its place in a request.

    `place` is "path", "query", "body" (a key of the JSON object) or "whole" (the entire body).
    `texts` is its encoding in a query: "text", "list" (repeated, one item each) or "json".
    """

    name: str
    place: str
    required: bool
    schema: dict[str, Any]
    texts: str


class Signature:
    """Binds requests and calls to the arguments of a function.

    A parameter named or typed `request` takes the request. A single other parameter that is
    untyped, or typed as a mapping, model, dataclass or Any, takes the whole JSON body. Any other
    parameter is taken by name from the JSON object, the query (for GET) or the path, and validated
    against its type. `types` maps typed parameters to their types. `answer` is the type of the
    answer, if it differs from the function's return type.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        path: str,
        method: str = "POST",
        *,
        name: str | None = None,
        answer: Any = ...,
    ) -> None:
        name = name or function.__name__
        try:
            self._signature = inspect.signature(function)
        except ValueError as error:  # of some builtin types
            raise EndpointError(f"{name} has no signature: call it in a function") from error
        try:
            hints = get_type_hints(function, include_extras=True)
        except NameError as error:
            raise EndpointError(
                f"a type of {name}{self._signature} cannot be resolved ({error}): "
                "import it in the module that defines the function"
            ) from error
        self.types = hints
        self._answer = hints.get("return", Any) if answer is ... else answer
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
        self._free = frozenset(p.name for p in free)
        self._in_query = method == "GET"
        named = method in ("GET", "TOOL")
        whole = len(free) == 1 and not named and _takes_whole(hints.get(free[0].name, Any))
        self.whole = free[0].name if whole else None
        defaults = {p.name: ... if p.default is p.empty else p.default for p in self._named}
        fields = {name: (hints.get(name, Any), default) for name, default in defaults.items()}
        self._arguments = arguments_of(name, fields)
        # the only parameter, if it accepts any JSON value: nothing to validate
        any_fits = len(parameters) == 1 and hints.get(parameters[0].name, Any) is Any
        self._only = self.whole if any_fits else None

    @property
    def required(self) -> list[str]:
        """The parameters without a default, except the request."""
        return [p.name for p in self._named if p.default is p.empty]

    @functools.cached_property
    def takes_body(self) -> bool:
        """Whether a request must have a body."""
        return any(p.default is p.empty for p in self._named if p.name not in self._in_path)

    @functools.cached_property
    def may_have_body(self) -> bool:
        """Whether a request may have arguments in its body."""
        return any(p.name not in self._in_path for p in self._named)

    @functools.cached_property
    def arrays(self) -> dict[str, ArrayType]:
        """The types of its numeric array parameters in a JSON body, by name.

        Empty if it takes the request: the other parameters then come from the query.
        """
        in_body = self._free if self.request is None else ()
        found = {name: array_type(self.types.get(name)) for name in in_body}
        return {
            name: kind
            for name, kind in found.items()
            if kind is not None and kind.dtype.kind != "b"
        }

    @functools.cached_property
    def takes_files(self) -> bool:
        """Whether a parameter is or contains a file."""
        return is_of_file(self.schema())

    @functools.cached_property
    def takes_array(self) -> bool:
        """Whether a body may be one array, the value of its only parameter."""
        if self.request is not None or self._in_query or len(self._free) != 1:
            return False
        return all(takes_array(self.types.get(name, Any)) for name in self._free)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of its arguments, an object without the request."""
        return self._arguments.schema()

    def answer_schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of its answer; for a stream, that of a chunk.

        None if the return type does not determine one.
        """
        from conduit_lab.serving.answer_schema import answer_schema  # loads pydantic

        return answer_schema(self._answer)

    @functools.cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its parameters in the function's order, without the request."""
        schema = self.schema()
        places = dict.fromkeys(self._in_path, "path")
        other = "query" if self._in_query or self.request is not None else "body"
        return tuple(
            Parameter(
                p.name,
                "whole" if p.name == self.whole else places.get(p.name, other),
                p.default is p.empty,
                schema["properties"][p.name],
                "json" if p.name == self.whole else self._readers[p.name].style,
            )
            for p in self._named
        )

    @functools.cached_property
    def _readers(self) -> dict[str, TextReader]:
        schema = self.schema()
        definitions = schema.get("$defs", {})
        fields = dict(schema.get("properties", {}))
        if self.whole is not None:
            for each in alternatives(fields.pop(self.whole), definitions):
                fields = {**each.get("properties", {}), **fields}
        return {name: TextReader(each, definitions) for name, each in fields.items()}

    def __str__(self) -> str:
        return str(self._signature)

    def from_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Bind Python arguments; raise `InputError` if they do not match."""
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
        arguments = materialize(bound.arguments)  # read twice: by the call and by its recording
        return self._call_of(self._checked(arguments), arguments)

    def from_fields(
        self, fields: Mapping[str, Any], size: int, path_params: Mapping[str, Any] | None = None
    ) -> Call:
        """Bind JSON values by parameter name; those of the path may be among them.

        A handler of the request gets the fields as its JSON body. `size` is their size in bytes.
        """
        if self.request is not None:
            return self.from_call((fields,), {})
        arguments = {**fields, **self._of_path(path_params or {})}
        return self._call_of(self._of_json(arguments, size), arguments)

    def _call_of(self, kwargs: dict[str, Any], arguments: Mapping[str, Any]) -> Call:
        """Return the call of converted `kwargs`, given as `arguments`."""
        payload = {name: value for name, value in arguments.items() if name not in self._in_path}
        path_params = {name: arguments[name] for name in self._in_path if name in arguments}
        return Call(kwargs, payload if self.whole is None else payload.get(self.whole), path_params)

    def from_http(self, scope: Scope, body: bytes) -> Call:
        """Bind an ASGI scope and its JSON body; raise `InputError` if they do not match.

        A GET without a body takes its arguments from the query.
        """
        if body and self._only is not None:
            payload = codec.loads(body)
            argument = Body(payload) if type(payload) is dict else payload
            return Call({self._only: argument}, payload, {}, body)
        if self.request is not None:
            if not body and scope.get("method") == "GET" and not self._in_query:
                texts = _by_name(scope.get("query_string", b""))  # the fields of the JSON body
                body = codec.dumps(self._of_texts(texts)) if texts else b""
            return self.from_request(Request.from_scope(scope, body))
        path_params = scope.get("path_params") or {}
        if not body and scope.get("method") == "GET":
            return self.from_query(scope.get("query_string", b""), path_params)
        return self.from_value(codec.loads(body) if body else {}, path_params, body)

    def from_request(self, request: Request) -> Call:
        """Bind a request; raise `InputError` if it does not match."""
        body = request.body
        if self.request is not None:
            payload = codec.loads(body) if body else None
            texts = {name: [text] for name, text in request.query.items()}
            arguments = self._of_texts(texts) | self._of_path(request.path_params)
            checked = self._arguments.check_json(arguments) if self._named else {}
            return Call({self.request: request, **checked}, payload, request.path_params, body)
        if body or not self._in_query:
            value = codec.loads(body) if body else {}
            return self.from_value(value, request.path_params, body)
        return self._from_texts(
            {name: [text] for name, text in request.query.items()}, request.path_params
        )

    def from_query(self, query: bytes, path_params: Mapping[str, Any]) -> Call:
        """Bind the query of a GET; a repeated key becomes a list."""
        return self._from_texts(_by_name(query), path_params)

    def from_form(self, fields: Mapping[str, Any], path_params: Mapping[str, Any]) -> Call:
        """Bind the fields of a form: each a string, a `File`, or a list of them."""
        texts: dict[str, list[Any]] = {
            name: value if isinstance(value, list) else [value] for name, value in fields.items()
        }
        return self._from_texts(texts, path_params)

    def from_value(
        self, value: Any, path_params: Mapping[str, Any] | None = None, body: bytes = b""
    ) -> Call:
        """Bind the decoded value of a body; `body` is its JSON text, if any.

        A value that does not come from JSON, such as an array, is passed to the only parameter.
        """
        params = self._of_path(path_params) if path_params else {}
        if not self._named:
            return Call({}, None, params)
        if self.whole is not None:
            whole = {self.whole: value} if body or type(value) is not dict or value else {}
            return Call(self._of_json({**whole, **params}, len(body)), value, params, body)
        if not isinstance(value, dict):
            if len(self._free) == 1 and not isinstance(value, _JSON_VALUES):
                value = dict.fromkeys(self._free, value)
            else:
                raise InputError(
                    f"the body expects an object with {', '.join(p.name for p in self._named)}, "
                    f"got {codec.json_type(value)}"
                )
        return Call(self._of_json({**value, **params}, len(body)), value, params, body)

    def _from_texts(self, texts: Mapping[str, list[Any]], path_params: Mapping[str, Any]) -> Call:
        payload, params = self._of_texts(texts), self._of_path(path_params)
        if self.whole is not None:  # an object, such as a model, whose fields are in the query
            whole = {self.whole: payload} if payload else {}
            return Call(self._of_json({**whole, **params}), payload, params)
        return Call(self._of_json({**payload, **params}), payload, params)

    def _of_texts(self, texts: Mapping[str, list[Any]]) -> dict[str, Any]:
        """Parse strings to JSON values; keep those of unknown names, which an error will list."""
        readers = self._readers
        return {
            name: readers[name].read(each)
            if name in readers
            else (each[0] if len(each) == 1 else each)
            for name, each in texts.items()
        }

    def _of_path(self, path_params: Mapping[str, Any]) -> dict[str, Any]:
        """Parse path parameters to JSON values, unless their convertors already did."""
        return {
            name: self._readers[name].read([value])
            if isinstance(value, str) and name in self._readers
            else value
            if isinstance(value, str | int | float)
            else str(value)
            for name, value in path_params.items()
        }

    def from_payload(self, payload: Any, path_params: Mapping[str, Any]) -> Call:
        """Bind the payload and path parameters of an earlier call."""
        if self.request is not None:
            body = b"" if payload is None else codec.dumps(payload)
            return self.from_request(Request(body, path_params=path_params))
        arguments = dict(path_params)
        if self.whole is not None and payload is not None:
            arguments[self.whole] = payload
        elif self.whole is None and isinstance(payload, Mapping):
            arguments.update(payload)
        return Call(self._checked(arguments), payload, dict(path_params))

    def _checked(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return Python arguments converted to their types, with defaults filled in."""
        return self._with_body(self._arguments.check(arguments))

    def _of_json(self, arguments: Mapping[str, Any], size: int = 0) -> dict[str, Any]:
        """Return JSON arguments converted to their types, with defaults filled in."""
        return self._with_body(self._arguments.check_json(arguments, size))

    def _with_body(self, checked: dict[str, Any]) -> dict[str, Any]:
        if self.whole is not None and type(checked[self.whole]) is dict:
            checked[self.whole] = Body(checked[self.whole])
        return checked


def _takes_whole(hint: Any) -> bool:
    """Return whether a single parameter of this type takes the whole JSON value."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if hint is Any:
        return True
    kind = get_origin(hint) or hint
    return isinstance(kind, type) and (
        issubclass(kind, Mapping) or dataclasses.is_dataclass(kind) or is_model_type(kind)
    )


def _by_name(query: bytes) -> dict[str, list[str]]:
    """Return the values of a query by name."""
    texts: dict[str, list[str]] = {}
    if not query:
        return texts
    for name, text in read_query(query):
        texts.setdefault(name, []).append(text)
    return texts
