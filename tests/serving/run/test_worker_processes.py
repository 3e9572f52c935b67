"""The stop of worker processes: each gets the signal at once, drains by itself, and ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import psutil
import pytest
import uvicorn

from conduit_lab.serving.run import worker_processes
from conduit_lab.serving.run.worker_processes import Workers, _Event
from tests.serving.run.test_process import served
from tests.serving.run.test_serve_command import run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM")

SECONDS = 30.0
GRACE = 1.0


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Two workers that sleep; the handlers of signals are given back."""
    before = {each: signal.getsignal(each) for each in signal.valid_signals()}
    workers = Workers(uvicorn.Config("app:app", workers=2), [])
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    processes: Any = [SimpleNamespace(pid=child.pid, child=child) for child in children]
    workers.processes = processes
    try:
        yield workers
    finally:
        for each, handler in before.items():
            if signal.getsignal(each) != handler:
                signal.signal(each, handler)
        for child in children:
            child.kill()
            child.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_reaches_each_worker_at_once_and_once(workers: Any, number: int) -> None:
    stopped: list[int] = []
    signal.raise_signal(number)
    assert [each.child.wait(SECONDS) for each in workers.processes] == [-signal.SIGTERM] * 2
    assert workers.should_exit.is_set()
    late = SimpleNamespace(pid=-1, terminate=lambda: stopped.append(-1))
    workers.processes.append(late)  # it began while the signal came
    workers.terminate_all()
    assert stopped == [-1]


def test_another_signal_wakes_the_parent_and_stops_no_worker(workers: Any) -> None:
    signal.raise_signal(signal.SIGHUP)
    assert workers.should_exit.wait(SECONDS) is False  # woken
    assert workers.signal_queue == [signal.SIGHUP]
    assert [each.child.poll() for each in workers.processes] == [None, None]


class Worker:
    """A fake worker with a given state."""

    started: ClassVar[list[Worker]] = []

    def __init__(self, *_: Any, ready: bool = False, exited: bool = False) -> None:
        self.pid = id(self)
        self.exitcode = 1 if exited else None
        self.ready = ready
        self.calls: list[str] = []
        self.child_conn = SimpleNamespace(close=lambda: None)

    def start(self) -> None:
        self.started.append(self)

    def is_alive(self, timeout: float) -> bool:
        return self.exitcode is None

    def is_ready(self) -> bool:
        return self.ready

    def kill(self) -> None:
        self.calls.append("kill")

    def join(self) -> None:
        self.calls.append("join")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """The workers that were started to replace others, after no pause."""
    monkeypatch.setattr(worker_processes, "Process", Worker)
    monkeypatch.setattr(worker_processes, "REPLACE_SECONDS", 0.0)
    monkeypatch.setattr(Worker, "started", [])
    return Worker.started


def test_a_worker_that_exits_before_any_is_ready_stops_all(workers: Any, started: Any) -> None:
    workers.processes = [Worker(), Worker(exited=True)]
    workers.keep_subprocess_alive()
    assert (workers.failed, workers.should_exit.is_set(), started) == (True, True, [])
    assert workers.processes[1].calls == ["kill", "join"]


def test_a_worker_that_exits_is_replaced_while_the_others_stay(workers: Any, started: Any) -> None:
    first, second = Worker(ready=True), Worker(ready=True)
    workers.processes = [first, second]
    workers.keep_subprocess_alive()
    second.exitcode = -9
    workers.keep_subprocess_alive()
    assert workers.processes == [first, *started]
    started[0].exitcode = 3  # it fails to start: uvicorn would stop the first one too
    workers.keep_subprocess_alive()
    assert workers.processes == [first, started[1]]
    assert (workers.failed, workers.should_exit.is_set(), first.calls) == (False, False, [])


def test_a_stop_during_the_pause_starts_no_worker(workers: Any, started: Any) -> None:
    first, second = Worker(ready=True), Worker()
    workers.processes = [first, second]
    workers.keep_subprocess_alive()
    second.kill = workers.should_exit.set  # type: ignore[method-assign]
    second.exitcode = 3
    workers.keep_subprocess_alive()
    assert started == []


FAILING = {
    "its model": "app.load_model('no.onnx')",
    "its code": "import multiprocessing, os\nmultiprocessing.parent_process() and os._exit(7)",
}


@pytest.mark.parametrize("what", FAILING)
def test_workers_that_cannot_start_end_the_command_with_an_error(tmp_path: Path, what: str) -> None:
    source = "from conduit_lab import App\napp = App('desk', root='.')\n"
    (tmp_path / "app.py").write_text(source + FAILING[what])
    status, text = run(tmp_path, "--port=0", "--workers=2")
    assert status == 3
    assert "failed to start" in text


def test_an_event_ends_each_wait() -> None:
    event = _Event()
    assert event.wait(0.001) is False
    event.wake()
    assert event.wait(SECONDS) is False
    event.set()
    assert event.wait(SECONDS)
    assert event.wait(SECONDS)


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one", "workers"])
def test_open_streams_end_with_the_grace_and_then_the_processes(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    with served(tmp_path, "--grace", str(GRACE), *options) as (process, url):
        client = httpx.Client(timeout=SECONDS)
        with client, client.stream("POST", f"{url}/count", json={"n": 10**6}) as stream:
            lines = (line for line in stream.iter_lines() if line)
            next(lines)
            process.send_signal(signal.SIGTERM)
            begun = monotonic()
            last = list(lines)[-1]
        assert "stream_cancelled" in last
        assert process.wait(SECONDS) in (0, -signal.SIGTERM)
        assert monotonic() - begun < GRACE + 0.5 + 6.0  # slack for a busy machine


# a parent that spawns one process; that one runs the watch of a worker beside its own work
PARENT = """
import multiprocessing, os, sys, time

def work():
    from conduit_lab.serving.run.worker_processes import _stop_after_parent
    import threading
    threading.Thread(target=_stop_after_parent, daemon=True).start()
    print(os.getpid(), flush=True)
    time.sleep(120)

if __name__ == "__main__":
    worker = multiprocessing.get_context("spawn").Process(target=work)
    worker.start()
    worker.join()
"""


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        assert worker.is_running()
        parent.kill()
        try:
            worker.wait(SECONDS)
        finally:
            with suppress(psutil.NoSuchProcess):
                worker.kill()


def test_the_app_of_a_worker_brings_the_watch_of_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watching = threading.Event()
    monkeypatch.setattr(worker_processes, "_stop_after_parent", watching.set)
    app: Any = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "app", SimpleNamespace(app=app))
    assert worker_processes.worker_app() is app
    assert watching.wait(SECONDS)


@pytest.mark.long
def test_workers_drain_and_end_when_the_parent_of_a_served_folder_is_killed(tmp_path: Path) -> None:
    with served(tmp_path, "--grace", str(GRACE), "--workers", "2") as (process, url):
        workers = psutil.Process(process.pid).children()  # with multiprocessing's own tracker
        client = httpx.Client(timeout=SECONDS)
        try:
            with client, client.stream("POST", f"{url}/count", json={"n": 10**6}) as stream:
                lines = (line for line in stream.iter_lines() if line)
                next(lines)
                process.kill()
                process.wait(SECONDS)
                last = list(lines)[-1]
            assert "stream_cancelled" in last
            _, alive = psutil.wait_procs(workers, SECONDS)
            assert not alive
        finally:
            for each in workers:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
