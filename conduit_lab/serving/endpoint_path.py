"""The path of an endpoint: checked when it is registered, so that a wrong one stops no server."""

from __future__ import annotations

import inspect
import re
from typing import Any

from conduit_lab.core.errors import EndpointError
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.serving.endpoint import Endpoint

RESERVED_PATHS = ("/healthz", "/readyz", "/metrics", "/v1/info", "/docs", "/openapi.json")

_PARAMETER = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_path(endpoint: Endpoint[..., Any]) -> None:
    """Raise `EndpointError` for a path that no route can have, or whose parameters do not fit.

    `RESERVED_PATHS` paths are the server's own. Each parameter of the path is a parameter of the
    function, unless that takes the request.
    """
    path, name = endpoint.path, endpoint.name
    if not path.startswith("/"):
        raise EndpointError(f"an endpoint's path expects a '/' first, got {path!r}")
    if path in RESERVED_PATHS:
        raise EndpointError(f"{path} is the server's own path: choose another one for {name}()")
    seen: list[str] = []
    for inside in _PARAMETER.findall(path):
        parameter, _, convertor = inside.partition(":")
        if not _NAME.fullmatch(parameter):
            raise EndpointError(
                f"{path}: a parameter of a path expects a name, such as {{id}} or {{id:int}}, "
                f"got {{{inside}}}"
            )
        if ":" in inside:
            _check_convertor(path, convertor)
        if parameter in seen:
            raise EndpointError(f"{path} has the parameter {parameter!r} twice")
        seen.append(parameter)
    if set(_PARAMETER.sub("", path)) & set("{}"):
        raise EndpointError(f"{path}: a brace without its other half: a parameter is {{name}}")
    known = list(inspect.signature(endpoint).parameters)
    for parameter in seen:
        if parameter not in known and endpoint.signature.request is None:
            raise EndpointError(
                f"{path}: {name}{endpoint.signature} has no parameter {parameter!r}"
                f"{did_you_mean(parameter, known)} Add it to the function, or take it off the path"
            )


def _check_convertor(path: str, convertor: str) -> None:
    from starlette.convertors import CONVERTOR_TYPES

    if convertor not in CONVERTOR_TYPES:
        raise EndpointError(
            f"{path}: no type {convertor!r} of a path's parameter; there are "
            f"{', '.join(CONVERTOR_TYPES)}{did_you_mean(convertor, CONVERTOR_TYPES)}"
        )
