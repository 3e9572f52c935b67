"""A folder that imitates a clone of the project, in which the tour runs."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make_project(root: Path) -> None:
    """Fill `root` with the project's data; the small writer stands for the large chat model."""
    (root / "pyproject.toml").touch()  # marks the root of a project
    models = root / "data" / "models"
    models.mkdir(parents=True)
    for place in (ROOT / "data").iterdir():
        if place.name != "models":
            (root / "data" / place.name).symlink_to(place)
    for place in (ROOT / "data" / "models").iterdir():
        if place.name != "chat":
            (models / place.name).symlink_to(place)
    (models / "chat").mkdir()
    for place in (models / "writer").iterdir():
        (models / "chat" / place.name).symlink_to(place)
    template = {"chat_template": "{{ messages[-1]['content'] }}"}
    (models / "chat" / "tokenizer_config.json").write_text(json.dumps(template))
