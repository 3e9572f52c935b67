"""Calls of tools that take long become tasks, for clients that declare the extension."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

from conduit_lab import App
from conduit_lab.serving.faces import mcp_tasks
from conduit_lab.serving.faces.mcp import mcp_server
from conduit_lab.serving.gate.keys import new_key
from tests.serving.conftest import until

REVISION = "2026-07-28"
PREFIX = "io.modelcontextprotocol/"
TASKS = f"{PREFIX}tasks"
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_tasks, "TASK_AFTER_SECONDS", 0.05)


class Jobs:
    """An app whose tools wait for `go`."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.app = App("desk", root=root, protocols=["mcp"], **options)
        self.go = threading.Event()
        self.ended: list[str] = []

        @self.app.tool()
        async def wait(answer: str = "done") -> str:
            try:
                while not self.go.is_set():
                    await anyio.sleep(0.01)
                return answer
            finally:
                self.ended.append(answer)

        @self.app.tool()
        async def fail() -> str:
            await anyio.sleep(0.2)
            raise RuntimeError("/secret/path")

        @self.app.tool()
        def quick() -> str:
            return "at once"

        @self.app.ml_stream("/steps")
        def steps() -> Iterator[str]:
            yield "first"
            assert self.go.wait(30)
            yield "second"


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


@pytest.fixture
def client(jobs: Jobs) -> Iterator[TestClient]:
    with TestClient(jobs.app) as client:
        yield client
        jobs.go.set()


def send(
    client: TestClient, method: str, declares: bool = True, key: str = "", **params: Any
) -> dict[str, Any]:
    """The result of one request, or its error below `error`."""
    extensions: dict[str, Any] = {"extensions": {TASKS: {}}} if declares else {}
    meta = {
        f"{PREFIX}protocolVersion": REVISION,
        f"{PREFIX}clientInfo": {"name": "test", "version": "1"},
        f"{PREFIX}clientCapabilities": extensions,
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": REVISION,
        "mcp-method": method,
        "mcp-name": params.get("name") or params.get("taskId", ""),
        **({"authorization": f"Bearer {key}"} if key else {}),
    }
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": next(_numbers), "method": method}
    answer = client.post(
        "/mcp", json={**body, "params": {**params, "_meta": meta}}, headers=headers
    )
    if answer.headers["content-type"].startswith("text/event-stream"):
        import json

        lines = [line for line in answer.text.splitlines() if line.startswith("data: {")]
        message = json.loads(lines[-1].removeprefix("data: "))
    else:
        message = answer.json()
    result: dict[str, Any] = message.get("result") or {"error": message["error"]}
    return result


def call(client: TestClient, name: str, **options: Any) -> dict[str, Any]:
    return send(client, "tools/call", name=name, arguments={}, **options)


def status(client: TestClient, task: str, **options: Any) -> dict[str, Any]:
    return send(client, "tasks/get", taskId=task, **options)


def test_a_long_call_becomes_a_task_with_its_result(jobs: Jobs, client: TestClient) -> None:
    task = call(client, "wait")
    assert task["resultType"] == "task"
    assert task["status"] == "working"
    assert task["ttlMs"] == 900_000
    assert status(client, task["taskId"])["status"] == "working"
    jobs.go.set()
    until(lambda: status(client, task["taskId"])["status"] == "completed")
    ended = status(client, task["taskId"])
    assert ended["result"]["structuredContent"] == {"result": "done"}
    assert ended["lastUpdatedAt"] >= ended["createdAt"]


def test_a_short_call_is_answered_at_once(client: TestClient) -> None:
    result = call(client, "quick")
    assert (result["resultType"], result["structuredContent"]) == (
        "complete",
        {"result": "at once"},
    )


def test_a_client_that_does_not_declare_tasks_waits_and_may_ask_for_none(
    jobs: Jobs, client: TestClient
) -> None:
    threading.Timer(0.3, jobs.go.set).start()
    assert call(client, "wait", declares=False)["resultType"] == "complete"
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        assert send(client, method, declares=False, taskId="x")["error"]["code"] == -32021


def test_a_stream_says_how_far_it_is(jobs: Jobs, client: TestClient) -> None:
    task = call(client, "steps")["taskId"]
    assert status(client, task)["statusMessage"] == "first"
    jobs.go.set()
    until(lambda: status(client, task)["status"] == "completed")
    assert status(client, task)["result"]["structuredContent"] == {"chunks": ["first", "second"]}


def test_a_fault_is_a_completed_task_that_says_so(client: TestClient) -> None:
    task = call(client, "fail")["taskId"]
    until(lambda: status(client, task)["status"] == "completed")
    result = status(client, task)["result"]
    assert result["isError"]
    assert "secret" not in result["content"][0]["text"]


def test_a_cancelled_task_ends_its_call(jobs: Jobs, client: TestClient) -> None:
    task = call(client, "wait")["taskId"]
    for _ in range(2):  # again is fine
        assert send(client, "tasks/cancel", taskId=task)["resultType"] == "complete"
        until(lambda: status(client, task)["status"] == "cancelled")
    until(lambda: jobs.ended)
    assert "result" not in status(client, task)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
def test_an_unknown_task_is_named_so(client: TestClient, method: str) -> None:
    assert send(client, method, taskId="nope")["error"]["code"] == -32602


def test_a_task_belongs_to_its_caller(tmp_path: Path) -> None:
    (mine, one), (other, two) = new_key("one"), new_key("two")
    jobs = Jobs(tmp_path, keys=[one, two])
    with TestClient(jobs.app) as client:
        task = call(client, "wait", key=mine)["taskId"]
        assert status(client, task, key=mine)["status"] == "working"
        assert status(client, task, key=other)["error"]["code"] == -32602
        jobs.go.set()


def test_tasks_are_bounded_and_forgotten(
    jobs: Jobs, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_tasks, "MAX_TASKS", 1)
    first = call(client, "wait")["taskId"]
    threading.Timer(0.3, jobs.go.set).start()
    assert call(client, "wait")["resultType"] == "complete"  # it waits instead
    monkeypatch.setattr(mcp_tasks, "TASK_SECONDS", 0.0)
    assert status(client, first)["error"]["code"] == -32602
    assert not mcp_server(jobs.app).tasks._tasks


def test_the_stop_of_a_server_cancels_its_tasks(jobs: Jobs) -> None:
    with TestClient(jobs.app) as client:
        call(client, "wait")
    assert jobs.ended == ["done"]
