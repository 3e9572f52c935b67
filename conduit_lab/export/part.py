"""Part: the subset of an app's endpoints to export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.endpoints import unknown_endpoint
from conduit_lab.serving.rag_endpoint import RagEndpoint

Selection = Sequence[str | Endpoint[..., Any]]


def chosen_endpoints(app: App, endpoints: Selection | None) -> list[Endpoint[..., Any]]:
    """Return the endpoints of `app` with these paths, names or functions, by default all.

    They keep the app's order, and both endpoints of a `Rag` are included together. Raises
    `UnknownName` for an unknown name, suggesting the nearest one.
    """
    if endpoints is None:
        return list(app.endpoints)
    if isinstance(endpoints, str):
        raise ExportError(
            f"endpoints= expected a list, got {endpoints!r}: endpoints=[{endpoints!r}]"
        )
    chosen: list[Endpoint[..., Any]] = []
    for each in endpoints:
        chosen += _found(app, each)
    if not chosen:
        raise ExportError("endpoints= expected at least one, got none: leave it out for all")
    rags = {id(each.whole) for each in chosen if isinstance(each, RagEndpoint)}
    ids = {id(each) for each in chosen}
    return [
        each
        for each in app.endpoints
        if id(each) in ids or (isinstance(each, RagEndpoint) and id(each.whole) in rags)
    ]


def _found(app: App, key: str | Endpoint[..., Any]) -> list[Endpoint[..., Any]]:
    if isinstance(key, Endpoint):
        if any(each is key for each in app.endpoints):
            return [key]
        raise ExportError(f"{key.name} is not an endpoint of {app.name!r}: run its cell again")
    if not isinstance(key, str):
        name = getattr(key, "__name__", repr(key))
        raise ExportError(
            f"endpoints= expected paths or decorated functions, got {name}: "
            f'endpoints=["{app.endpoints[0].path if app.endpoints else "/path"}"]'
        )
    found = [e for e in app.endpoints if key in (e.path, f"{e.method} {e.path}")]
    found = found or [e for e in app.endpoints if e.name == key]
    if not found:
        raise unknown_endpoint(key, list(app.endpoints))
    return found
