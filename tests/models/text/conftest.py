"""Fixtures that several modules of text models use."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab.models.text.embedder import Embedder
from tests.models.text.embedders import LISTED, folder


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    return Embedder(folder(tmp_path / "words", pooling={}, **LISTED))
