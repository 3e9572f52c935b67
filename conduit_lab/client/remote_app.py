"""RemoteApp: a served app as Python objects, over HTTP."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any, NamedTuple

from conduit_lab.client.app_connection import Connection
from conduit_lab.client.contract import read_contracts
from conduit_lab.client.remote_endpoint import RemoteEndpoint, RemoteEndpoints
from conduit_lab.client.remote_store import RemoteStores
from conduit_lab.core.errors import InputError, RemoteError, RemoteUnknownName
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.text import one_line
from conduit_lab.core.views import figures
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed

_DOCUMENT_PATH = "/openapi.json"
_INFO_PATH = "/v1/info"
_EXTENSION = "x-conduit-lab"
_HASH_CHARACTERS = 16


DEFAULT_TIMEOUT = 300.0  # seconds, enough for a large model


class RemoteApp(Viewed):
    """A served app; its endpoints are attributes and in `endpoints`, its stores in `stores`.

    The app's description is read on connecting, or if `lazy` on first use; `refresh` reads it
    again. Thread-safe. A `with` block closes its connections at the end.
    """

    default_timeout = DEFAULT_TIMEOUT

    def __init__(self, connection: Connection, *, lazy: bool = False) -> None:
        self._connection = connection
        self._read: _Description | None = None
        if not lazy:
            self.refresh()

    def refresh(self) -> None:
        """Read the endpoints and stores again, for example after a deployment."""
        self._read = _describe(self._connection)

    def _described(self) -> _Description:
        if self._read is None:
            self.refresh()
        assert self._read is not None
        return self._read

    @property
    def name(self) -> str:
        """The name of the app."""
        return self._described().name

    @property
    def version(self) -> str:
        """The conduit_lab version of the app."""
        return self._described().version

    @property
    def endpoints(self) -> RemoteEndpoints:
        """Its endpoints, by path or name."""
        return self._described().endpoints

    @property
    def stores(self) -> RemoteStores:
        """Its stores, by name."""
        return self._described().stores

    @property
    def has_key(self) -> bool:
        """Whether requests are sent with a key."""
        return self._connection.has_key

    @property
    def timeout(self) -> float | None:
        """Seconds within which a response must start, or None."""
        return self._connection.timeout

    @property
    def url(self) -> str:
        """The address of the app."""
        return self._connection.url

    @property
    def models(self) -> RemoteModels:
        """The current models of the app, from `GET /v1/info`."""
        try:
            info = self._connection.ask("GET", _INFO_PATH, repeatable=True)
        except RemoteUnknownName:
            raise RemoteUnknownName(
                f"the app at {self.url} does not list its models: it has no {_INFO_PATH}"
            ) from None
        found = info.get("models") if isinstance(info, dict) else None
        return RemoteModels(each for each in found or () if isinstance(each, dict))

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
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
        if name.startswith("_"):
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
        endpoints = self.endpoints if self._read is not None else ()
        return sorted({*super().__dir__(), *(each.name for each in endpoints)})

    def _view(self) -> View:
        if self._read is None:
            return View("Remote app", "", [self.url, "not read yet"])
        facts = [
            f"● {self.url}",
            *([f"conduit_lab {self.version}"] if self.version else []),
            figures.plural(len(self.endpoints), "endpoint"),
            *([figures.plural(len(self.stores), "store")] if self.stores else []),
        ]
        tables = [self.endpoints.table(), *([self.stores.table()] if self.stores else [])]
        return View("Remote app", self.name, facts, tables)

    def __repr__(self) -> str:
        view = self._view()
        return f"<{' · '.join([f'RemoteApp {view.name!r}', *view.facts])}>"


class _Description(NamedTuple):
    """The description of a served app when it was read."""

    name: str
    version: str
    endpoints: RemoteEndpoints
    stores: RemoteStores


def _describe(connection: Connection) -> _Description:
    document = connection.ask("GET", _DOCUMENT_PATH, repeatable=True)
    info = document.get("info") if isinstance(document, dict) else None
    own = info.get(_EXTENSION) if isinstance(info, dict) else None
    if not isinstance(info, dict) or not isinstance(own, dict):
        raise RemoteError(
            f"{_DOCUMENT_PATH} of {connection.url} is not that of a conduit_lab app: "
            "connect() expects the address of an app that conduit_lab serves"
        )
    return _Description(
        str(info.get("title", "")),
        str(own.get("version", "")),
        RemoteEndpoints(
            [RemoteEndpoint(each, connection) for each in read_contracts(document)], connection.url
        ),
        RemoteStores(connection),
    )


class RemoteModels(Viewed, list[dict[str, Any]]):
    """The models of a served app: a dict of `name`, `kind`, `device`, `bytes` and `hash` each."""

    def _view(self) -> View:
        rows = [
            (
                str(model.get("name", "")),
                str(model.get("kind", "")),
                str(model.get("device") or "not open"),
                figures.size(held) if isinstance(held := model.get("bytes"), int) else "",
                one_line(str(model.get("hash") or ""), _HASH_CHARACTERS),
            )
            for model in self
        ]
        table = Table(("model", "kind", "device", "size", "hash"), rows, numeric=("size",))
        return View("Remote models", "", [figures.plural(len(self), "model")], [table])


def connect(
    url: str,
    *,
    key: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    lazy: bool = False,
) -> RemoteApp:
    """Connect to a served app, to call its endpoints and search its stores.

    `url` is the app's address and `key` the key for it, which is sent nowhere else. A call fails
    after `timeout` seconds without a response, or never with None; a stream has no time limit, but
    fails after 60 s without data. With `lazy` the first request is made on first use. Proxies are
    taken from the environment. Needs the `[client]` extra, which `[lab]` includes. Raises
    `RemoteError` if no conduit_lab app answers.
    """
    if timeout is not None and not 0 < timeout < math.inf:
        raise InputError(f"timeout= expected seconds above 0, or None, got {timeout!r}")
    return RemoteApp(Connection(url, key, timeout), lazy=lazy)
