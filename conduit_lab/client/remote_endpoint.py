"""RemoteEndpoint: an endpoint of a served app, called like a local one."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from conduit_lab.client.app_connection import Connection
from conduit_lab.client.contract import Contract
from conduit_lab.client.remote_stream import RemoteChunks
from conduit_lab.client.request_body import JSON_CONTENT_TYPE
from conduit_lab.client.shown_values import shown_value
from conduit_lab.core.errors import UnknownName
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.npy import NPY_TYPE
from conduit_lab.core.shown_signature import shown_signature
from conduit_lab.core.stage import Stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.core.views import figures
from conduit_lab.core.views.pieces import Line
from conduit_lab.core.views.sections import Code
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed

_ANSWERS = f"{NPY_TYPE}, {JSON_CONTENT_TYPE}"  # a server that knows no arrays answers with JSON
_COLUMNS = ("endpoint", "function", "answers")


class RemoteEndpoint(Viewed, Stage):
    """An endpoint of a served app, with the signature and the docstring of its function.

    A call makes one request and returns the JSON value of the answer, in which predictions, hits
    and answers with sources are the same objects as locally, or the array sent as the answer. A
    stream endpoint returns a `Stream`; cancelling it cancels the stream on the server. Raises
    `InputError` if the arguments do not match the signature, and `RemoteError` for a failed
    request. If `repeatable`, a request may run twice: see `with_retries`.
    """

    def __init__(
        self, contract: Contract, connection: Connection, *, repeatable: bool | None = None
    ) -> None:
        self._contract = contract
        self._connection = connection
        self.name = self.__name__ = contract.name
        self.path = contract.path
        self.method = contract.method
        self.shape = contract.shape
        self.repeatable = contract.method == "GET" if repeatable is None else repeatable
        self.__signature__ = contract.signature
        self.__doc__ = contract.doc or f"Answer {self.method} {self.path}."

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the endpoint with Python arguments."""
        if len(args) == 1 and not kwargs:
            return super().__call__(args[0])
        with recorder.span(self.name, "call", self, {"args": args, **kwargs}) as span:
            result = self._ask(args, kwargs)
            if span is not None:
                span.output = result
        return result

    def run(self, value: Any) -> Any:
        """Call the endpoint with one value, as a stage of a composition."""
        return self._ask((value,), {})

    def stream(self, value: Any, /) -> Stream[Any, Any]:
        """Return the stream of a stream endpoint for one value."""
        if self.shape != "stream":
            return super().stream(value)
        stream: Stream[Any, Any] = self(value)
        return stream

    def with_retries(self) -> RemoteEndpoint:
        """Return this endpoint with retries of lost requests, for a function that may run twice.

        GET endpoints are always retried, and streams are continued with the endpoint's `resume`.
        """
        return RemoteEndpoint(self._contract, self._connection, repeatable=True)

    def _ask(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        message = self._contract.message(args, kwargs)
        if self.shape == "stream":
            chunks = RemoteChunks(self._connection, self._contract, message)
            return Stream(chunks.chunks(), name=self.name)
        answer = self._connection.ask(
            self.method,
            message.path,
            query=message.query,
            body=message.body,
            repeatable=self.repeatable,
            accept=_ANSWERS,
        )
        return shown_value(answer)

    def _view(self) -> View:
        doc = inspect.cleandoc(self._contract.doc)
        facts = [f"answers with a {self.shape}", f"at {self._connection.url}"]
        pieces = [Code([f"{self.name}{shown_signature(self)}"]), *([Line(doc)] if doc else [])]
        return View("Remote endpoint", f"{self.method} {self.path}", facts, pieces=pieces)

    def __repr__(self) -> str:
        signature = shown_signature(self)
        return f"<RemoteEndpoint {self.method} {self.path} · {self.name}{signature}>"


class RemoteEndpoints(Viewed, list[RemoteEndpoint]):
    """The endpoints of a served app; `endpoints["/ask"]` and `endpoints["ask"]` find one."""

    def __init__(self, endpoints: Iterable[RemoteEndpoint], place: str) -> None:
        super().__init__(endpoints)
        self._place = place

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        found = [e for e in self if e.path == key] or [e for e in self if e.name == key]
        if found:
            return found[-1]
        paths = self._ipython_key_completions_()
        names = paths if key.startswith("/") else [*(each.name for each in self), *paths]
        known = ", ".join(paths) or "none"
        raise UnknownName(
            f"the app at {self._place} has no endpoint {key!r}; there are {known}"
            f"{did_you_mean(key, names)}"
        )

    def _ipython_key_completions_(self) -> list[str]:
        return list(dict.fromkeys(endpoint.path for endpoint in self))

    def table(self) -> Table:
        """Return the path, signature and shape of each."""
        rows = [(f"{e.method} {e.path}", f"{e.name}{shown_signature(e)}", e.shape) for e in self]
        return Table(_COLUMNS, rows)

    def _view(self) -> View:
        return View("Remote endpoints", "", [figures.plural(len(self), "endpoint")], [self.table()])
