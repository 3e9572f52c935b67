"""App: the registry of models, stores and endpoints."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, cast, overload
from weakref import WeakSet

from conduit_lab.core import views
from conduit_lab.core.errors import EndpointError
from conduit_lab.core.keywords import with_keywords_of
from conduit_lab.core.paths import find_root
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.trace.span import Observer
from conduit_lab.core.trace.stage_statistics import StageStatistics
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.fallback import Fallback
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.load import AnyModel, LoadOptions, load_model
from conduit_lab.models.registry import Models
from conduit_lab.runtime.checks.graph_reader import use_record
from conduit_lab.serving.app_options import AppOptions, set_options
from conduit_lab.serving.asgi_app import AsgiApp
from conduit_lab.serving.decorators import StreamDecorator, file_paths, refuse_async
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.endpoint_path import check_path
from conduit_lab.serving.endpoints import Endpoints
from conduit_lab.serving.gate.metering import Metering
from conduit_lab.serving.life import Lives
from conduit_lab.serving.optional import OptionalModels
from conduit_lab.serving.rag_endpoint import RagEndpoint
from conduit_lab.serving.replaceable import Replaceable
from conduit_lab.serving.resource import AppResources, ResourceHost
from conduit_lab.serving.running import Streams
from conduit_lab.serving.stores import Stores
from conduit_lab.serving.tool import Tool

if TYPE_CHECKING:
    from conduit_lab.flow.cited_answer import RagAnswer
    from conduit_lab.flow.rag import Rag
    from conduit_lab.serving.glance import Glance
    from conduit_lab.vectors.store import VectorStore

_P = ParamSpec("_P")
_R = TypeVar("_R")
_M = TypeVar("_M", bound=AnyModel)
# the class has a `load_model` of its own
_with_load_options = with_keywords_of(load_model, "root", "lazy")
_AnyEndpoint = TypeVar("_AnyEndpoint", bound=Endpoint[..., Any])


class App(AsgiApp, ResourceHost, Replaceable, Viewed):
    """Models, stores and endpoints under one root; itself an ASGI app.

    Relative paths start at `root`: by default the nearest parent folder with a `pyproject.toml`,
    else the current one. `limits` bounds its requests, and `protocols` names the protocols that it
    speaks beside its own. With `keys` a request needs one; `hosts` are the names that it answers
    to, pages of the `origins` may call it, and its links begin with `public_url`
    (docs/security.md). The environment replaces limits and these three, and has keys where none are
    given. Models are declared at once and opened when the server starts: importing a module with an
    `App` opens nothing. `statistics` count the calls by stage, and `observers` see every span start
    and end. Served calls have one as `trace` says, "always", "sample" (the default: 16 per
    endpoint, then one of 64) or "errors".
    """

    def __init__(
        self, name: str, *, root: str | Path | None = None, **options: Unpack[AppOptions]
    ) -> None:
        self._set_options(**options)
        self.name = name
        self.root = Path(root).resolve() if root is not None else find_root()
        self._store_root = self.root
        use_record(self.root)
        self.statistics = StageStatistics()
        self.metering = Metering()
        self.models = Models(self.statistics)
        self.stores = Stores()
        self.endpoints = Endpoints()
        self.resources = AppResources()
        self.observers: list[Observer] = []
        self.servers: WeakSet[Any] = WeakSet()  # of `run/thread.py`, which is above this module
        self._lives = Lives(f"conduit_lab:{id(self)}")
        self._optional = OptionalModels()

    def _set_options(self, **options: Unpack[AppOptions]) -> None:
        environ = os.environ if self._lazy else {}  # else an export would repeat its settings
        set_options(self, options, environ)
        self._gate = None

    # Resources

    @overload
    def load_model(
        self, source: Callable[[Any], Any], **options: Unpack[LoadOptions]
    ) -> CallableModel: ...
    @overload
    def load_model(
        self, source: str | Path, kind: type[_M], **options: Unpack[LoadOptions]
    ) -> _M: ...
    @overload
    def load_model(self, source: str | Path, **options: Unpack[LoadOptions]) -> Any: ...
    @_with_load_options
    def load_model(self, source: Any, kind: Any = None, **options: Any) -> Any:
        """Declare a model: `.onnx` or `.npz` gives a `Model`, a function a `CallableModel`.

        A folder gives an `Embedder`, `Reranker`, `TextClassifier`, `TokenClassifier` or
        `Generator`, by its config. The options are those of `conduit_lab.load_model`. `models`
        holds the declared models. Raises `ModelLoadError` for a path that cannot be a model.
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
        tenant: str | None = None,
    ) -> VectorStore:
        """Open or create the durable store `indexes/<name>.sqlite` under the root.

        `dimension` and `metric` default to those of the existing store; for a new one to the
        embedder's dimension, or 384 without an embedder, and cosine. With `url` the store is on a
        server instead: see `VectorStore.connect`. The same name returns the same store. The keys of
        other tenants do not see the store of a `tenant` (docs/security.md).
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise EndpointError(f"a store's name expects letters, digits, - and _, got {name!r}")
        if name not in self.stores:
            from conduit_lab.vectors.store import VectorStore

            options: dict[str, Any] = {"embedder": embedder, "name": name, "lazy": self._lazy}
            if url is None:
                path = self._store_root / "indexes" / f"{name}.sqlite"
                path.parent.mkdir(parents=True, exist_ok=True)
                store = VectorStore(dimension, metric, path, **options)
            else:
                store = VectorStore.connect(url, dimension, metric, **options)
            store.tenant = tenant
            self.stores[name] = store
        if tenant is not None and self.stores[name].tenant != tenant:
            raise EndpointError(
                f"store {name!r} is of another tenant: choose another name, such as "
                f"{f'{tenant}-{name}'!r}"
            )
        return self.stores[name]

    # Endpoints

    def ml_pipeline(self, path: str) -> Callable[[Callable[_P, _R]], Endpoint[_P, _R]]:
        """Serve a function that composes models and stores at POST `path`.

        Plain Python is the composition: `if` routes and `return` stops early. Its trace holds a
        span per stage that it calls.
        """
        return self._route("POST", path)

    def post(self, path: str) -> Callable[[Callable[_P, _R]], Endpoint[_P, _R]]:
        """Serve any function at POST `path`, such as a write; the JSON body is its arguments."""
        return self._route("POST", path)

    def get(self, path: str) -> Callable[[Callable[_P, _R]], Endpoint[_P, _R]]:
        """Serve a function that changes nothing at GET `path`.

        Its arguments come from the query and the path.
        """
        return self._route("GET", path)

    def _route(self, method: str, path: str) -> Callable[[Callable[_P, _R]], Endpoint[_P, _R]]:
        return lambda function: self._register(Endpoint(function, path, method, "value", self))

    def ml_stream(self, path: str, *, resume: float | None = None) -> StreamDecorator:
        """Serve a generator function at `path` as server-sent events; a call returns a `Stream`.

        A POST takes the JSON body, a GET the same fields from the query. A stream without clients
        is cancelled; with `resume` it is kept for that many seconds, in which a client that
        reconnects with the header `last-event-id` gets the next chunks.
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
    ) -> Callable[[Callable[_P, Any]], Endpoint[_P, Any]]:
        """Serve a model at POST `path`: the function turns the body into the model's input.

        `model` and `fallback` are paths or stages. The fallback answers when the model cannot be
        loaded or fails; the answer then has the header `x-conduit-fallback`.
        """
        answer = self._stage(model, required=fallback is None)
        if fallback is not None:
            answer = Fallback(answer, self._stage(fallback), name=f"{answer.name} or fallback")
        files = file_paths(model, fallback)

        def decorate(function: Callable[_P, Any]) -> Endpoint[_P, Any]:
            refuse_async(function, path)
            return self._register(
                Endpoint(function, path, "POST", "value", self, then=answer, files=files)
            )

        return decorate

    def ml_ensemble(
        self,
        path: str,
        *,
        models: Sequence[Any],
        min_members: int | None = None,
        timeout: float | None = None,
    ) -> Callable[[Callable[[Any], _R]], Endpoint[[Any], _R]]:
        """Serve an ensemble at POST `path`: the function combines the models' predictions.

        The body is the input of every model. `models` are paths or stages, `min_members` and
        `timeout` those of `Ensemble`.
        """
        stages, files = [self._stage(model) for model in models], file_paths(*models)

        def decorate(function: Callable[[Any], _R]) -> Endpoint[[Any], _R]:
            refuse_async(function, path)
            ensemble = Ensemble(
                stages,
                function,
                name=function.__name__,
                min_members=min_members,
                timeout=timeout,
            )
            return self._register(
                Endpoint(function, path, "POST", "value", self, then=ensemble, files=files)
            )

        return decorate

    def rag(self, path: str, rag: Rag) -> RagEndpoint[RagAnswer]:
        """Serve a `Rag` at POST `path`, and its stream at `path` + "/stream".

        The body is `{"question": …}`, the answer `{"response": …, "sources": […]}`. The stream
        answers a GET with `?question=…` too. Returns the first endpoint; its `stream` is the other.
        """
        endpoint = RagEndpoint.pair(rag, path, self)
        self._register(endpoint)
        self._register(endpoint.stream)
        return endpoint

    def tool(
        self, name: str = "", description: str = ""
    ) -> Callable[[Callable[_P, _R]], Tool[_P, _R]]:
        """Offer a function to agents, by MCP alone; its app then speaks that protocol.

        By default the tool has the function's name, and its docstring as description.
        """

        def decorate(function: Callable[_P, _R]) -> Tool[_P, _R]:
            tool: Tool[_P, _R] = Tool(function, name or function.__name__, description, self)
            return self._register(tool)

        return decorate

    def varies(self, path: str) -> None:
        """Let the endpoints at `path` answer equal requests differently: an export compares shapes.

        For a clock, or a generator without a seed. `UnknownName` where nothing is served.
        """
        for endpoint in self.endpoints.at(path):
            endpoint.varies = True

    def _stage(self, model: Any, *, required: bool = True) -> Stage:
        """Return `model` as a stage; one that is not required may fail to load."""
        if not isinstance(model, str | Path):
            return model if isinstance(model, Stage) else Function(model)
        if required:
            stage: Stage = self.load_model(model)
            return stage
        stage = self._optional.declare(model, self.root)
        if not self._lazy:
            self._optional.open()
        return stage

    def _register(self, endpoint: _AnyEndpoint) -> _AnyEndpoint:
        check_path(endpoint)
        key = endpoint.method, endpoint.path
        for known in self.endpoints:
            if (known.method, known.path) == key and not self._replaces(endpoint, known):
                raise EndpointError(
                    f"{endpoint.method} {endpoint.path} is already served by {known.name}(): "
                    "give this function another path, or the same name to replace it"
                )
        others = [each for each in self.endpoints if (each.method, each.path) != key]
        self.endpoints = Endpoints(
            [*others, endpoint]
        )  # a new list: a server may be reading the old one
        return endpoint

    def _replaces(self, new: Endpoint[..., Any], old: Endpoint[..., Any]) -> bool:
        """Return whether `new` may replace `old`; never in a served app."""
        return False

    # Showing

    @property
    def streams(self) -> Streams:
        """The streams of its endpoints that run now, the oldest first."""
        return Streams(self.open_streams)

    def glance(self) -> Glance:
        """Return the state of the session now, as its view shows it; opens nothing."""
        from conduit_lab.serving.glance import Glance

        return Glance.of(self)

    def _view(self) -> views.View:
        return self.glance().view()
