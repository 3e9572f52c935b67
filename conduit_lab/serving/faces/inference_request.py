"""The body of an inference request: JSON, followed by binary tensor data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import Array
from conduit_lab.core.text import clip
from conduit_lab.core.views import figures
from conduit_lab.serving import codec
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.inference_model import InferenceModel
from conduit_lab.serving.faces.inference_tensors import check_tensor, from_binary, from_json
from conduit_lab.serving.gate.inflate import inflate

MAX_ID_CHARACTERS = 1024
MAX_CLASSES = 1000
_LENGTH_HEADER = "inference-header-content-length"
_BODY_TYPES = ("application/json", "application/octet-stream")


@dataclass(frozen=True, slots=True)
class Requested:
    """One requested output; if `classes` is above 0, the best classes of each row."""

    name: str
    binary: bool = False
    classes: int = 0


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """One request: arrays by input name, and requested `outputs`; empty for all of them."""

    id: str
    arrays: dict[str, Array]
    outputs: list[Requested] = field(default_factory=list)
    binary: bool = False


def read_request(
    body: bytes, headers: Headers, model: InferenceModel, limit: int
) -> InferenceRequest:
    """Parse a request body of at most `limit` bytes after decompression.

    Raises `InputError` for a tensor that does not fit the model, and `HttpError` 413 or 415.
    """
    _check_type(headers)
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        body = inflate(body, encoding, limit)
    view = memoryview(body)
    length = _json_length(headers, len(body))
    request = codec.loads(body[:length])
    if not isinstance(request, dict):
        raise InputError("the body expects a JSON object with inputs")
    identity = request.get("id", "")
    if not isinstance(identity, str) or len(identity) > MAX_ID_CHARACTERS:
        raise InputError(f"id expects a string of at most {MAX_ID_CHARACTERS} characters")
    parameters = _parameters(request, "the request")
    return InferenceRequest(
        identity,
        _arrays(request.get("inputs"), view[length:], model),
        _outputs(request.get("outputs"), model),
        _flag(parameters, "binary_data_output"),
    )


def _check_type(headers: Headers) -> None:
    """Reject a body that pages of other sites could send without a preflight.

    tritonclient sends no content type; a browser without one still sends its origin.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _BODY_TYPES or (not kind and "origin" not in headers):
        return
    raise HttpError(
        415,
        "unsupported_media_type",
        f"the body is declared as {clip(kind, 80) or 'nothing'}: send {' or '.join(_BODY_TYPES)}",
    )


def _json_length(headers: Headers, size: int) -> int:
    """Return the length of the JSON at the start of a body of `size` bytes."""
    given = headers.get(_LENGTH_HEADER)
    if given is None:
        return size
    if not (given.isascii() and given.isdigit() and len(given) < 20 and int(given) <= size):
        raise InputError(
            f"{_LENGTH_HEADER} expects the length of the JSON, at most the {size} bytes of the "
            f"body, got {clip(given, 40)!r}"
        )
    return int(given)


def _arrays(given: Any, data: memoryview, model: InferenceModel) -> dict[str, Array]:
    """Return the array of every input; `data` is the binary data of all, in order."""
    specs = {spec.name: spec for spec in model.inputs}
    expected = f"model {model.model.name!r} expects the inputs {', '.join(specs)}"
    if not isinstance(given, list) or len(given) != len(specs):
        got = len(given) if isinstance(given, list) else "no list of inputs"
        raise InputError(f"{expected}; got {got}")
    arrays: dict[str, Array] = {}
    for tensor in given:
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str) or name not in specs or name in arrays:
            again = " twice" if isinstance(name, str) and name in arrays else ""
            raise InputError(f"{expected}; got {clip(repr(name), 80)}{again}")
        shape = check_tensor(specs[name], tensor)
        size = _parameters(tensor, f"input {name!r}").get("binary_data_size")
        if size is None:
            arrays[name] = from_json(specs[name], shape, tensor.get("data"))
            continue
        if type(size) is not int or not 0 <= size <= len(data) or "data" in tensor:
            raise InputError(
                f"input {name!r} expects binary_data_size as a number of the bytes after the JSON, "
                f"whose length is in the header {_LENGTH_HEADER}, and no data beside it"
            )
        arrays[name] = from_binary(specs[name], shape, data[:size])
        data = data[size:]
    if len(data):
        more = figures.plural(len(data), "byte")
        raise InputError(f"the body has {more} after the binary data of the last input")
    return arrays


def _outputs(given: Any, model: InferenceModel) -> list[Requested]:
    """Return the requested outputs, each of them a model output, without duplicates."""
    if given is None:
        return []
    names = [spec.name for spec in model.outputs]
    expected = f"model {model.model.name!r} gives the outputs {', '.join(names)}"
    if not isinstance(given, list):
        raise InputError(f"{expected}; requested no list of outputs")
    requested: dict[str, Requested] = {}
    for output in given:  # stops at the first unknown or repeated one
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in names or name in requested:
            again = " twice" if isinstance(name, str) and name in requested else ""
            raise InputError(f"{expected}; requested {clip(repr(name), 80)}{again}")
        parameters = _parameters(output, f"output {name!r}")
        classes = parameters.get("classification", 0)
        if type(classes) is not int or not 0 <= classes <= MAX_CLASSES:
            raise InputError(
                f"output {name!r} expects classification as a number up to {MAX_CLASSES}"
            )
        requested[name] = Requested(name, _flag(parameters, "binary_data"), classes)
    return list(requested.values())


def _parameters(holder: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InputError(f"{where} expects its parameters as an object")
    if "shared_memory_region" in parameters:
        raise InputError(f"{where} asks for shared memory, which this server does not use")
    return parameters


def _flag(parameters: dict[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if type(value) is not bool:
        raise InputError(f"{name} expects true or false")
    return value
