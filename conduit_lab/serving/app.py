"""App: the registry of models, stores and endpoints, and the ASGI app that serves them."""

from __future__ import annotations

import inspect
import logging
import math
import re
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from conduit_lab.core.errors import ConduitError, EndpointError, ModelLoadError
from conduit_lab.core.paths import find_root
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace.span import Observer
from conduit_lab.core.views import html
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.rag import Rag, RagAnswer
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.load import AnyModel, LoadOptions, load_model
from conduit_lab.models.registry import Models
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.faces.json_face import HttpFace, error_body
from conduit_lab.serving.gate.body import BODY_BYTES
from conduit_lab.serving.rag_endpoint import RagEndpoint
from conduit_lab.vectors.store import VectorStore

_log = logging.getLogger("conduit_lab")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
M = TypeVar("M", bound=AnyModel)
AnyEndpoint = TypeVar("AnyEndpoint", bound=Endpoint[..., Any])


class StreamDecorator(Protocol):
    """Makes an endpoint of a function that yields chunks, sync or async, or returns an iterable."""

    @overload
    def __call__(self, function: Callable[P, Iterable[T]]) -> Endpoint[P, Stream[T]]: ...
    @overload
    def __call__(self, function: Callable[P, AsyncIterable[T]]) -> Endpoint[P, Stream[T]]: ...
    @overload
    def __call__(self, function: Callable[P, Awaitable[Iterable[T]]]) -> Endpoint[P, Stream[T]]: ...
    @overload
    def __call__(
        self, function: Callable[P, Awaitable[AsyncIterable[T]]]
    ) -> Endpoint[P, Stream[T]]: ...


class App(EndpointHost):
    """Models, stores and endpoints under one root; itself an ASGI app.

    `root` is where relative paths start: by default the nearest parent folder with a
    `pyproject.toml`, else the current one. `body_limit` is the largest request body, in bytes.
    Models are declared at once and opened when the server starts, so that importing a module with
    an `App` opens nothing. `observers` see every span of its calls start and end.
    """

    _lazy = True

    def __init__(
        self, name: str, *, root: str | Path | None = None, body_limit: int = BODY_BYTES
    ) -> None:
        self.name = name
        self.root = Path(root).resolve() if root is not None else find_root()
        self.body_limit = body_limit
        self.models = Models()
        self._optional: list[AnyModel] = []  # a fallback stands in for these
        self.stores: dict[str, VectorStore] = {}
        self.observers: list[Observer] = []
        self.endpoints: list[Endpoint[..., Any]] = []
        self.ready = False  # whether new requests should come here; a load balancer asks /readyz
        self._streams: set[Stream[Any]] = set()
        self._asgi: tuple[list[Endpoint[..., Any]], Starlette | None] = (
            [],
            None,
        )  # what was built, and of which endpoints

    # Resources

    @overload
    def load_model(
        self, source: Callable[[Any], Any], **options: Unpack[LoadOptions]
    ) -> CallableModel: ...
    @overload
    def load_model(
        self, source: str | Path, kind: type[M], **options: Unpack[LoadOptions]
    ) -> M: ...
    @overload
    def load_model(self, source: str | Path, **options: Unpack[LoadOptions]) -> Any: ...
    def load_model(self, source: Any, kind: Any = None, **options: Any) -> Any:
        """Declare a model: `.onnx` or `.npz` gives a `Model`, a function a `CallableModel`.

        A folder gives an `Embedder`, `Reranker`, `TextClassifier`, `TokenClassifier` or
        `Generator`, as its config says. A relative path starts at the app's root; the options are
        those of `conduit_lab.load_model`. `models` holds the declared models. Raises
        `ModelLoadError` for a path that cannot be a model.
        """
        model = load_model(source, kind, root=self.root, lazy=self._lazy, **options)
        self.models.add(model)
        return model

    def vector_store(
        self,
        name: str,
        *,
        dimension: int | None = None,
        metric: str | None = None,
        embedder: Any = None,
        url: str | None = None,
    ) -> VectorStore:
        """Return the durable store `indexes/<name>.sqlite` under the root; it is made when missing.

        `dimension` and `metric` are by default those of what is there; of a new one the embedder's,
        without one 384, and cosine. With `url` it lives on a server instead, as
        `VectorStore.connect` says. The same name gives the same store.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise EndpointError(f"a store's name is letters, digits, - and _; got {name!r}")
        if name not in self.stores:
            options: dict[str, Any] = {"embedder": embedder, "name": name, "lazy": self._lazy}
            if url is None:
                path = self.root / "indexes" / f"{name}.sqlite"
                path.parent.mkdir(parents=True, exist_ok=True)
                store = VectorStore(dimension, metric, path, **options)
            else:
                store = VectorStore.connect(url, dimension, metric, **options)
            self.stores[name] = store
        return self.stores[name]

    # Endpoints

    def ml_pipeline(self, path: str) -> Callable[[Callable[P, R]], Endpoint[P, R]]:
        """Serve a function at POST `path`: it takes the JSON body and returns the answer.

        Plain Python: `if` routes and `return` stops early. A trace sees each stage that it calls.
        """
        return self._route("POST", path)

    def post(self, path: str) -> Callable[[Callable[P, R]], Endpoint[P, R]]:
        """Serve a function at POST `path`; its parameters are taken from the JSON body."""
        return self._route("POST", path)

    def get(self, path: str) -> Callable[[Callable[P, R]], Endpoint[P, R]]:
        """Serve a function at GET `path`; its parameters are taken from the query and the path."""
        return self._route("GET", path)

    def _route(self, method: str, path: str) -> Callable[[Callable[P, R]], Endpoint[P, R]]:
        return lambda function: self._register(Endpoint(function, path, method, "value", self))

    def ml_stream(self, path: str, *, resume: float | None = None) -> StreamDecorator:
        """Serve a generator function at `path` as server-sent events; a call here gives a `Stream`.

        A POST takes the JSON body, a GET the same fields from the query. A stream whose client has
        left is cancelled, unless others read it; with `resume` it goes on for that many seconds, in
        which the client may come back with the header `last-event-id` and reads on where it was.
        """
        if resume is not None and not 0 < resume < math.inf:
            raise EndpointError(
                f"{path}: resume= expected seconds above 0, or None, got {resume!r}"
            )

        def decorate(function: Callable[..., Any]) -> Endpoint[..., Any]:
            return self._register(Endpoint(function, path, "POST", "stream", self, resume=resume))

        return cast("StreamDecorator", decorate)

    def ml_endpoint(
        self, path: str, *, model: Any, fallback: Any = None
    ) -> Callable[[Callable[P, Any]], Endpoint[P, Any]]:
        """Serve a model at POST `path`: the function makes the model's input of the body.

        `model` and `fallback` are paths or stages. The fallback answers when the model cannot be
        loaded or fails; the answer then carries the header `x-conduit-fallback`.
        """
        answer = self._stage(model, required=fallback is None)
        if fallback is not None:
            answer = Fallback(answer, self._stage(fallback), name=f"{answer.name} or fallback")
        files = _paths(model, fallback)

        def decorate(function: Callable[P, Any]) -> Endpoint[P, Any]:
            self._refuse_async(function, path)
            return self._register(
                Endpoint(function, path, "POST", "value", self, then=answer, files=files)
            )

        return decorate

    def ml_ensemble(
        self, path: str, *, models: Sequence[Any]
    ) -> Callable[[Callable[[Any], R]], Endpoint[[Any], R]]:
        """Serve an ensemble at POST `path`: the body is the input of its models, the function
        combines their predictions.

        `models` are paths or stages.
        """
        stages, files = [self._stage(model) for model in models], _paths(*models)

        def decorate(function: Callable[[Any], R]) -> Endpoint[[Any], R]:
            self._refuse_async(function, path)
            ensemble = Ensemble(stages, function, name=function.__name__)
            return self._register(
                Endpoint(function, path, "POST", "value", self, then=ensemble, files=files)
            )

        return decorate

    def rag(self, path: str, rag: Rag) -> RagEndpoint[RagAnswer]:
        """Serve a `Rag`: POST `path` takes `{"question": …}` and answers `{"response": …,
        "sources": […]}`.

        `path` + "/stream" answers with the events of `Rag.stream`, to a POST, or to a GET with
        `?question=…`. Returns the first endpoint, whose `stream` is the second.
        """
        endpoint = RagEndpoint.pair(rag, path, self)
        self._register(endpoint)
        self._register(endpoint.stream)
        return endpoint

    def _stage(self, model: Any, *, required: bool = True) -> Stage:
        """Return `model` as a stage; one that is not required may fail to open now."""
        if not isinstance(model, str | Path):
            return model if isinstance(model, Stage) else Function(model)
        if required:
            stage: Stage = self.load_model(model)
            return stage
        try:
            optional: AnyModel = load_model(model, root=self.root, lazy=True)
        except ModelLoadError as error:  # a folder is read to know its kind
            _log.warning("%s; its fallback answers", error)
            return Function(_failing(str(error)), name=Path(model).stem)
        self._optional.append(optional)
        if not self._lazy:
            self._try_open(optional)
        return optional

    @staticmethod
    def _try_open(model: AnyModel) -> None:
        try:
            model.open()
        except ConduitError as error:
            _log.warning("%s; its fallback answers", error)

    @staticmethod
    def _refuse_async(function: Callable[..., Any], path: str) -> None:
        if inspect.iscoroutinefunction(function):
            raise EndpointError(
                f"{path}: {function.__name__} is async: write it with plain `def`, it runs on a thread"
            )

    def _register(self, endpoint: AnyEndpoint) -> AnyEndpoint:
        if not endpoint.path.startswith("/"):
            raise EndpointError(f"an endpoint's path starts with '/', got {endpoint.path!r}")
        others = [
            e for e in self.endpoints if (e.method, e.path) != (endpoint.method, endpoint.path)
        ]
        for known in self.endpoints:
            if known not in others and not self._replaces(endpoint, known):
                raise EndpointError(
                    f"{endpoint.method} {endpoint.path} is already served by {known.name}(): "
                    "give this function another path, or the same name to replace it"
                )
        self.endpoints = [*others, endpoint]  # a new list: a server may be reading the old one
        return endpoint

    def _replaces(self, new: Endpoint[..., Any], old: Endpoint[..., Any]) -> bool:
        """Tell whether `new` may take the place of `old`; never in a served app."""
        return False

    # ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; endpoints registered later are served from then on."""
        endpoints, asgi = self._asgi
        if asgi is None or endpoints is not self.endpoints:
            endpoints = self.endpoints
            asgi = self._build(endpoints)
            self._asgi = endpoints, asgi
        await asgi(scope, receive, send)

    def _build(self, endpoints: list[Endpoint[..., Any]]) -> Starlette:
        own_gets_first = sorted(
            endpoints, key=lambda endpoint: len(endpoint.methods)
        )  # a stream answers GET too
        own = {"healthz": _healthz, "readyz": self._readyz}
        faces = [
            Route(e.path, HttpFace(e, self.body_limit, self._streams), methods=e.methods)
            for e in own_gets_first
        ]
        return Starlette(
            routes=[
                *(Route(f"/{name}", face, methods=["GET"]) for name, face in own.items()),
                *faces,
            ],
            exception_handlers={HTTPException: self._not_found},
            lifespan=self._lifespan,
        )

    def _not_found(self, request: StarletteRequest, error: Exception) -> Response:
        """Answer a 404 with the endpoints there are, and a 405 with the methods."""
        assert isinstance(error, HTTPException)
        request_id = uuid.uuid4().hex[:16]
        headers = {"x-request-id": request_id}
        here = ", ".join(f"{e.method} {e.path}" for e in self.endpoints) or "no endpoints yet"
        kind, message = "not_found", f"nothing is served at this path; this app has {here}"
        if error.status_code == 405:
            headers["allow"] = allowed = ", ".join(self._methods(request))
            kind, message = (
                "method_not_allowed",
                f"this path does not answer {request.method}: use {allowed}",
            )
        body = error_body(error.status_code, kind, message, request_id)
        return Response(body, error.status_code, headers, "application/json")

    def _methods(self, request: StarletteRequest) -> list[str]:
        """Return the methods that the request's path answers."""
        routes = [route for route in request.app.routes if isinstance(route, Route)]
        return sorted(
            {
                m
                for r in routes
                if r.matches(request.scope)[0] != Match.NONE
                for m in r.methods or ()
            }
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.open()
        self.ready = True
        yield
        self.ready = False
        self.drain()

    async def _readyz(self, _: StarletteRequest) -> Response:
        return JSONResponse(
            {"status": "ready" if self.ready else "leaving"}, 200 if self.ready else 503
        )

    def open(self) -> None:
        """Open every declared model and store; a model that a fallback stands in for may fail, with a warning."""
        for resource in (*self.models, *self.stores.values()):
            resource.open()
        for model in self._optional:
            self._try_open(model)

    def drain(self) -> None:
        """End the streams that are being served; each client gets a last event that says so."""
        held = [stream for endpoint in self.endpoints for stream in endpoint.resumes.streams]
        for stream in (*self._streams, *held):
            stream.cancel()

    # Showing

    def _rows(self) -> list[tuple[str, str, str]]:
        return [(f"{e.method} {e.path}", f"{e.name}{e.signature}", e.shape) for e in self.endpoints]

    def __repr__(self) -> str:
        names = ("endpoint", "function", "answers")
        return (
            f"<{type(self).__name__} {self.name!r} · {len(self.endpoints)} endpoints>\n"
            + html.columns(names, self._rows())
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        facts = [
            f"{len(self.endpoints)} endpoints",
            f"{len(self.models)} models",
            f"{len(self.stores)} stores",
        ]
        shown = html.header(type(self).__name__, self.name, facts)
        return html.bundle(
            repr(self), shown + html.table(("endpoint", "function", "answers"), self._rows())
        )


def _paths(*models: Any) -> list[str | Path]:
    """Return the models that are named by their paths."""
    return [model for model in models if isinstance(model, str | Path)]


def _failing(message: str) -> Callable[[Any], Any]:
    """Return a function that raises a `ModelLoadError`."""

    def fail(value: Any) -> Any:
        raise ModelLoadError(message)

    return fail


async def _healthz(_: StarletteRequest) -> Response:
    return JSONResponse({"status": "ok"})
