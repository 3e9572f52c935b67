"""Apps for these tests, and clients that need no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
from starlette.testclient import TestClient

from conduit_lab import App, Lab

Ask = Callable[[App], TestClient]
SECONDS = 30.0  # until a wait fails


def until(holds: Callable[[], object]) -> None:
    """Wait for something that another thread does."""
    ends = monotonic() + SECONDS
    while not holds():
        assert monotonic() < ends, "it did not happen"
        sleep(0.005)


@pytest.fixture
def headers_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the headers of a stream wait for its first chunk on a busy machine too."""
    monkeypatch.setattr("conduit_lab.serving.faces.transport.PRELUDE_SECONDS", SECONDS)


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App("desk", root=tmp_path)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab("desk", root=tmp_path)


@pytest.fixture
def asking() -> Iterator[Ask]:
    """A client of an app in this process, with its lifespan running."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(TestClient(app, raise_server_exceptions=False))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """`sign.npz` under the root: two numbers in, the labels `up` and `down` out."""
    path = tmp_path / "sign.npz"
    np.savez(
        path,
        W0=np.array([[1, -1], [1, -1]], np.float32),
        b0=np.zeros(2, np.float32),
        activations=np.array(["softmax"]),
        labels=np.array(["up", "down"]),
    )
    return path
