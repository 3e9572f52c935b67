"""The Open Inference Protocol, version 2: the app's models for clients such as tritonclient.

https://github.com/kserve/open-inference-protocol, with Triton's extensions for binary tensors and
classification. A model's inputs and outputs are those of its graph; see `inference_model.py` for
labels. Models cannot be loaded, unloaded or uploaded over HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.routing import BaseRoute, Route

from conduit_lab.core.errors import InputError, UnknownName
from conduit_lab.core.text import clip
from conduit_lab.core.version import __version__
from conduit_lab.serving import codec
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.binding import INLINE_BODY_BYTES
from conduit_lab.serving.faces.exchange import Exchange, Handler, protocol_route
from conduit_lab.serving.faces.inference_model import (
    VERSION,
    InferenceModel,
    Outputs,
    inference_model,
)
from conduit_lab.serving.faces.inference_request import InferenceRequest, Requested, read_request
from conduit_lab.serving.faces.inference_tensors import (
    DATATYPES,
    classified,
    datatype_of,
    tensor_shape,
    to_binary,
)

EXTENSIONS = ("binary_tensor_data", "classification")
_LENGTH_HEADER = b"inference-header-content-length"
_ANY_METHOD = ("DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")


def routes(app: EndpointHost) -> list[BaseRoute]:
    """Return the protocol's routes; `/v2/models/…` names a model of `app.models`."""
    found: list[Route] = []

    def add(path: str, handler: Handler, *methods: str) -> None:
        found.append(
            protocol_route(
                app, "inference", path, handler, methods=methods, error_body=inference_error
            )
        )

    add("/v2", _server, "GET")
    add("/v2/health/live", _live, "GET")
    add("/v2/health/ready", _ready, "GET")
    for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        add(model, _metadata, "GET")
        add(f"{model}/ready", _model_ready, "GET")
        add(f"{model}/infer", _infer, "POST")
    known = tuple(found)
    for room in ("/v2/health", "/v2/models"):
        add(f"{room}/{{rest:path}}", partial(_unknown, known, room), *_ANY_METHOD)
    return list(found)


def inference_error(error: HttpError, request_id: str) -> bytes:
    """Return the body of an error response."""
    return json.dumps({"error": error.message}).encode()


async def _unknown(known: Sequence[Route], room: str, exchange: Exchange) -> None:
    """Answer unknown routes with 404 or 405 in the protocol's error format."""
    path = f"{room}/{exchange.path['rest']}"
    methods = {
        method for route in known if route.path_regex.match(path) for method in route.methods or ()
    }
    if methods:
        allowed = ", ".join(sorted(methods))
        message = f"this path does not support {exchange.method}: use {allowed}"
        raise HttpError(405, "method_not_allowed", message, {"allow": allowed})
    raise HttpError(404, "not_found", f"nothing is served at this path below {room}")


async def _server(exchange: Exchange) -> None:
    await exchange.send(
        {"name": exchange.app.name, "version": __version__, "extensions": EXTENSIONS}
    )


async def _live(exchange: Exchange) -> None:
    await exchange.send({"live": True})


async def _ready(exchange: Exchange) -> None:
    ready = exchange.context.server.ready
    await exchange.send({"ready": ready}, 200 if ready else 503)


async def _model_ready(exchange: Exchange) -> None:
    model = await _model(exchange)
    ready = exchange.context.server.ready
    await exchange.send({"name": model.model.name, "ready": ready}, 200 if ready else 503)


async def _metadata(exchange: Exchange) -> None:
    model = await _model(exchange)
    inputs, outputs = (
        [
            {
                "name": spec.name,
                "datatype": DATATYPES[spec.dtype],
                "shape": tensor_shape(spec) if spec.ranked else [-1],
            }
            for spec in specs
        ]
        for specs in (model.inputs, model.outputs)
    )
    facts: dict[str, Any] = {
        "name": model.model.name,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx" if model.model.path.suffix != ".npz" else "numpy",
        "inputs": inputs,
        "outputs": outputs,
    }
    if model.labels:
        facts["parameters"] = {"labels": list(model.labels)}
    await exchange.send(facts)


async def _infer(exchange: Exchange) -> None:
    model = await _model(exchange)
    body, headers = await exchange.body(), exchange.headers
    limit = exchange.app.limits.body_bytes
    read = (body, headers, model, limit)
    if len(body) > INLINE_BODY_BYTES or "content-encoding" in headers:
        request = await exchange.hop(read_request, *read)
    else:
        request = read_request(*read)
    outputs = await exchange.wait(model.infer(request.arrays))
    answered = _Answered(model, request, outputs)
    if sum(array.nbytes for array in outputs.arrays.values()) > INLINE_BODY_BYTES:
        parts = await exchange.hop(answered.parts)
    else:
        parts = answered.parts()
    await _send(exchange, parts)


async def _model(exchange: Exchange) -> InferenceModel:
    """Return the model named in the path; 404 for an unknown model or version."""
    name, version = exchange.path["model"], exchange.path.get("version", VERSION)
    try:
        model = exchange.app.models[str(name)]
    except UnknownName:
        shown = clip(str(name), 100)
        raise HttpError(404, "model_not_found", f"this server has no model {shown!r}") from None
    if version != VERSION:
        raise HttpError(404, "version_not_found", f"model {name!r} has no version but {VERSION}")
    if getattr(model, "takes", None) is None:  # not open yet
        await exchange.hop(model.open)
    return inference_model(model)


@dataclass(frozen=True, slots=True)
class _Answered:
    """The outputs of one request, serialized by `parts`."""

    model: InferenceModel
    request: InferenceRequest
    outputs: Outputs

    def parts(self) -> list[bytes | memoryview]:
        """Return the response JSON, followed by the data of each binary output."""
        requested = self.request.outputs or [
            Requested(spec.name, self.request.binary)
            for spec in self.model.outputs
            if spec.name in self.outputs.arrays
        ]
        data: list[bytes | memoryview] = []
        written = [self._output(each, data) for each in requested]
        answer: dict[str, Any] = {"model_name": self.model.model.name, "model_version": VERSION}
        if self.request.id:
            answer["id"] = self.request.id
        return [codec.dumps({**answer, "outputs": written}), *data]

    def _output(self, requested: Requested, data: list[bytes | memoryview]) -> dict[str, Any]:
        if requested.name not in self.outputs.arrays:
            raise InputError(f"the model returned no output {requested.name!r} for this input")
        array = self.outputs.arrays[requested.name]
        if requested.classes:
            array = classified(array, requested.classes, self.outputs.labels)
        output: dict[str, Any] = {
            "name": requested.name,
            "datatype": datatype_of(array),
            "shape": list(array.shape),
        }
        if requested.binary:
            data.append(to_binary(array))
            output["parameters"] = {"binary_data_size": len(data[-1])}
        else:
            output["data"] = array.ravel()
        return output


async def _send(exchange: Exchange, parts: Sequence[bytes | memoryview]) -> None:
    """Send the JSON, then each output without copying it."""
    is_binary = len(parts) > 1
    kind = b"application/octet-stream" if is_binary else b"application/json"
    length = b"%d" % sum(map(len, parts))
    every = [(b"content-type", kind), (b"content-length", length), *exchange.fallback_headers()]
    if is_binary:
        every.append((_LENGTH_HEADER, b"%d" % len(parts[0])))
    send = exchange.context.send
    await send({"type": "http.response.start", "status": 200, "headers": every})
    for number, part in enumerate(parts, 1):
        more = number < len(parts)
        await send({"type": "http.response.body", "body": part, "more_body": more})
