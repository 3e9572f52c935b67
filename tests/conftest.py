"""What all rooms' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conduit_lab.models.embedder import Embedder

ROOT = Path(__file__).parents[1]


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
