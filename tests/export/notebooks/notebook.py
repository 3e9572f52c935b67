"""Notebook: cells as a user types them, and the requests that follow the export."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from tests.models.text import embedders

FAILS = "# fails"  # in a cell that must raise

_FIRST_CELL = 'from conduit_lab import Lab\n\nlab = Lab("desk")'
_ENVIRONMENT_LINE = re.compile(r"^#?\s*(\w+)=", re.MULTILINE)
_REQUEST_ID = re.compile(r'"request_id": ?"[^"]*"')  # one of its own per request
_CELL_MARK = re.compile(r"^# %%\n", re.MULTILINE)


class Ask(NamedTuple):
    """One request: its method, its path with the query as it is sent, and its body."""

    method: str
    target: str
    body: bytes

    @classmethod
    def read(cls, line: str) -> Ask:
        """Read `POST /path {"x": 1}`; the body is JSON."""
        method, target, body = (*line.split(" ", 2), "")[:3]
        if body:
            json.loads(body)
        return cls(method, quote(target, safe="/?&=%+,"), body.encode())


class Answer(NamedTuple):
    """The status of an answer and its text: the events of a stream without their ids."""

    status: int
    text: str

    @classmethod
    def read(cls, status: int, content: bytes, kind: str) -> Answer:
        """Read a response; an error of the server says no more than its status."""
        if status >= 500:
            return cls(status, "")
        text = _REQUEST_ID.sub("", content.decode("utf-8"))
        if kind.startswith("text/event-stream"):
            text = "\n".join(line for line in text.split("\n") if line.startswith("data: "))
        return cls(status, text)


@dataclass(frozen=True)
class Notebook:
    """A session of one kind of hostility, and the verdict that its export must have.

    `cells` are separated by lines `# %%`; the imports and the `Lab` come before them. `asks` are
    requests that no cell made. The export must be equal, or where `refused` is given, raise an
    error that matches this pattern; with `or_equal` both are right. `files` lie in the project.
    None of the `secrets` may be found in the folder, and its requirements hold the `packages`.
    `in_kernel` notebooks need a real kernel, or the replay in a process of its own; with `embedder`
    the project has a small one.
    """

    name: str
    cells: str
    asks: tuple[str, ...]
    refused: str = ""
    or_equal: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    in_kernel: bool = False
    embedder: bool = False
    first: str = _FIRST_CELL

    @property
    def sources(self) -> list[str]:
        """The cells, in the order in which they run."""
        cells = _CELL_MARK.split(dedent(self.cells).strip("\n"))
        return [self.first, *(cell.rstrip("\n") for cell in cells)]

    @property
    def requests(self) -> list[Ask]:
        """The held-out requests."""
        return [Ask.read(line) for line in self.asks]

    def write_project(self, root: Path) -> None:
        """Write the project that the cells run in: its files and `models/sign.npz`."""
        (root / "models").mkdir(parents=True)
        (root / "pyproject.toml").touch()  # marks the root of a project
        write_weights(root / "models" / "sign.npz", ("up", "down"))
        write_weights(root / "models" / "mood.npz", ("glad", "sad"), scale=0.25)
        if self.embedder:
            embedders.folder(root / "models" / "embedder")
        for name, text in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text).lstrip("\n"), "utf-8")


def write_weights(path: Path, labels: tuple[str, str], scale: float = 1.0) -> None:
    """Write a model with two labels: the first where the sum of two numbers is above zero."""
    weights: dict[str, Any] = {
        "W0": np.array([[scale, -scale], [scale, -scale]], np.float32),
        "b0": np.zeros(2, np.float32),
        "activations": np.array(["softmax"]),
        "labels": np.array(labels),
    }
    np.savez(path, **weights)


def environment_of(folder: Path, session: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that an export asks for, with the values that they have here."""
    example = folder / ".env.example"
    text = example.read_text("utf-8") if example.is_file() else ""
    return {name: session[name] for name in _ENVIRONMENT_LINE.findall(text) if name in session}
