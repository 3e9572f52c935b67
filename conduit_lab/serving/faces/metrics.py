"""Metrics: `/metrics` in the Prometheus text format, and `/v1/info` about the app."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from platform import python_version
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from conduit_lab.core.version import __version__
from conduit_lab.runtime.sessions.cache import Shared, sessions
from conduit_lab.runtime.sessions.run_counts import BATCH_BOUNDS
from conduit_lab.serving import codec
from conduit_lab.serving.answer import send_json
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.context import context_of
from conduit_lab.serving.gate.tenants import visible_endpoints, visible_stores
from conduit_lab.serving.server_state import LATENCY_BOUNDS, ServerState
from conduit_lab.serving.stores import store_facts

if TYPE_CHECKING:
    from conduit_lab.serving.endpoint import Endpoint, EndpointHost
    from conduit_lab.vectors.store import VectorStore

# https://prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_PACKAGES = ("numpy", "onnxruntime", "starlette", "uvicorn")

_Labels = Mapping[str, object]
_Samples = Iterable[tuple[_Labels, float]]


def routes(app: EndpointHost, endpoints: Sequence[Endpoint[..., Any]]) -> list[Route]:
    """Return the routes of `/metrics` and `/v1/info`; `endpoints` is unused."""
    return [
        Route("/metrics", _Metrics(app), methods=["GET"]),
        Route("/v1/info", _Info(app), methods=["GET"]),
    ]


class _Metrics:
    def __init__(self, app: EndpointHost) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        if context.caller is not None and context.caller.tenant is not None:
            raise HttpError(
                403,
                "forbidden",
                "the metrics cover all tenants: use a key without a tenant; /v1/usage has yours",
            )
        text = metrics_text(self._app, context.server).encode()
        headers = [(b"content-type", CONTENT_TYPE), (b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})


class _Info:
    def __init__(self, app: EndpointHost) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # on a thread, since counting a store's entries may read its file
        stores = visible_stores(context_of(scope))
        endpoints = visible_endpoints(context_of(scope))
        facts = await anyio.to_thread.run_sync(app_info, self._app, stores, endpoints)
        await send_json(send, 200, codec.dumps(facts))


def app_info(
    app: EndpointHost,
    visible: Mapping[str, VectorStore],
    served: Sequence[Endpoint[..., Any]],
) -> dict[str, Any]:
    """Return the app's versions, models, limits, the `visible` stores and `served` endpoints.

    No paths, keys or addresses are included. The hash of a model is its content hash, None until it
    is open.
    """
    models = [
        {
            "name": model.name,
            "kind": type(model).__name__,
            "device": held.state if (held := model.held) is not None else None,
            "bytes": None if held is None else held.size,
            "hash": getattr(model, "revision", None) if held is not None else None,
        }
        for model in app.models
    ]
    stores = [store_facts(store) for store in visible.values()]
    endpoints = [
        {"methods": each.methods, "path": each.path, "name": each.name, "answers": each.shape}
        for each in served
    ]
    limits = {each.name: getattr(app.limits, each.name) for each in fields(app.limits)}
    return {
        "name": app.name,
        "versions": {"conduit_lab": __version__, "python": python_version(), **_versions()},
        "protocols": list(app.spoken),
        "models": models,
        "stores": stores,
        "endpoints": endpoints,
        # only numbers: others may contain keys and hosts
        "limits": {k: v for k, v in limits.items() if v is None or isinstance(v, int | float)},
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def metrics_text(app: EndpointHost, server: ServerState) -> str:
    """Return the metrics of one server and of the process's models as Prometheus text."""
    text = _Text()
    requests = dict(server.requests)  # copied, since the loop may add entries
    text.add(
        "requests_total",
        "counter",
        "Requests by route template, method and status.",
        (
            ({"method": method, "route": route, "status": status}, number)
            for (method, route, status), number in requests.items()
        ),
    )
    text.histogram("request_seconds", "Seconds from a request to its response start.", server)
    rejected = sum(number for (*_, status), number in requests.items() if status == 429)
    for name, kind, meaning, value in (
        ("requests_in_flight", "gauge", "Requests in progress.", server.in_flight),
        ("requests_rejected_total", "counter", "Requests answered with 429.", rejected),
        ("ready", "gauge", "Whether the server accepts requests.", int(server.ready)),
        ("uptime_seconds", "gauge", "Seconds since startup.", monotonic() - server.started_at),
        ("open_streams", "gauge", "Streams being sent.", len(server.open_streams)),
        ("stream_chunks_total", "counter", "Chunks of finished streams.", server.stream_chunks),
        ("fallbacks_total", "counter", "Requests answered by a fallback.", server.fallbacks),
        ("prompt_tokens_total", "counter", "Prompt tokens.", server.prompt_tokens),
        ("generated_tokens_total", "counter", "Generated tokens.", server.generated_tokens),
        ("memory_bytes", "gauge", "Bytes of model weights in memory.", sessions.size),
        ("memory_budget_bytes", "gauge", "Limit of the model weights in memory.", sessions.budget),
        ("evictions_total", "counter", "Models evicted from memory.", sessions.evictions),
    ):
        text.add(name, kind, meaning, [({}, value)])
    _add_models(text, app)
    return text.joined()


def _add_models(text: _Text, app: EndpointHost) -> None:
    from conduit_lab.serving.traffic import batcher_rows

    held: list[tuple[str, Shared]] = []
    for model in app.models:
        shared = model.held
        if shared is not None:
            held.append((model.name, shared))
    text.add(
        "model_bytes",
        "gauge",
        "Bytes of a model's weights in memory; 0 if evicted.",
        (
            ({"model": name, "device": each.state}, each.size if each.loaded else 0)
            for name, each in held
        ),
    )
    columns: tuple[tuple[str, str, str, Callable[[Shared], float]], ...] = (
        ("model_runs_total", "counter", "Runs of a model.", lambda each: each.calls),
        ("model_rows_total", "counter", "Samples in runs of a model.", lambda each: each.rows),
        ("model_seconds_total", "counter", "Seconds of model runs.", lambda each: each.seconds),
        ("model_on_cpu_total", "counter", "Runs moved to the CPU.", lambda each: each.fallbacks),
    )
    for name, kind, meaning, value in columns:
        text.add(name, kind, meaning, [({"model": model}, value(each)) for model, each in held])
    text.add(
        "model_queue_rows",
        "gauge",
        "Samples waiting for a batch.",
        [({"model": each.name}, batcher_rows(each)) for each in app.models],
    )
    text.batches("model_batch_rows", "Samples per run of a model.", held)


class _Text:
    """The lines of the metrics, grouped by name."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, meaning: str, samples: _Samples) -> None:
        """Add one metric with a sample per set of labels."""
        self._head(name, kind, meaning)
        self._lines += [_line(name, labels, value) for labels, value in samples]

    def histogram(self, name: str, meaning: str, server: ServerState) -> None:
        """Add the latencies of a server's requests."""
        self._head(name, "histogram", meaning)
        for (method, route), latency in dict(server.latencies).items():
            labels = {"method": method, "route": route}
            counts = [*latency.counts]
            self._buckets(name, labels, LATENCY_BOUNDS, counts, latency.seconds)

    def batches(self, name: str, meaning: str, held: Iterable[tuple[str, Shared]]) -> None:
        """Add the batch sizes of each model."""
        self._head(name, "histogram", meaning)
        for model, shared in held:
            rows, counts = shared.rows, shared.batches
            self._buckets(name, {"model": model}, BATCH_BOUNDS, counts, rows)

    def _buckets(
        self, name: str, labels: _Labels, bounds: Sequence[float], counts: list[int], total: float
    ) -> None:
        sum_so_far = 0
        for bound, number in zip((*bounds, "+Inf"), counts, strict=True):
            sum_so_far += number
            self._lines.append(_line(f"{name}_bucket", {**labels, "le": bound}, sum_so_far))
        self._lines.append(_line(f"{name}_sum", labels, total))
        self._lines.append(_line(f"{name}_count", labels, sum_so_far))

    def _head(self, name: str, kind: str, meaning: str) -> None:
        self._lines += [f"# HELP conduit_{name} {meaning}", f"# TYPE conduit_{name} {kind}"]

    def joined(self) -> str:
        """Return the whole text."""
        return "\n".join(self._lines) + "\n"


def _line(name: str, labels: _Labels, value: float) -> str:
    shown = ",".join(f'{key}="{_escaped(str(text))}"' for key, text in labels.items())
    return f"conduit_{name}{{{shown}}} {value}" if shown else f"conduit_{name} {value}"


def _escaped(text: str) -> str:
    # lone surrogates in a model's name cannot be encoded
    text = text.encode("utf-8", "replace").decode()
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
