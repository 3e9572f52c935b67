"""Tiny decoders of real architectures with the tokens of transformers (`data/make/decoders.py`)."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

DECODERS = Path(__file__).parent / "decoders"
NAMES = ("llama", "qwen3", "phi3", "qwen2", "gpt2")
WHOLE = ("llama", "qwen3", "phi3")  # GroupQueryAttention; the others' caches grow


@dataclass(frozen=True)
class Golden:
    """A prompt, its ids, and the 64 tokens that follow it greedily."""

    prompt: str
    ids: list[int]
    tokens: list[int]


def golden(name: str) -> list[Golden]:
    """Return the tokens of transformers for prompts of 4, 13, 32 and about 60 tokens."""
    return [Golden(**entry) for entry in json.loads((DECODERS / name / "golden.json").read_text())]


def copy(name: str, path: Path) -> Path:
    """Return a copy of a folder that a test may change."""
    return Path(shutil.copytree(DECODERS / name, path / name))


def change(file: Path, **values: object) -> None:
    """Change keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
