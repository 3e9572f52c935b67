"""Rows 60 to 63 of the faults that the served app survives: its processes, its load, its clock."""

from __future__ import annotations

import ast
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import conduit_lab
from conduit_lab import App, Limits
from conduit_lab.serving.gate.keys import new_key
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import SECONDS, until
from tests.serving.faults.raw import ask, is_well, request
from tests.serving.run.test_process import served

PACKAGE = Path(conduit_lab.__file__).parent
DAY_SECONDS = 86_400


def workers_of(parent: int) -> dict[int, psutil.Process]:
    """Return the workers of `conduit-lab serve`, without multiprocessing's own tracker."""
    workers = {}
    for each in psutil.Process(parent).children():
        with suppress(psutil.NoSuchProcess):  # one that was killed, or ended
            if "spawn_main" in " ".join(each.cmdline()):
                workers[each.pid] = each
    return workers


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_row_60_a_worker_that_is_killed_costs_a_retrying_client_nothing(tmp_path: Path) -> None:
    done, answers, lost, repeated = threading.Event(), [], [], []

    def load(url: str) -> None:
        while not done.is_set():
            for _ in range(20):
                try:
                    answers.append(httpx.post(f"{url}/count", json={"n": 3}, timeout=SECONDS).text)
                    break
                except httpx.TransportError:
                    repeated.append(1)
                    time.sleep(0.1)
            else:
                lost.append(1)

    with served(tmp_path, "--workers", "2") as (process, url), ThreadPoolExecutor(3) as pool:
        until(lambda: len(workers_of(process.pid)) == 2)
        begun = [pool.submit(load, url) for _ in range(3)]
        try:
            until(lambda: len(answers) > 5)
            killed, worker = workers_of(process.pid).popitem()
            worker.send_signal(signal.SIGKILL)
            until(lambda: len(workers_of(process.pid).keys() - {killed}) == 2)
            known = len(answers)
            until(lambda: len(answers) > known + 20)
        finally:
            done.set()
        for each in begun:
            each.result(SECONDS)
    whole = [[line for line in text.splitlines() if line[:4] == "data"] for text in answers]
    expected = [f'data: {{"number":{n}}}' for n in range(3)]
    assert lost == []
    assert [lines for lines in whole if lines[:3] != expected] == []


def test_row_61_ten_times_the_load_is_bounded_and_the_accepted_are_right(tmp_path: Path) -> None:
    limits = Limits(concurrent_requests=4, queued_requests=8)
    app, go, entered = App("desk", root=tmp_path, limits=limits), threading.Event(), []

    @app.post("/square")
    def square(n: int) -> int:
        entered.append(n)
        assert go.wait(SECONDS)
        return n * n

    app.post("/echo")(lambda value: value)
    with Server(app, port=0) as server, ThreadPoolExecutor(120) as pool:
        (state,) = app._lives.states
        asked = {
            n: pool.submit(ask, server, request("/square", b'{"n": %d}' % n)) for n in range(120)
        }
        until(lambda: sum(each.done() for each in asked.values()) == 120 - 4 - 8)
        assert (state.slots.taken, len(state.slots.waiting), len(entered)) == (4, 8, 4)
        go.set()
        answers = {n: each.result(SECONDS) for n, each in asked.items()}
        until(lambda: state.slots.taken == 0)
        assert is_well(server)
    accepted = {n: answer for n, answer in answers.items() if answer.status == 200}
    assert sorted(accepted) == sorted(entered)
    assert [json.loads(answer.body) for answer in accepted.values()] == [n * n for n in accepted]
    rejected = [answer for answer in answers.values() if answer.status != 200]
    assert {answer.status for answer in rejected} == {429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in rejected)


def test_row_62_a_handler_that_blocks_leaves_the_loop_free(tmp_path: Path) -> None:
    app, go, entered = App("desk", root=tmp_path), threading.Event(), threading.Event()

    @app.post("/block")
    def block(value: Any) -> Any:
        entered.set()
        assert go.wait(SECONDS)
        return value

    app.post("/echo")(lambda value: value)
    with Server(app, port=0) as server, ThreadPoolExecutor(1) as pool:
        try:
            for n in range(3):  # an endpoint whose pace is unknown, and one that was short once
                asked = pool.submit(ask, server, request("/block", b"%d" % n))
                assert entered.wait(SECONDS)
                assert is_well(server)
                go.set()
                assert asked.result(SECONDS).body == b"%d" % n
                go.clear()
                entered.clear()
        finally:
            go.set()


# the files of request-answering rooms that read the wall clock, each with its purpose
WALL_CLOCK = {
    "core/trace/otel.py": "the start of an exported span",
    "models/generation/chat_filters.py": "the date in a chat template",
    "runtime/checks/content.py": "the stamp of a file",
    "runtime/measuring/probe.py": "the date of a report",
    "serving/faces/mcp_tasks.py": "the dates of a task",
    "serving/faces/openai/chat_completions.py": "`created`",
    "serving/faces/openai/response_events.py": "`created_at`",
    "serving/faces/openai/text_completions.py": "`created`",
    "serving/gate/signed_links.py": "the day on which a link ends",
    "serving/server_state.py": "the time of a failure",
}


def reads_the_wall_clock(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            if {"time", "time_ns"} & {each.name for each in node.names}:
                return True
        elif isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner == "time" and node.attr in ("time", "time_ns"):
                return True
            if owner.startswith("date") and node.attr in ("now", "utcnow", "today"):
                return True
    return False


def test_row_63_waits_windows_and_ids_use_the_monotonic_clock() -> None:
    rooms = ("core", "runtime", "models", "flow", "serving")
    files = [path for room in rooms for path in (PACKAGE / room).rglob("*.py")]
    texts = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in files}
    found = {
        name
        for name, text in texts.items()
        if re.search(r"\b(time_ns|now|utcnow|today)\b|\btime import .*\btime\b|time\.time", text)
        and reads_the_wall_clock(ast.parse(text))
    }
    assert found == set(WALL_CLOCK)


class Clock:
    """A wall clock that jumps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jump = 0
        real = time.time
        monkeypatch.setattr("time.time", lambda: real() + self.jump)
        for name, module in list(sys.modules.items()):
            if name.startswith("conduit_lab") and getattr(module, "time", None) is real:
                monkeypatch.setattr(module, "time", lambda: real() + self.jump)


def test_row_63_a_jump_of_the_clock_ends_no_wait_and_no_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, key = new_key("ann", requests_per_minute=4)
    app = App("desk", root=tmp_path, keys=[key], limits=Limits(deadline=SECONDS))
    clock, go = Clock(monkeypatch), threading.Event()

    @app.ml_stream("/count", resume=SECONDS)
    def count() -> Iterator[int]:
        yield 0
        assert go.wait(SECONDS)
        yield from range(1, 4)

    app.post("/slow")(lambda value: go.wait(SECONDS) and value)
    headers = {"authorization": f"Bearer {secret}"}
    with (
        Server(app, port=0) as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=SECONDS) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        with client.stream("GET", "/count") as stream:
            lines = stream.iter_lines()
            first = next(line for line in lines if line.startswith("id:")).removeprefix("id: ")
            slow = pool.submit(client.post, "/slow", json=7)
            for clock.jump in (-400 * DAY_SECONDS, 400 * DAY_SECONDS, -1, 3600):
                assert client.get("/healthz").status_code == 200
        clock.jump = -DAY_SECONDS  # the client left, and comes back
        go.set()
        assert slow.result(SECONDS).json() == 7
        back = client.get("/count", headers={"last-event-id": first})
        assert back.text.count("data: ") >= 3
        statuses = []
        for clock.jump in (0, 2 * DAY_SECONDS, -2 * DAY_SECONDS):
            answer = client.post("/slow", json=1)
            statuses.append(answer.status_code)
        assert statuses == [200, 429, 429]
        assert 1 <= int(answer.headers["retry-after"]) <= 60
