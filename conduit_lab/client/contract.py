"""Contract: one endpoint of a served app, as described by its OpenAPI document."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any
from urllib.parse import quote

from conduit_lab.client.json_types import python_type, resolved
from conduit_lab.client.request_body import JSON_CONTENT_TYPE, RequestBody, array_body, json_body
from conduit_lab.core.errors import InputError
from conduit_lab.core.npy import NPY_TYPE, has_npy_form

_EXTENSION = "x-conduit-endpoint"
_REQUEST = "request"  # the parameter name for a body without a known structure


@dataclass(frozen=True)
class RequestParts:
    """The parts of one request: its path, its query, and its body, if it has one."""

    path: str
    query: Mapping[str, Any]
    body: RequestBody | None


@dataclass(frozen=True)
class Contract:
    """The name, path and Python signature of an endpoint.

    `in_path` and `in_query` name the parameters outside the body; query parameters in `as_json` are
    sent as JSON. The parameter `whole` is the entire body. If the endpoint `reads_arrays`, the only
    argument in its body may be sent as an array. A stream can be resumed for `resume` seconds.
    """

    name: str
    path: str
    method: str
    shape: str
    doc: str
    signature: inspect.Signature
    in_path: frozenset[str]
    in_query: frozenset[str]
    as_json: frozenset[str]
    whole: str | None
    reads_arrays: bool
    resume: float | None

    def message(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RequestParts:
        """Return the request of a call; raise `InputError` if the arguments do not match."""
        try:
            given = dict(self.signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise InputError(f"{self.name} expected {self.signature}: {error}") from error
        path = self.path
        for name in self.in_path:
            value = str(given.pop(name))
            if value in ("", ".", ".."):  # path segments that proxies resolve
                raise InputError(f"{self.name}: {name} expects a part of a path, got {value!r}")
            path = path.replace("{" + name + "}", quote(value, safe=""))
        query = {name: given.pop(name) for name in self.in_query & given.keys()}
        for name in self.as_json & query.keys():
            query[name] = json_body(query[name], self.name).content.decode()
        return RequestParts(path, query, self._body(given) if given else None)

    def _body(self, given: dict[str, Any]) -> RequestBody:
        """Return the body with these arguments."""
        first = next(iter(given.values()))
        if self.reads_arrays and len(given) == 1 and has_npy_form(first):
            return array_body(first)
        return json_body(given if self.whole is None else first, self.name)


def read_contracts(document: Mapping[str, Any]) -> Iterator[Contract]:
    """Yield the endpoints in an OpenAPI document; skip other operations."""
    for path, operations in _mapping(document.get("paths")).items():
        for method, operation in _mapping(operations).items():
            extension = _mapping(_mapping(operation).get(_EXTENSION))
            named = isinstance(extension.get("name"), str)
            if named and str(extension.get("method", "")).upper() == method.upper():
                yield _contract(str(path), operation, extension, document)


def _contract(
    path: str,
    operation: Mapping[str, Any],
    extension: Mapping[str, Any],
    document: Mapping[str, Any],
) -> Contract:
    places: dict[str, set[str]] = {"path": set(), "query": set()}
    parameters: dict[str, Parameter] = {}
    as_json: set[str] = set()
    for each in operation.get("parameters") or ():
        found = resolved(each, document)
        if found.get("in") in places:
            name = str(found["name"])
            places[found["in"]].add(name)
            schema = _json_schema(found, document) if "content" in found else found.get("schema")
            as_json |= {name} if "content" in found else set()
            parameters[name] = _parameter(name, schema, bool(found.get("required")), document)
    whole, in_body = _body(operation, extension, document)
    parameters |= in_body
    resume = extension.get("resume")
    answer = _json_schema(_mapping(operation.get("responses")).get("200"), document)
    gives = python_type(answer, document)
    ordered = _ordered(list(parameters.values()), extension.get("parameters"))
    return Contract(
        extension["name"],
        path,
        str(extension["method"]).upper(),
        str(extension.get("shape", "value")),
        "\n\n".join(
            text for key in ("summary", "description") if (text := str(operation.get(key) or ""))
        ),
        inspect.Signature(
            ordered, return_annotation=inspect.Signature.empty if gives is Any else gives
        ),
        frozenset(places["path"]),
        frozenset(places["query"]),
        frozenset(as_json),
        whole,
        NPY_TYPE in _content(operation.get("requestBody"), document),
        float(resume) if isinstance(resume, int | float) else None,
    )


def _body(
    operation: Mapping[str, Any], extension: Mapping[str, Any], document: Mapping[str, Any]
) -> tuple[str | None, dict[str, Parameter]]:
    """Return the name of the parameter that is the whole body, or None, and the parameters."""
    body = resolved(operation.get("requestBody"), document)
    if not body:
        return None, {}
    schema = _json_schema(body, document)
    fields, whole = resolved(schema, document).get("properties"), extension.get("whole")
    if not isinstance(whole, str) and isinstance(fields, dict):
        required = resolved(schema, document).get("required") or ()
        return None, {
            name: _parameter(name, field, name in required, document)
            for name, field in fields.items()
        }
    name = whole if isinstance(whole, str) else _REQUEST
    return name, {name: _parameter(name, schema, bool(body.get("required")), document)}


def _parameter(name: str, schema: Any, required: bool, document: Mapping[str, Any]) -> Parameter:
    found = schema if isinstance(schema, dict) else {}
    kind = python_type(found, document)
    return Parameter(
        name,
        Parameter.POSITIONAL_OR_KEYWORD,
        default=Parameter.empty if required else found.get("default"),
        annotation=Parameter.empty if kind is Any else kind,
    )


def _ordered(parameters: list[Parameter], order: Any) -> list[Parameter]:
    """Order parameters as in the function; required ones after a default are keyword-only."""
    if isinstance(order, list):
        place = {name: number for number, name in enumerate(order)}
        parameters.sort(key=lambda each: place.get(each.name, len(place)))
    ordered, by_keyword = [], False
    seen_default = False
    for each in parameters:
        seen_default = seen_default or each.default is not each.empty
        by_keyword = by_keyword or (seen_default and each.default is each.empty)
        ordered.append(each.replace(kind=Parameter.KEYWORD_ONLY) if by_keyword else each)
    return ordered


def _json_schema(holder: Any, document: Mapping[str, Any]) -> Any:
    """Return the JSON content schema of a request body or response."""
    return _mapping(_content(holder, document).get(JSON_CONTENT_TYPE)).get("schema")


def _content(holder: Any, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the content of a request body or response by media type."""
    return _mapping(resolved(holder, document).get("content"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
