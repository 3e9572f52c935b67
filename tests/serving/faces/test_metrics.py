"""Metrics in the Prometheus text format, read by its own parser; facts about the app."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from conduit_lab import App
from conduit_lab.core.errors import Overloaded
from conduit_lab.serving.faces.metrics import CONTENT_TYPE
from conduit_lab.serving.server_state import LATENCY_BOUNDS, ServerState
from tests.serving.conftest import Ask


def read(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return each sample of /metrics by its name and labels."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].encode() == CONTENT_TYPE
    found = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def value(found: Any, name: str, **labels: str) -> float:
    return float(found[f"conduit_{name}", frozenset(labels.items())])


def test_requests_are_counted_by_route_and_never_by_path(app: App, asking: Ask) -> None:
    app.get("/items/{name}")(lambda name: name)

    @app.get("/full")
    def full() -> None:
        raise Overloaded("full")

    client = asking(app)
    for path in ("/items/secret-1", "/items/secret-2", "/full", "/nowhere", "/other"):
        client.get(path)
    client.request("BREW", "/items/secret-3")
    found = read(client)
    assert value(found, "requests_total", method="GET", route="/items/{name}", status="200") == 2
    assert value(found, "requests_total", method="GET", route="/full", status="429") == 1
    assert value(found, "requests_total", method="GET", route="unmatched", status="404") == 2
    assert value(found, "requests_total", method="OTHER", route="unmatched", status="405") == 1
    assert value(found, "requests_rejected_total") == 1
    assert value(found, "requests_in_flight") == 1  # this one
    assert value(found, "ready") == 1
    assert "secret" not in client.get("/metrics").text


def test_the_histogram_of_seconds_adds_up(app: App, asking: Ask) -> None:
    app.get("/one")(lambda: 1)
    client = asking(app)
    for _ in range(5):
        client.get("/one")
    found = read(client)
    labels = {"method": "GET", "route": "/one"}
    buckets = [
        value(found, "request_seconds_bucket", **labels, le=str(bound))
        for bound in (*LATENCY_BOUNDS, "+Inf")
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == value(found, "request_seconds_count", **labels) == 5
    assert value(found, "request_seconds_sum", **labels) > 0


def test_latencies_fall_into_their_buckets() -> None:
    state = ServerState()
    for seconds in (0.0005, 0.001, 0.002, 60.0):
        state.count("GET", "/a", 200, seconds)
    counts = state.latencies["GET", "/a"].counts
    assert counts[-1] == 1
    assert sum(counts) == 4
    assert [seconds for _, seconds in state.recent] == pytest.approx([0.0005, 0.001, 0.002, 60])


def test_models_streams_and_fallbacks_are_counted(app: App, asking: Ask, weights: Path) -> None:
    sign = app.load_model("sign.npz")
    app.post("/sign")(lambda values: sign.batch(values))
    app.ml_endpoint("/safe", model="none.npz", fallback="sign.npz")(lambda body: body)

    @app.ml_stream("/count")
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    client = asking(app)
    before = read(client)
    client.post("/sign", json=[[1, 1]] * 5)
    client.post("/safe", json=[1, 1])
    client.post("/count", json={"n": 7})
    found = read(client)
    assert value(found, "model_bytes", model="sign", device="numpy") > 0
    rows = value(found, "model_rows_total", model="sign")
    # a first batch is compared with runs of single rows
    assert rows - value(before, "model_rows_total", model="sign") >= 6
    assert value(found, "model_batch_rows_sum", model="sign") == rows
    assert value(found, "model_batch_rows_bucket", model="sign", le="+Inf") == value(
        found, "model_runs_total", model="sign"
    )
    assert value(found, "fallbacks_total") == 1
    assert value(found, "stream_chunks_total") == 7
    assert value(found, "open_streams") == 0
    assert value(found, "memory_budget_bytes") > value(found, "memory_bytes") > 0


def test_labels_are_escaped(app: App, asking: Ask, weights: Path) -> None:
    name = 'a "b"\n\\c \ud800'
    app.load_model("sign.npz", name=name)
    found = read(asking(app))
    (label,) = [dict(labels)["model"] for key, labels in found if key == "conduit_model_bytes"]
    assert label == name.replace("\ud800", "?")


def test_two_servers_count_apart(app: App) -> None:
    app.get("/one")(lambda: 1)
    with TestClient(app) as first, TestClient(app) as second:
        first.get("/one")
        labels = {"method": "GET", "route": "/one", "status": "200"}
        assert value(read(first), "requests_total", **labels) == 1
        assert ("conduit_requests_total", frozenset(labels.items())) not in read(second)


def test_info_names_the_parts_and_no_path(
    app: App, asking: Ask, weights: Path, tmp_path: Path
) -> None:
    model = app.load_model("sign.npz")
    store = app.vector_store("notes", dimension=2)
    store.add("a", [1, 0])
    app.get("/one")(lambda: 1)
    answer = asking(app).get("/v1/info")
    info = answer.json()
    assert info["name"] == "desk"
    assert {"conduit_lab", "python", "numpy"} <= info["versions"].keys()
    assert info["models"] == [
        {
            "name": "sign",
            "kind": "Model",
            "device": "numpy",
            "bytes": model.size,
            "hash": model.revision,
        }
    ]
    assert info["stores"] == [{"name": "notes", "entries": 1, "dimension": 2, "metric": "cosine"}]
    assert {"methods": ["GET"], "path": "/one", "name": "<lambda>", "answers": "value"} in info[
        "endpoints"
    ]
    assert info["limits"]["body_bytes"] == app.limits.body_bytes
    assert str(tmp_path) not in json.dumps(info)
    store.close()
