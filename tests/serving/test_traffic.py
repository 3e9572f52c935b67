"""The traffic of a server in figures, and the view that shows it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from starlette.testclient import TestClient

from conduit_lab import Lab
from conduit_lab.serving import server_state, traffic
from conduit_lab.serving.server_state import ServerState
from conduit_lab.serving.traffic import RateStrip, Traffic

SECONDS = 30.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(server_state, "monotonic", lambda: now[0])
    monkeypatch.setattr(traffic, "monotonic", lambda: now[0])
    return now


def test_rates_and_percentiles_are_of_the_last_seconds(lab: Lab, clock: list[float]) -> None:
    state = ServerState()
    clock[0] += 100
    state.count("GET", "/old", 200, 9.0)
    clock[0] += 30
    for number in range(100):
        state.count("GET", "/a", 200, number / 1000)
    clock[0] += 1.5
    found = Traffic.of(lab, state)
    assert (found.rate, found.p50, found.p99) == (10, 0.05, 0.099)
    assert found.per_second[-2:] == [100, 0]
    assert found.per_second[-32] == 1
    assert sum(found.per_second) == found.requests == 101
    clock[0] += 60
    later = Traffic.of(lab, state)
    assert (later.rate, sum(later.per_second), later.requests) == (0, 0, 101)
    assert later.headline == "no requests in the last 10 s"


def test_the_strip_has_a_bar_per_second_and_its_maximum_in_words() -> None:
    strip = RateStrip([0, 1, 8])
    assert strip.plain() == " ▁█"
    assert strip.html().count("background:") == 3
    assert "at most 8" in strip.html()
    assert RateStrip([0, 0]).plain() == RateStrip([0, 0]).html() == ""


def test_a_server_shows_its_traffic_and_its_failures_by_their_ids(lab: Lab) -> None:
    @lab.get("/items/{n}")
    def item(n: int) -> float:
        return 1 / n

    @lab.ml_stream("/count")
    def count() -> Iterator[int]:
        yield 1

    with lab.serve(port=0) as server, httpx.Client(base_url=server.url, timeout=SECONDS) as client:
        assert "no requests in the last 10 s" in repr(server)
        client.get("/items/1")
        failed = client.get("/items/0")
        client.get("/items/x")
        text = repr(server)
        assert "● running" in text
        assert "/s · p50" in text
        (line,) = [line.split() for line in text.splitlines() if "GET /items/{n}" in line]
        assert line[2:4] == ["3", "2"]
        assert failed.headers["x-request-id"] in text
        assert "✕ 500 ZeroDivisionError" in text
        html = server._repr_mimebundle_()["text/html"]
        assert failed.headers["x-request-id"] in html
    assert "■ stopped" in repr(server)
    assert "3 requests since the start" in repr(server)


def test_a_request_without_an_answer_counts_as_a_client_that_left() -> None:
    state = ServerState()
    state.count("GET", "/a", 0, 1.0)
    assert state.requests == {("GET", "/a", 499): 1}


def test_the_failures_and_the_recent_requests_are_bounded(lab: Lab) -> None:
    lab.get("/fail")(lambda: 1 / 0)
    with TestClient(lab, raise_server_exceptions=False) as client:
        for _ in range(server_state.MAX_FAILURES + 5):
            client.get("/fail")
        (state,) = lab._lives.states
        assert len(state.failures) == server_state.MAX_FAILURES
    assert state.recent.maxlen == server_state.MAX_RECENT_REQUESTS
