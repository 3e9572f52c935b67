"""Endpoint paths: validated on registration, so a wrong one cannot stop a server."""

from __future__ import annotations

import inspect
import re
from typing import Any

from conduit_lab.core.errors import EndpointError
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.gate.signed_links import SIGNED_PREFIX
from conduit_lab.serving.rag_endpoint import RagEndpoint

RESERVED_PATHS = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/info",
    "/v1/usage",
    "/docs",
    "/openapi.json",
)
# per protocol; a path with a trailing slash includes all paths below it
PROTOCOL_PATHS: dict[str, tuple[str, ...]] = {
    "openai": (
        "/v1/models",
        "/v1/models/",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
    ),
    "anthropic": ("/v1/messages", "/v1/messages/count_tokens"),
    "rerank": ("/v1/rerank",),
    "aisdk": ("/aisdk/",),
    "agui": ("/agui/",),
    "inference": ("/v2", "/v2/health/", "/v2/models/"),
    "mcp": ("/mcp",),
    "stores": ("/v1/stores", "/v1/stores/"),
}

_PARAMETER = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_path(endpoint: Endpoint[..., Any]) -> None:
    """Raise `EndpointError` for an invalid or reserved path, or one with wrong parameters.

    Reserved are `RESERVED_PATHS` and the paths of the protocols that the app serves. Each path
    parameter must be a parameter of the function, unless the function takes the request.
    """
    path, name = endpoint.path, endpoint.name
    if endpoint.shape == "tool":  # called over MCP only
        return
    if not path.startswith("/"):
        raise EndpointError(f"an endpoint's path must start with '/', got {path!r}")
    if path in RESERVED_PATHS:
        raise EndpointError(f"{path} is reserved by the server: choose another path for {name}()")
    for protocol in endpoint.app.spoken:
        if _is_of(path, PROTOCOL_PATHS[protocol]):
            raise EndpointError(
                f"{path} of {name}() is reserved by the protocol {protocol!r} of this app: "
                "choose another path, or leave the protocol out of App(protocols=[…])"
            )
    if path.startswith(SIGNED_PREFIX) and any(
        isinstance(each, RagEndpoint) for each in endpoint.app.endpoints
    ):
        raise EndpointError(
            f"{path} of {name}() is reserved for passages cited by a Rag: choose another path"
        )
    seen: list[str] = []
    for inside in _PARAMETER.findall(path):
        parameter, _, convertor = inside.partition(":")
        if not _NAME.fullmatch(parameter):
            raise EndpointError(
                f"{path}: a path parameter expects a name, such as {{id}} or {{id:int}}, "
                f"got {{{inside}}}"
            )
        if ":" in inside:
            _check_convertor(path, convertor)
        if parameter in seen:
            raise EndpointError(f"{path} has the parameter {parameter!r} twice")
        seen.append(parameter)
    if set(_PARAMETER.sub("", path)) & set("{}"):
        raise EndpointError(f"{path}: unbalanced brace: write a parameter as {{name}}")
    known = list(inspect.signature(endpoint).parameters)
    for parameter in seen:
        if parameter not in known and endpoint.signature.request is None:
            raise EndpointError(
                f"{path}: {name}{endpoint.signature} has no parameter {parameter!r}"
                f"{did_you_mean(parameter, known)} Add it to the function, "
                "or remove it from the path"
            )


def _is_of(path: str, known: tuple[str, ...]) -> bool:
    """Return whether a path is among `known`, or below one with a trailing slash."""
    path = path.rstrip("/") or "/"
    return path in known or any(path.startswith(each) for each in known if each.endswith("/"))


def _check_convertor(path: str, convertor: str) -> None:
    from starlette.convertors import CONVERTOR_TYPES

    if convertor not in CONVERTOR_TYPES:
        raise EndpointError(
            f"{path}: unknown path parameter type {convertor!r}; there are "
            f"{', '.join(CONVERTOR_TYPES)}{did_you_mean(convertor, CONVERTOR_TYPES)}"
        )
