"""Endpoints: the endpoints of an app, by path or by name."""

from __future__ import annotations

from typing import Any

from conduit_lab.core import views
from conduit_lab.core.errors import UnknownName
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.shown_signature import shown_signature
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.serving.endpoint import Endpoint

_COLUMNS = ("endpoint", "function", "answers", "proof", "calls", "p50")


class Endpoints(Viewed, list[Endpoint[..., Any]]):
    """The endpoints of an app, newest last.

    `endpoints["/ask"]` and `endpoints["ask"]` return the newest with that path or name; an unknown
    key raises `UnknownName` with the nearest one.
    """

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        found = [e for e in self if e.path == key] or [e for e in self if e.name == key]
        if found:
            return found[-1]
        raise unknown_endpoint(key, [*self])

    def at(self, path: str) -> list[Endpoint[..., Any]]:
        """Return the endpoints at a path; raise `UnknownName` if there are none."""
        found = [each for each in self if each.path == path]
        if not found:
            raise unknown_endpoint(path, [*self])
        return found

    def _ipython_key_completions_(self) -> list[str]:
        return list(dict.fromkeys(endpoint.path for endpoint in self))

    def _table(self) -> views.Table:
        from conduit_lab.serving.endpoint_view import endpoint_cells

        rows = [
            (f"{e.method} {e.path}", f"{e.name}{shown_signature(e)}", e.shape, *cells)
            for e, cells in zip(self, endpoint_cells(self), strict=True)
        ]
        return views.Table(_COLUMNS, rows, numeric=("calls", "p50"))

    def _view(self) -> views.View:
        states = [each.app.proof(each) for each in self]
        ready = f"{states.count('ready')} of {len(self)} ready for an export"
        return views.View(
            "Endpoints",
            "",
            [str(len(self)), *([ready] if any(states) else [])],
            [self._table()],
            pieces=[] if self else [views.Code(['@lab.post("/path")'], "for a function to serve:")],
        )


def unknown_endpoint(key: str, endpoints: list[Endpoint[..., Any]]) -> UnknownName:
    """Return the error for a path or name that no endpoint has."""
    paths = list(dict.fromkeys(each.path for each in endpoints))
    names = paths if key.startswith("/") else [*(each.name for each in endpoints), *paths]
    meant = did_you_mean(key, names)
    return UnknownName(f"no endpoint {key!r}; there are {', '.join(paths) or 'none yet'}{meant}")
