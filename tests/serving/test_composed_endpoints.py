"""Composed stages as endpoints: served as they are, and checked when their models open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from conduit_lab.core.errors import CompositionError
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.route import Route
from conduit_lab.flow.sequential import Sequential
from conduit_lab.serving.app import App


def write_model(path: Path, width: int, *, labels: bool) -> str:
    arrays = {"W": np.eye(width, 2, dtype=np.float32), "b": np.zeros(2, np.float32)}
    if labels:
        arrays["labels"] = np.array(["a", "b"])
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def features(data: Any) -> Any:
    return data["x"]


def test_nested_combinators_are_served(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path)
    scores = app.load_model(write_model(tmp_path / "scores.npz", 4, labels=False))
    topic = app.load_model(write_model(tmp_path / "topic.npz", 2, labels=True))
    way = Route(lambda _: "known", {"known": Fallback(topic, max, name="topic or best")})
    pipe = Sequential(scores, Parallel({"topic": way, "scores": list}), name="analyze")
    app.ml_endpoint("/analyze", model=pipe)(features)
    assert scores.held is None
    with TestClient(app) as client:
        answer = client.post("/analyze", json={"x": [4, 0, 0, 0]}).json()
    assert answer["topic"]["label"] == "a" and len(answer["scores"]) == 2


def test_a_lazily_declared_misfit_is_found_when_the_app_opens(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path)
    scores = app.load_model(write_model(tmp_path / "scores.npz", 4, labels=False))
    topic = app.load_model(write_model(tmp_path / "topic.npz", 3, labels=True))
    app.ml_endpoint("/analyze", model=Sequential(scores, topic))(features)
    with pytest.raises(
        CompositionError, match=r"'scores' returns float32 \[batch, 2\], 'topic' exp"
    ):
        app.open_resources()
