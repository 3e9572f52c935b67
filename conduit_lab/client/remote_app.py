"""RemoteApp: a served app as Python objects, over HTTP."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any

from conduit_lab.client.app_connection import Connection
from conduit_lab.client.contract import read_contracts
from conduit_lab.client.remote_endpoint import RemoteEndpoint, RemoteEndpoints
from conduit_lab.client.remote_store import RemoteStores
from conduit_lab.core.errors import InputError, RemoteError, RemoteUnknownName
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.views import figures
from conduit_lab.core.views.view import Table, View, Viewed

_DOCUMENT_PATH = "/openapi.json"
_INFO_PATH = "/v1/info"
_EXTENSION = "x-conduit-lab"


class RemoteApp(Viewed):
    """A served app; its endpoints are attributes and in `endpoints`, its stores in `stores`.

    `name` and `version` are those of the app and of its conduit_lab. The description of the app is
    read when it is connected; `refresh` reads it again. Thread-safe. In a `with` block its
    connections are closed at the end.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.refresh()

    def refresh(self) -> None:
        """Read again which endpoints and stores there are, such as after a deployment."""
        document = self._connection.ask("GET", _DOCUMENT_PATH, repeatable=True)
        info = document.get("info") if isinstance(document, dict) else None
        own = info.get(_EXTENSION) if isinstance(info, dict) else None
        if not isinstance(info, dict) or not isinstance(own, dict):
            raise RemoteError(
                f"{_DOCUMENT_PATH} of {self.url} is not that of a conduit_lab app: "
                "connect() expects the address of an app that conduit_lab serves"
            )
        stores = RemoteStores(self._connection)
        contracts = read_contracts(document)
        self.name = str(info.get("title", ""))
        self.version = str(own.get("version", ""))
        self.endpoints = RemoteEndpoints(
            [RemoteEndpoint(each, self._connection) for each in contracts], self.url
        )
        self.stores = stores

    @property
    def url(self) -> str:
        """The address of the app."""
        return self._connection.url

    @property
    def models(self) -> RemoteModels:
        """The models of the app now, as `GET /v1/info` lists them."""
        try:
            info = self._connection.ask("GET", _INFO_PATH, repeatable=True)
        except RemoteUnknownName:
            raise RemoteUnknownName(
                f"the app at {self.url} does not list its models: it has no {_INFO_PATH}"
            ) from None
        found = info.get("models") if isinstance(info, dict) else None
        return RemoteModels(each for each in found or () if isinstance(each, dict))

    def close(self) -> None:
        """Close the connections; a later call opens them again."""
        self._connection.close()

    def __enter__(self) -> RemoteApp:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> RemoteEndpoint:
        if name.startswith("_") or "endpoints" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found = [each for each in self.endpoints if each.name == name]
        if not found:
            names = dir(self)
            raise AttributeError(
                f"the app at {self.url} has no endpoint {name!r}; its endpoints are "
                f"{', '.join(each.name for each in self.endpoints) or 'none'}"
                f"{did_you_mean(name, names)}"
            )
        return found[-1]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(each.name for each in self.endpoints)})

    def _view(self) -> View:
        facts = [
            f"● {self.url}",
            *([f"conduit_lab {self.version}"] if self.version else []),
            figures.plural(len(self.endpoints), "endpoint"),
            *([figures.plural(len(self.stores), "store")] if self.stores else []),
        ]
        tables = [self.endpoints.table(), *([self.stores.table()] if self.stores else [])]
        return View("Remote app", self.name, facts, tables)

    def __repr__(self) -> str:
        return f"<RemoteApp {self.name!r} · {' · '.join(self._view().facts)}>"


class RemoteModels(Viewed, list[dict[str, Any]]):
    """The models of a served app, a dict of facts each."""

    def _view(self) -> View:
        columns = list(dict.fromkeys(str(key) for model in self for key in model))
        rows = [tuple(str(model.get(key, "")) for key in columns) for model in self]
        table = Table(tuple(columns), rows)
        return View("Remote models", "", [figures.plural(len(self), "model")], [table])


def connect(url: str, *, key: str | None = None, timeout: float | None = 300.0) -> RemoteApp:
    """Connect to a served app: its endpoints become callables, its stores can be searched.

    `url` is the app's address, `key` the one that it asks for; it is sent there and nowhere else.
    A call fails after `timeout` seconds without an answer, None waits for ever; a stream has no
    limit, but is lost after 60 s without a byte. Proxies are those of the environment. Needs the
    `[client]` extra, which `[lab]` has. Raises `RemoteError` where no app of conduit_lab answers.
    """
    if timeout is not None and not 0 < timeout < math.inf:
        raise InputError(f"timeout= expected seconds above 0, or None, got {timeout!r}")
    return RemoteApp(Connection(url, key, timeout))
