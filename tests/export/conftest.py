"""Sessions to export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.export.session import Session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session with a project of its own and `models/sign.npz`: two numbers to up or down."""
    root = tmp_path / "project"
    (root / "models").mkdir(parents=True)
    weights(root / "models" / "sign.npz", ["up", "down"])
    session = Session(root)
    yield session
    session.close()


def weights(path: Path, labels: list[str]) -> None:
    np.savez(
        path,
        W0=np.array([[1, -1], [1, -1]], np.float32),
        b0=np.zeros(2, np.float32),
        activations=np.array(["softmax"]),
        labels=np.array(labels),
    )
