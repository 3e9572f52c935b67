"""The access log has one line per request, and neither its query nor its key."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from conduit_lab import App
from conduit_lab.serving.gate.access_log import WithoutQuery, hide_queries
from conduit_lab.serving.gate.keys import new_key
from tests.serving.conftest import Ask, until
from tests.serving.faults.raw import HOST, ask, plain_uvicorn, request


def access_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "conduit_lab.access"]


def test_a_line_names_caller_route_status_and_id(
    tmp_path: Path, asking: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    secret, key = new_key("ann")
    app = App("desk", root=tmp_path, keys=[key])
    app.get("/read/{name}")(lambda name, prompt: name)
    client = asking(app)
    with caplog.at_level(logging.INFO, "conduit_lab.access"):
        answer = client.get("/read/bob?prompt=hunter2", headers={"x-api-key": secret})
        client.get("/nope%0A127.0.0.1%20ann%20GET%20/forged?prompt=hunter2")
    first, second = access_lines(caplog)
    address, caller, method, path, status, seconds, request_id = first.split()
    assert (address, caller, method, path) == ("testclient", "ann", "GET", "/read/{name}")
    assert (status, request_id) == ("200", answer.headers["x-request-id"])
    assert 0 <= float(seconds) < 60
    assert second.split()[1:3] == ["-", "GET"]
    assert "\n" not in second
    assert "hunter2" not in caplog.text
    assert secret not in caplog.text


def test_without_the_level_nothing_is_logged(
    app: App, asking: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "conduit_lab.access"):
        asking(app).get("/healthz")
    assert access_lines(caplog) == []


def test_the_access_log_of_plain_uvicorn_loses_the_query(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    app.get("/read")(lambda prompt: 1)
    log = logging.getLogger("uvicorn.access")
    with plain_uvicorn(app) as server, caplog.at_level(logging.INFO, "uvicorn.access"):
        before = log.propagate, log.handlers[:]
        log.propagate, log.handlers[:] = True, [caplog.handler]
        try:
            assert ask(server, request("/read?prompt=hunter2", headers=HOST, method="GET")).status
            until(lambda: any(r.name == "uvicorn.access" for r in caplog.records))
        finally:
            log.propagate, log.handlers[:] = before
    assert '"GET /read HTTP/1.1" 200' in caplog.text
    assert "hunter2" not in caplog.text


def test_the_filter_is_added_once_and_keeps_other_records() -> None:
    hide_queries()
    hide_queries()
    filters = logging.getLogger("uvicorn.access").filters
    assert len([each for each in filters if isinstance(each, WithoutQuery)]) == 1
    record = logging.LogRecord("uvicorn.access", 20, "", 0, "plain ?", None, None)
    assert WithoutQuery().filter(record)
    assert record.getMessage() == "plain ?"
