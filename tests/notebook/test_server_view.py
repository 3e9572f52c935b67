"""The messages of a server's dashboard, without a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from conduit_lab import Lab
from conduit_lab.notebook.mount import sendable
from conduit_lab.notebook.views.server import SERVER
from conduit_lab.notebook.views.server import dashboard as dashboard_module
from conduit_lab.notebook.views.server.dashboard import Dashboard


def test_a_dashboard_sends_what_has_changed_and_ends_with_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(dashboard_module, "monotonic", lambda: now[0])
    lab = Lab("<desk>\ud800", root=tmp_path)
    lab.get("/one")(lambda: 1)
    lab.get("/fail")(lambda: 1 / 0)
    sent: list[dict[str, Any]] = []
    with lab.serve(port=0) as server:
        view = Dashboard(server, sent.append)
        assert SERVER.running(server)
        assert not SERVER.ended(server)
        view.flush()
        view.flush()  # within the same second
        now[0] += 2
        view.flush()  # nothing has changed
        assert len(sent) == 1
        httpx.get(f"{server.url}/one", timeout=30)
        failed = httpx.get(f"{server.url}/fail", timeout=30).headers["x-request-id"]
        view.flush()
        assert len(sent) == 1
        now[0] += 2
        view.flush()
        message = sent[-1]
        assert message["url"] == server.url
        assert message["facts"] == ["● running", sendable(lab.name), "2 endpoints"]
        assert sum(message["per_second"]) == 2
        assert len(message["per_second"]) == 60
        ((endpoints,), (failures,)) = message["groups"]
        assert [row[0]["text"] for row in endpoints["rows"]] == ["GET /one", "GET /fail"]
        assert failures["rows"][0][-1]["text"] == failed
        assert failed in message["html"]
        view.opened()
        view.flush()
        assert len(sent) == 3
    assert SERVER.ended(server)
    assert not SERVER.running(server)
    view.close()
