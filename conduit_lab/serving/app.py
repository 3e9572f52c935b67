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
# aliased: the class defines its own `load_model`
_with_load_options = with_keywords_of(load_model, "root", "lazy")
_AnyEndpoint = TypeVar("_AnyEndpoint", bound=Endpoint[..., Any])


class App(AsgiApp, ResourceHost, Replaceable, Viewed):
    """Models, stores and endpoints under one root; itself an ASGI app.

    Relative paths start at `root`: by default the nearest parent folder with a `pyproject.toml`,
    else the current folder. `limits` bounds requests, and `protocols` names the protocols to serve
    in addition to the app's own. If `keys` are set, a request needs one. `hosts` are the allowed
    Host names, `origins` the allowed cross-site origins, and `public_url` is the base of generated
    links (docs/security.md). Environment variables override `limits` and these three, and supply
    the keys if none are given. Models are declared immediately but opened when the server starts:
    importing a module with an `App` opens nothing. `statistics` counts calls per stage, and
    `observers` are notified of the start and end of every span. `trace` selects the served calls
    that have spans: "always", "sample" (the default: the first 16 per endpoint, then 1 in 64) or
    "errors".
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
        self.servers: WeakSet[Any] = WeakSet()  # `Server` of `run/thread.py`, a higher layer
        self._lives = Lives(f"conduit_lab:{id(self)}")
        self._optional = OptionalModels()

    def _set_options(self, **options: Unpack[AppOptions]) -> None:
        environ = os.environ if self._lazy else {}  # not in a lab: it would export them
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
        """Declare a model: a `Model` for `.onnx` or `.npz`, a `CallableModel` for a function.

        A folder is an `Embedder`, `Reranker`, `TextClassifier`, `TokenClassifier` or `Generator`,
        depending on its config. Takes the options of `conduit_lab.load_model`. Declared models are
        listed in `models`. Raises `ModelLoadError` for a path that cannot be a model.
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

        `dimension` and `metric` default to those of the existing store; for a new store, to the
        embedder's dimension (384 without an embedder) and cosine. With `url` the store is on a
        server: see `VectorStore.connect`. The same name returns the same store. A store with a
        `tenant` is hidden from keys of other tenants (docs/security.md).
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
                f"store {name!r} belongs to another tenant: choose another name, such as "
                f"{f'{tenant}-{name}'!r}"
            )
        return self.stores[name]

    # Endpoints

    def ml_pipeline(self, path: str) -> Callable[[Callable[_P, _R]], Endpoint[_P, _R]]:
        """Serve a function that composes models and stores at POST `path`.

        Compose them in plain Python: `if` routes, `return` stops early. The trace has a span per
        stage call.
        """
        return self._route("POST", path)

    def post(self, path: str) -> Callable[[Callable[_P, _R]], Endpoint[_P, _R]]:
        """Serve any function at POST `path`; its arguments come from the JSON body."""
        return self._route("POST", path)

    def get(self, path: str) -> Callable[[Callable[_P, _R]], Endpoint[_P, _R]]:
        """Serve a function without side effects at GET `path`.

        Its arguments come from the query and the path.
        """
        return self._route("GET", path)

    def _route(self, method: str, path: str) -> Callable[[Callable[_P, _R]], Endpoint[_P, _R]]:
        return lambda function: self._register(Endpoint(function, path, method, "value", self))

    def ml_stream(self, path: str, *, resume: float | None = None) -> StreamDecorator:
        """Serve a generator function at `path` as server-sent events; a call returns a `Stream`.

        A POST takes its arguments from the JSON body, a GET from the query. A stream without
        clients is cancelled; with `resume` it is kept for this many seconds, and a client that
        reconnects with the header `last-event-id` gets the chunks after that event.
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
        """Serve a model at POST `path`; the function converts the body to the model's input.

        `model` and `fallback` are paths or stages. If the model cannot be loaded or fails, the
        fallback answers, and the response has the header `x-conduit-fallback`.
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

        The body is the input of every model. `models` are paths or stages; `min_members` and
        `timeout` are passed to `Ensemble`.
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

        The body is `{"question": …}`, the answer `{"response": …, "sources": […]}`. The stream also
        accepts GET with `?question=…`. Returns the first endpoint; its `stream` attribute is the
        second.
        """
        endpoint = RagEndpoint.pair(rag, path, self)
        self._register(endpoint)
        self._register(endpoint.stream)
        return endpoint

    def tool(
        self, name: str = "", description: str = ""
    ) -> Callable[[Callable[_P, _R]], Tool[_P, _R]]:
        """Offer a function to agents over MCP only; this enables MCP for the app.

        Name and description default to the function's name and docstring.
        """

        def decorate(function: Callable[_P, _R]) -> Tool[_P, _R]:
            tool: Tool[_P, _R] = Tool(function, name or function.__name__, description, self)
            return self._register(tool)

        return decorate

    def varies(self, path: str) -> None:
        """Mark the endpoints at `path` as nondeterministic: an export compares only answer shapes.

        Use it for a clock or an unseeded generator. Raises `UnknownName` if nothing is served
        there.
        """
        for endpoint in self.endpoints.at(path):
            endpoint.varies = True

    def _stage(self, model: Any, *, required: bool = True) -> Stage:
        """Return `model` as a stage; unless `required`, it may fail to load."""
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
        )  # copy on write: a server may be reading the old list
        return endpoint

    def _replaces(self, new: Endpoint[..., Any], old: Endpoint[..., Any]) -> bool:
        """Return whether `new` may replace `old`; never in a served app."""
        return False

    # Showing

    @property
    def streams(self) -> Streams:
        """The running streams of its endpoints, oldest first."""
        return Streams(self.open_streams)

    def glance(self) -> Glance:
        """Return a snapshot of the session, as shown in its view; opens nothing."""
        from conduit_lab.serving.glance import Glance

        return Glance.of(self)

    def _view(self) -> views.View:
        return self.glance().view()
