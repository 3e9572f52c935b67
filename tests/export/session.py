"""A session like a notebook's: cells that run in one namespace, and the export of its app."""

from __future__ import annotations

import json
import runpy
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from starlette.testclient import TestClient

from conduit_lab import Lab, VectorStore, export_app
from conduit_lab.export.agreement import difference
from conduit_lab.export.cell_run import CellRun
from conduit_lab.export.export_result import Export
from conduit_lab.export.part import Selection
from conduit_lab.export.proof import ProofKind
from conduit_lab.export.quantized import OptimizeKind
from conduit_lab.export.replay import comparison
from conduit_lab.serving.app import App
from conduit_lab.serving.recorded import Example


class Session:
    """Cells that were run; `lab` is their app, `names` their namespace.

    `cells` are texts, and where one failed a `CellRun` with its line.
    """

    def __init__(self, root: Path, name: str = "desk") -> None:
        self.root = root
        self.cells: list[CellRun | str] = []
        self.lab = Lab(name, root=root)
        self.names: dict[str, Any] = {"__name__": "cells", "lab": self.lab}

    def run(self, *cells: str) -> Session:
        """Run cells, one after the other; a first line that is indented is dedented."""
        for cell in map(dedent, cells):
            exec(compile(cell, "<cell>", "exec", dont_inherit=True), self.names)
            self.cells.append(cell)
        return self

    def fail(self, cell: str) -> Session:
        """Run a cell that raises, as a notebook does."""
        cell = dedent(cell)
        try:
            exec(compile(cell, "<cell>", "exec", dont_inherit=True), self.names)
        except Exception as error:
            frames = traceback.walk_tb(error.__traceback__)
            line = next(n for frame, n in frames if frame.f_code.co_filename == "<cell>")
            self.cells.append(CellRun(len(self.cells) + 2, cell, stopped_at=line))
            return self
        raise AssertionError("the cell did not fail")

    def export(
        self,
        *,
        replay: bool = False,
        endpoints: Selection | None = None,
        optimize: OptimizeKind | None = None,
        proof: ProofKind | None = None,
    ) -> Export:
        """Export to `root/out`, by default without the proof in a fresh process."""
        return export_app(
            self.lab,
            "out",
            examples=self.lab.examples,
            statements=["lab = Lab('desk')", *self.cells],
            namespace=self.names,
            endpoints=endpoints,
            proof="process" if replay or optimize else proof,
            optimize=optimize,
        )

    def source(self) -> str:
        """Export and return the text of `app.py`."""
        return (self.export().folder / "app.py").read_text("utf-8")

    def close(self) -> None:
        """Close the stores of the cells."""
        close_stores(self.names)


def close_stores(names: dict[str, Any]) -> None:
    for value in list(names.values()):
        if isinstance(value, VectorStore):
            value.close()


def same(session: Session) -> str:
    """Export, send the export the session's requests, and return its source."""
    export = session.export()
    assert answers(export.folder) == [None] * len(session.lab.examples)
    return (export.folder / "app.py").read_text("utf-8")


@contextmanager
def loaded(folder: Path) -> Iterator[dict[str, Any]]:
    """Run the `app.py` of an export in this process, and yield its names."""
    names = runpy.run_path(str(folder / "app.py"), run_name="exported")
    try:
        yield names
    finally:
        close_stores(names)


def answers(folder: Path) -> list[str | None]:
    """Ask an export, in this process, each of its examples; return the differences."""
    lines = (folder / "examples.jsonl").read_text("utf-8").strip("\n").split("\n")
    found = []
    with ExitStack() as stack:
        names = stack.enter_context(loaded(folder))
        app = names["app"]
        assert isinstance(app, App)
        assert not isinstance(app, Lab)
        client = stack.enter_context(TestClient(app))
        for example in map(Example.from_json, lines):
            if example.method == "GET":
                answer = client.get(example.target)
            else:
                answer = client.post(
                    example.target,
                    content=json.dumps(example.payload),
                    headers={"content-type": "application/json"},
                )
            assert answer.status_code == 200, answer.text
            found.append(difference(example.answer, answer.json(), comparison(example)))
    return found
