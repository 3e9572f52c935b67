"""An export that waits, is interrupted, or runs concurrently with another one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.core.progress import progress
from conduit_lab.export import writer
from tests.export.session import Session

WAIT = 30.0


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Lets the running stream end."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def session(tmp_path: Path, gate: threading.Event) -> Session:
    """A session with an older export in `out`."""
    session = Session(tmp_path)
    session.names["gate"] = gate
    session.run("@lab.get('/a')\ndef a():\n    return 1", "a()")
    session.export()
    return session


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def run_stream(session: Session) -> None:
    session.run(
        "@lab.ml_stream('/count')\ndef count(n: int):\n    for i in range(n):\n        yield i\n"
        "    assert wait()",
    )
    gate: threading.Event = session.names["gate"]
    session.names["wait"] = lambda: gate.wait(WAIT)
    session.run("stream = count(2)")


def export(session: Session, folder: str = "out") -> Any:
    return writer.export_app(
        session.lab, folder, examples=session.lab.examples,
        statements=["lab = Lab('desk')", *session.cells], namespace=session.names, proof=None,
    )  # fmt: skip


def test_an_export_says_that_it_waits_for_a_stream_and_has_its_call(
    session: Session, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    @contextmanager
    def waiting(total: int, unit: str, name: str) -> Iterator[Any]:
        said.append(f"{name}: {total} {unit}")
        with progress(total, unit, name) as job:
            gate.set()
            yield job

    monkeypatch.setattr("conduit_lab.notebook.lab.progress", waiting)
    monkeypatch.setattr(writer, "export_app", lambda lab, *_, examples, **__: examples)
    run_stream(session)
    examples: Any = session.lab.export("out", proof=None)
    assert said == ["export: waiting for running streams: 1 stream"]
    assert [example.answer for example in examples["/count"]] == [[0, 1]]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_an_interrupt_ends_the_wait_and_leaves_the_older_export(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, begun = files(session.root / "out"), threading.Event()

    def interrupt() -> None:
        assert begun.wait(WAIT)
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)

    @contextmanager
    def waiting(*arguments: Any) -> Iterator[Any]:
        with progress(*arguments) as job:
            begun.set()
            yield job

    monkeypatch.setattr("conduit_lab.notebook.lab.progress", waiting)
    run_stream(session)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        session.lab.export("out", proof=None)
    interrupter.join()
    assert files(session.root / "out") == before
    assert [path.name for path in session.root.iterdir()] == ["out"]


@pytest.mark.parametrize("step", ["_write", "check_files", "_write_manifest"])
def test_an_interrupt_of_a_step_leaves_the_older_export(
    session: Session, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = files(session.root / "out")
    own = getattr(writer, step)

    def interrupted(*arguments: Any) -> None:
        own(*arguments)
        raise KeyboardInterrupt

    session.run("@lab.get('/b')\ndef b():\n    return 2", "b()")
    monkeypatch.setattr(writer, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(session)
    assert files(session.root / "out") == before
    assert [path.name for path in session.root.iterdir()] == ["out"]
    monkeypatch.undo()
    assert len(export(session).plan.endpoints) == 2


def test_two_exports_at_once_do_not_mix(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    both, own = threading.Barrier(2, timeout=WAIT), writer._write

    def together(*arguments: Any) -> None:
        both.wait()
        own(*arguments)
        both.wait()

    monkeypatch.setattr(writer, "_write", together)
    with ThreadPoolExecutor(2) as threads:
        made = [threads.submit(export, session, name) for name in ("one", "two")]
        assert [each.result().folder.name for each in made] == ["one", "two"]
    monkeypatch.undo()
    assert files(session.root / "one") == files(session.root / "two") == files(session.root / "out")


def test_one_of_two_exports_to_a_folder_is_refused(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = writer._write

    def during(*arguments: Any) -> None:
        monkeypatch.setattr(writer, "_write", own)
        with (
            ThreadPoolExecutor(1) as thread,
            pytest.raises(ExportError, match=r"another export to .*out is running"),
        ):
            thread.submit(export, session).result()
        own(*arguments)

    monkeypatch.setattr(writer, "_write", during)
    before = files(session.root / "out")
    assert files(export(session).folder) == before
    assert [path.name for path in session.root.iterdir()] == ["out"]
