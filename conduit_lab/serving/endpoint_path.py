"""The path of an endpoint: checked when it is registered, so that a wrong one stops no server."""

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
# of each protocol, and every path below one that ends with a slash
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
    """Raise `EndpointError` for a path that no route can have, or whose parameters do not fit.

    `RESERVED_PATHS` are the server's own, and an endpoint at a path of a protocol that its app
    speaks would hide that. Each parameter of the path is a parameter of the function, unless that
    takes the request.
    """
    path, name = endpoint.path, endpoint.name
    if endpoint.shape == "tool":  # MCP alone calls it
        return
    if not path.startswith("/"):
        raise EndpointError(f"an endpoint's path expects a '/' first, got {path!r}")
    if path in RESERVED_PATHS:
        raise EndpointError(f"{path} is the server's own path: choose another one for {name}()")
    for protocol in endpoint.app.spoken:
        if _is_of(path, PROTOCOL_PATHS[protocol]):
            raise EndpointError(
                f"{path} of {name}() is a path of the protocol {protocol!r} of this app: "
                "choose another path, or leave the protocol out of App(protocols=[…])"
            )
    if path.startswith(SIGNED_PREFIX) and any(
        isinstance(each, RagEndpoint) for each in endpoint.app.endpoints
    ):
        raise EndpointError(
            f"{path} of {name}() is a path of the passages that a Rag cites: choose another one"
        )
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


def _is_of(path: str, known: tuple[str, ...]) -> bool:
    """Return whether a path is one of a protocol, or below one that ends with a slash."""
    path = path.rstrip("/") or "/"
    return path in known or any(path.startswith(each) for each in known if each.endswith("/"))


def _check_convertor(path: str, convertor: str) -> None:
    from starlette.convertors import CONVERTOR_TYPES

    if convertor not in CONVERTOR_TYPES:
        raise EndpointError(
            f"{path}: no type {convertor!r} of a path's parameter; there are "
            f"{', '.join(CONVERTOR_TYPES)}{did_you_mean(convertor, CONVERTOR_TYPES)}"
        )
