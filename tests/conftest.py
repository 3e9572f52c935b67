"""Fixtures that the tests of every room share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from nbclient import NotebookClient

from conduit_lab.core import progress
from conduit_lab.core.progress import Progress
from conduit_lab.models.text.embedder import Embedder
from tests.project import make_project

ROOT = Path(__file__).parents[1]

# The first draw of a session reads the constants of the whole package, in seconds on a busy
# machine: no property fails for its time.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def minilm() -> Embedder:
    """The real embedding model, opened once; `data/make/minilm.py` makes its folder."""
    folder = ROOT / "data" / "models" / "minilm"
    if not (folder / "model.onnx").is_file():
        reason = f"no embedding model in {folder}: run `python data/make/minilm.py`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Embedder(folder).open()


@pytest.fixture(scope="session")
def tour(tmp_path_factory: pytest.TempPathFactory, minilm: Embedder) -> tuple[Any, Path]:
    """The executed tour and its root: a copy of the project, in which it exported its app."""
    root = tmp_path_factory.mktemp("tour")
    make_project(root)
    notebook = nbformat.read(ROOT / "notebooks" / "01_tour.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(root)}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONDUIT_LAB_PROGRESS", "0")  # as in the committed outputs
        client.execute()
    return notebook, root


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL with pgvector; it listens on a socket in a temporary folder."""
    # Not in pytest's folder: the server of a root user runs as another user, who may not enter it.
    with TemporaryDirectory(prefix="postgres-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)  # pgserver keeps its lock there
        import pgserver

        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            url = server.get_uri()
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
            yield url
        finally:
            server.cleanup()


class _Watcher:
    """Takes the place of the thread that draws: keeps each outermost job."""

    def __init__(self) -> None:
        self.jobs: list[Progress] = []

    def add(self, job: Progress) -> None:
        self.jobs.append(job)

    def remove(self, job: Progress, error: BaseException | None) -> None:
        pass


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """The jobs that show their progress, as they begin; nothing is drawn."""
    watcher = _Watcher()
    monkeypatch.setattr(progress, "_new_line", object)
    monkeypatch.setattr(progress, "_ticker", watcher)
    return watcher.jobs


def pytest_configure() -> None:
    """Hear Ctrl-C, which a shell lets processes in the background ignore."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
