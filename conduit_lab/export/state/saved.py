"""The state of a session, saved as `state.json` in its export for proofs on other machines."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path

from conduit_lab.export.state.walk import StateLine

STATE_FILE = "state.json"


def save_state(folder: Path, lines: Sequence[StateLine]) -> None:
    """Write the lines with the Python version that compiled the code they describe."""
    rows = ",\n".join(json.dumps(line, ensure_ascii=True) for line in lines)
    text = f'{{"python": "{_python()}", "lines": [\n{rows}\n]}}\n'
    (folder / STATE_FILE).write_text(text, "utf-8")


def saved_state(folder: Path) -> list[StateLine] | None:
    """Load the saved lines; None if there are none, or they are from another Python version."""
    place = folder / STATE_FILE
    if not place.is_file():
        return None
    saved = json.loads(place.read_text("utf-8"))
    return [StateLine(*line) for line in saved["lines"]] if saved["python"] == _python() else None


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])
