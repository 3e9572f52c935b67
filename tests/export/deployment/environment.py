"""An environment with Ray Serve and what exports need: `python -m …environment` makes it."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path, PurePath

from conduit_lab.export.requirements import requirements

PLACE = Path(__file__).parents[3] / ".venv" / "ray"
PYTHON = PLACE / "bin" / "python"
_RAY = "ray[serve]==2.60.0"


def make() -> None:
    """Install Ray, and what an app with every kind of file requires; an export brings the rest."""
    names = ("model.onnx", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    text = requirements("", (), [PurePath(name) for name in names], large_stores=True)
    pins = [line for line in text.splitlines() if line[:1].isalpha()]
    venv.create(PLACE, with_pip=True, clear=True)
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, _RAY, *pins], check=True)


if __name__ == "__main__":
    make()
