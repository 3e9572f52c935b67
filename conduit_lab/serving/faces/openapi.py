"""The OpenAPI 3.1 document of an app, at /openapi.json."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import anyio.to_thread
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from conduit_lab.core.npy import NPY_TYPE
from conduit_lab.core.version import __version__
from conduit_lab.serving import codec
from conduit_lab.serving.answer import send_json
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.faces.array_answer import array_types
from conduit_lab.serving.file import FORM_TYPE, OCTETS, is_of_file
from conduit_lab.serving.gate.body import BODY_TYPES
from conduit_lab.serving.gate.context import context_of
from conduit_lab.serving.gate.origins import page
from conduit_lab.serving.gate.tenants import visible_endpoints
from conduit_lab.serving.signature import Parameter

OPENAPI_PATH = "/openapi.json"
MAX_DOCUMENT_EXAMPLES = 5  # per endpoint, newest first
MAX_EXAMPLE_CHARACTERS = 4000  # of a request; longer ones are left out

_MAX_SUMMARY_CHARACTERS = 60
_MAX_DOCUMENTS = 8  # cached
_CONVERTOR = re.compile(r"\{(\w+)(?::\w+)?\}")
_VALUE_KEYWORDS = frozenset({"default", "const", "enum", "examples"})
_SCHEMAS = "#/components/schemas/"
_ERROR_ANSWERS = {code: {"$ref": "#/components/responses/Error"} for code in ("4XX", "5XX")}
_ERROR = {
    "type": "object",
    "description": "An error. Look up its request ID in the server's log.",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "status": {"type": "integer"},
                "type": {"type": "string", "description": "A short name for programs to test."},
                "message": {"type": "string"},
                "hint": {"type": "string", "description": "The next step."},
                "request_id": {"type": "string"},
            },
            "required": ["status", "type", "message", "request_id"],
        }
    },
    "required": ["error"],
}
_STREAM_NOTICE = {
    "type": "object",
    "description": "The data of an `error` event (type, message), which ends a failed stream, of a "
    "`lagged` event (missed, resume_at), which reports dropped chunks, or of `end` (chunks).",
    "properties": {
        "type": {"type": "string"},
        "message": {"type": "string"},
        "missed": {"type": "integer"},
        "resume_at": {"type": "integer"},
        "chunks": {"type": "integer"},
    },
}


def routes(app: EndpointHost, endpoints: Sequence[Endpoint[..., Any]]) -> list[Route]:
    """Return the route of the document; `endpoints` is unused, since they depend on the caller."""
    return [page(Route(OPENAPI_PATH, _OpenApiFace(app), methods=["GET"]))]


class _OpenApiFace:
    """An ASGI app that serves the document, cached per tenant.

    For an app that records calls it is built per request, to include the newest.
    """

    def __init__(self, app: EndpointHost) -> None:
        self._app = app
        self._made: dict[tuple[str, str | None], bytes] = {}  # by mount prefix and tenant

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        prefix = scope.get("root_path", "")
        key = prefix, None if context.caller is None else context.caller.tenant
        body = self._made.get(key)
        if body is None:
            shown = visible_endpoints(context)
            # on a thread, since it may wait for calls being recorded
            body = await anyio.to_thread.run_sync(self._document, shown, prefix)
            if not self._app.records and len(self._made) < _MAX_DOCUMENTS:
                self._made[key] = body
        await send_json(send, 200, body)

    def _document(self, endpoints: Sequence[Endpoint[..., Any]], prefix: str) -> bytes:
        return codec.dumps(openapi(self._app, endpoints, prefix=prefix))


def openapi(
    app: EndpointHost, endpoints: Sequence[Endpoint[..., Any]], *, prefix: str = ""
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of an app's endpoints, served below `prefix`.

    Each operation has `x-conduit-endpoint`: the name, shape and main method of its endpoint, the
    seconds for which a stream can be resumed, the parameters in order, and the parameter that takes
    the whole body or the request. `x-conduit-examples` are its recorded calls.
    """
    components = _Components()
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        if endpoint.shape == "tool":  # without a path, described over MCP
            continue
        described = _DescribedEndpoint(endpoint, components, _examples(app, endpoint))
        item = paths.setdefault(_CONVERTOR.sub(r"{\1}", endpoint.path), {})
        for method in endpoint.methods:  # the first endpoint of a path and method wins
            item.setdefault(method.lower(), described.operation(method))
    _number_operations(paths)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": app.name,
            "version": __version__,
            "x-conduit-lab": {"version": __version__},
        },
        "servers": [{"url": prefix or "/"}],
        "paths": paths,
        "components": {
            "schemas": {**components.schemas, "Error": _ERROR, "StreamNotice": _STREAM_NOTICE},
            "responses": {
                "Error": {
                    "description": "The request was rejected or failed",
                    "content": _json({"$ref": f"{_SCHEMAS}Error"}),
                }
            },
        },
    }
    if getattr(app, "keys", None):
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


class _DescribedEndpoint:
    """The operations of one endpoint."""

    def __init__(
        self, endpoint: Endpoint[..., Any], components: _Components, examples: list[Any]
    ) -> None:
        self._endpoint = endpoint
        self._components = components
        self._examples = examples
        signature = endpoint.signature
        definitions = signature.schema().get("$defs", {})
        self._parameters = [
            each._replace(schema=components.hoisted(each.schema, definitions))
            for each in signature.parameters
        ]
        answer = signature.answer_schema()
        self._answer = {} if answer is None else components.hoisted(answer, answer.pop("$defs", {}))

    def operation(self, method: str) -> dict[str, Any]:
        """Return the operation of one method."""
        endpoint = self._endpoint
        doc = inspect.cleandoc(endpoint.function.__doc__ or "")
        summary, _, description = doc.partition("\n")
        is_main = method == endpoint.method
        name = re.sub(r"\W+", "_", endpoint.name, flags=re.ASCII).strip("_") or "endpoint"
        operation: dict[str, Any] = {
            "operationId": name if is_main else f"{name}_{method.lower()}",
            **({"summary": summary} if summary else {}),
            **({"description": description.strip()} if description.strip() else {}),
            "parameters": self._in_url(method),
            "responses": {"200": self._success(), **_ERROR_ANSWERS},
            "x-conduit-endpoint": {
                "name": endpoint.name,
                "shape": endpoint.shape,
                "method": endpoint.method,
                "resume": endpoint.resumes.seconds,
                "parameters": list(inspect.signature(endpoint).parameters),
                "whole": endpoint.signature.whole or endpoint.signature.request,
            },
        }
        if self._examples and is_main:
            operation["x-conduit-examples"] = self._examples
        if endpoint.resumes.seconds is not None:
            operation["responses"]["204"] = {
                "description": "The stream named in the header last-event-id has ended"
            }
        if method != "GET" and (body := self._body()):
            operation["requestBody"] = body
        return operation

    def _in_url(self, method: str) -> list[dict[str, Any]]:
        places = ("path", "query") if method != "GET" else ("path", "query", "body", "whole")
        return [_in_url(each) for each in self._parameters if each.place in places]

    def _body(self) -> dict[str, Any] | None:
        parameters = [each for each in self._parameters if each.place in ("body", "whole")]
        if self._endpoint.signature.request is not None:
            schema: dict[str, Any] = {}
        elif not parameters:
            return None
        elif parameters[0].place == "whole":
            schema = parameters[0].schema
        else:
            required = [each.name for each in parameters if each.required]
            schema = {
                "type": "object",
                "properties": {each.name: each.schema for each in parameters},
                **({"required": required} if required else {}),
                "additionalProperties": False,
            }
        content = _json(schema)
        if self._examples:
            content["application/json"]["examples"] = {
                f"recorded_{number}": {"summary": each["summary"], "value": each["arguments"]}
                for number, each in enumerate(self._examples, 1)
            }
        if self._endpoint.signature.takes_array:
            content[NPY_TYPE] = _bytes_of(NPY_TYPE)
        files = [each for each in parameters if is_of_file(each.schema)]
        if files and FORM_TYPE in BODY_TYPES:
            form = {each.name: _form_schema(each) for each in parameters}
            content[FORM_TYPE] = {"schema": {**schema, "properties": form}}
        return {"required": self._endpoint.signature.takes_body, "content": content}

    def _array_types(self) -> Sequence[str]:
        """Return the additional content types of an endpoint that answers with one array."""
        dtype = self._answer.get("x-dtype")
        gives = None if self._endpoint.then is None else self._endpoint.then.gives
        if isinstance(gives, tuple) and len(gives) == 1:
            dtype = gives[0].dtype
        return array_types(str(dtype))

    def _success(self) -> dict[str, Any]:
        if self._endpoint.shape == "value":
            content = _json(self._answer)
            for each in self._array_types():
                content[each] = _bytes_of(each)
            return {"description": "The answer", "content": content}
        chunk: dict[str, Any] = {"type": "string", "contentMediaType": "application/json"}
        if self._answer:
            chunk["contentSchema"] = {"anyOf": [self._answer, {"$ref": f"{_SCHEMAS}StreamNotice"}]}
        event = {
            "type": "object",
            "properties": {
                "data": chunk,
                "event": {"type": "string"},
                "id": {"type": "string"},
                "retry": {"type": "integer"},
            },
            "required": ["data"],
        }
        description = (
            "Server-sent events; the schema describes one event. The data is a chunk as JSON, "
            "or in an `error`, `lagged` or `end` event a notice about the stream."
        )
        return {"description": description, "content": {"text/event-stream": {"schema": event}}}


class _Components:
    """Schemas shared by reference; schemas that differ get different names."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self._sources: dict[str, Any] = {}  # the original definitions

    def hoisted(self, schema: Any, definitions: Mapping[str, Any]) -> Any:
        """Return a schema with its references pointing to the components."""
        names: dict[str, str] = {}
        for name, each in definitions.items():
            names[name] = self._free_name(name, each)
            self._sources[names[name]] = each
        for name, each in definitions.items():
            self.schemas[names[name]] = _with_references(each, names)
        return _with_references(schema, names)

    def _free_name(self, name: str, definition: Any) -> str:
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        numbered = (plain if n == 1 else f"{plain}_{n}" for n in count(1))
        return next(
            each
            for each in numbered
            if each not in ("Error", "StreamNotice")
            and self._sources.get(each, definition) == definition
        )


def _with_references(schema: Any, names: Mapping[str, str]) -> Any:
    if isinstance(schema, Mapping):
        changed = {
            key: value if key in _VALUE_KEYWORDS else _with_references(value, names)
            for key, value in schema.items()
        }
        if isinstance(reference := schema.get("$ref"), str):
            changed["$ref"] = _SCHEMAS + names[reference.removeprefix("#/$defs/")]
        return changed
    if isinstance(schema, list):
        return [_with_references(each, names) for each in schema]
    return schema


def _in_url(parameter: Parameter) -> dict[str, Any]:
    """Return a path or query parameter, which cannot be null."""
    schema = dict(parameter.schema)
    if "anyOf" in schema:
        kept = [each for each in schema["anyOf"] if each != {"type": "null"}]
        schema = {**schema, "anyOf": kept} if len(kept) > 1 else {**schema, **kept[0]}
        if len(kept) == 1:
            del schema["anyOf"]
    if schema.get("default", 0) is None:
        del schema["default"]
    in_path = parameter.place == "path"
    facts = {
        "name": parameter.name,
        "in": "path" if in_path else "query",
        "required": in_path or parameter.required,
    }
    if parameter.place == "whole":  # one query parameter per field
        return {**facts, "style": "form", "explode": True, "schema": {"type": "object", **schema}}
    if parameter.texts == "json" and not in_path:
        return {**facts, "content": _json(schema)}
    return {**facts, "schema": schema}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _bytes_of(content_type: str) -> dict[str, Any]:
    return {"schema": {"type": "string", "contentMediaType": content_type}}


def _form_schema(parameter: Parameter) -> Any:
    """Return a parameter's schema as a form part."""
    if not is_of_file(parameter.schema):
        return parameter.schema
    part = {"type": "string", "contentMediaType": OCTETS}
    if parameter.schema.get("type") == "array":
        return {"type": "array", "items": part}
    return part


def _examples(app: EndpointHost, endpoint: Endpoint[..., Any]) -> list[Any]:
    """Return the newest recorded calls of an endpoint that have a short request, newest first."""
    recorded = [each for each in getattr(app, "examples", ()) if _is_of(each, endpoint)]
    return [
        {
            "summary": codec.preview(each.payload, _MAX_SUMMARY_CHARACTERS),
            "arguments": each.payload,
            "path": each.path_params,
        }
        for each in reversed(recorded[-MAX_DOCUMENT_EXAMPLES:])
        if len(codec.dumps(each.payload)) <= MAX_EXAMPLE_CHARACTERS
    ]


def _is_of(example: Any, endpoint: Endpoint[..., Any]) -> bool:
    return (example.method, example.path) == (endpoint.method, endpoint.path)


def _number_operations(paths: Mapping[str, Any]) -> None:
    """Make operation IDs unique, since functions may share a name."""
    seen: set[str] = set()
    for item in paths.values():
        for operation in item.values():
            name = operation["operationId"]
            numbered = (name if n == 1 else f"{name}_{n}" for n in count(1))
            operation["operationId"] = next(each for each in numbered if each not in seen)
            seen.add(operation["operationId"])
