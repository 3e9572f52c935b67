"""Calls of tools that take long become tasks, for clients that declare the extension."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import mcp.types as types
import pytest
from mcp.server.mcpserver import Context
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


def asks(state: str, *keys: str) -> types.InputRequiredResult:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    params = types.ElicitRequestFormParams(message="Which?", requested_schema=schema)
    return types.InputRequiredResult(
        input_requests={key: types.ElicitRequest(params=params) for key in keys},
        request_state=state,
    )


def accept(**answers: str) -> dict[str, Any]:
    return {key: {"action": "accept", "content": {"answer": text}} for key, text in answers.items()}


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

        @mcp_server(self.app).tool()
        async def order(ctx: Context[Any, Any]) -> str | types.InputRequiredResult:
            """Ask for a size and a colour in one round, and for a name in another."""
            await anyio.sleep(0.2)
            given: Any = ctx.input_responses or {}
            if not given:
                return asks("first", "size", "colour")
            if ctx.request_state == "first":
                chosen = [given[key].content["answer"] for key in ("size", "colour")]
                return asks(" ".join(chosen), "name")
            return f"{ctx.request_state} for {given['name'].content['answer']}"

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


def test_a_task_asks_its_client_in_rounds_and_takes_answers_one_by_one(client: TestClient) -> None:
    task = call(client, "order")["taskId"]

    def update(**given: Any) -> dict[str, Any]:
        return send(client, "tasks/update", taskId=task, inputResponses=given)

    def asked() -> list[str]:
        state = status(client, task)
        requests = state.get("inputRequests", {})
        assert (state["status"] == "input_required") == bool(requests)
        assert all(each["method"] == "elicitation/create" for each in requests.values())
        return list(requests)

    assert update(unknown=7)["resultType"] == "complete"  # asked already or not
    until(lambda: asked() == ["size", "colour"])
    assert update(unknown=7)["resultType"] == "complete"
    assert update(size=7)["error"]["code"] == -32602
    assert asked() == ["size", "colour"]
    assert update(**accept(colour="red", other="x"))["resultType"] == "complete"
    assert asked() == ["size"]
    update(**accept(colour="blue"))  # it has been answered
    update(**accept(size="large"))
    until(lambda: asked() == ["name"])
    update(**accept(name="Ann"))
    until(lambda: status(client, task)["status"] == "completed")
    (content,) = status(client, task)["result"]["content"]
    assert content["text"] == "large red for Ann"


def test_a_task_that_waits_for_an_answer_may_be_cancelled(client: TestClient) -> None:
    task = call(client, "order")["taskId"]
    until(lambda: status(client, task)["status"] == "input_required")
    send(client, "tasks/cancel", taskId=task)
    until(lambda: status(client, task)["status"] == "cancelled")
    assert "inputRequests" not in status(client, task)


def test_a_client_without_tasks_is_asked_in_place_of_an_answer(client: TestClient) -> None:
    result = call(client, "order", declares=False)
    assert (result["resultType"], list(result["inputRequests"])) == (
        "input_required",
        ["size", "colour"],
    )


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
