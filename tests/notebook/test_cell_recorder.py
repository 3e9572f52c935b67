"""The cell recorder: the cells that ran in a session, in order, and where execution stopped."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from conduit_lab import Lab
from conduit_lab.notebook import history
from tests.notebook.shell import RealShell

LAB = "from conduit_lab import Lab\nlab = Lab('desk', root=ROOT)"


@pytest.fixture
def recorded(shell: RealShell, tmp_path: Path) -> RealShell:
    """A shell whose first cell makes a lab."""
    shell.names["ROOT"] = tmp_path
    shell.run(LAB)
    return shell


def sources() -> list[tuple[str, int | None]]:
    """Return the recorded cells after the lab's, each with the line where it stopped."""
    cells = history.cells() or []
    return [(cell.source, cell.stopped_at) for cell in cells if cell.source != LAB]


def test_cells_are_recorded_from_the_labs_own_cell_on(shell: RealShell, tmp_path: Path) -> None:
    shell.names["ROOT"] = tmp_path
    shell.run("a = 1", "b = 2\n1 / 0\nc = 3", LAB, "d = 4")
    cells = history.cells() or []
    assert [(cell.number, cell.source, cell.stopped_at) for cell in cells] == [
        (1, "a = 1", None),
        (2, "b = 2\n1 / 0\nc = 3", 2),
        (3, LAB, None),
        (4, "d = 4", None),
    ]


def test_a_lab_cell_with_a_last_empty_line_is_recorded_once(
    shell: RealShell, tmp_path: Path
) -> None:
    shell.names["ROOT"] = tmp_path
    shell.run(f"{LAB}\n", "d = 4\n")
    cells = history.cells() or []
    assert [(cell.source, cell.stopped_at) for cell in cells] == [(LAB, None), ("d = 4", None)]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("x = 1", [("x = 1", None)]),
        ("x = 1\n1 / 0\ny = 2", [("x = 1\n1 / 0\ny = 2", 2)]),
        ("def f():\n    1 / 0\n\nf()\nx = 1", [("def f():\n    1 / 0\n\nf()\nx = 1", 4)]),
        ("import asyncio\nawait asyncio.sleep(0)\n1 / 0", [
            ("import asyncio\nawait asyncio.sleep(0)\n1 / 0", 3)]),
        ("%%time\nx = 1\ny = 2", [("x = 1\ny = 2", None)]),
        ("%%time\nx = 1\n1 / 0\ny = 2", [("x = 1\n1 / 0\ny = 2", 2)]),
        ("%%time\nx = 1\n1 / 0", [("x = 1\n1 / 0", 2)]),
        ("%%capture out\nx = 1", [("x = 1", None)]),
        ("%%capture\nx = 1\n1 / 0\ny = 2", [("x = 1\n1 / 0\ny = 2", 2)]),
        ("%%capture\n%%time\nx = 1", [("x = 1", None)]),
        ("%%time\nfiles = !echo a", [("files = get_ipython().getoutput('echo a')", None)]),
        ("x = = 1", []),
        ("", []),
        ("get_ipython().run_cell('x = 1')", [
            ("x = 1", None), ("get_ipython().run_cell('x = 1')", None)]),
        ("%%nothing\nx = 1", [("get_ipython().run_cell_magic('nothing', '', 'x = 1\\n')", 1)]),
    ],
)  # fmt: skip
def test_a_cell_is_the_code_that_ran_and_the_line_where_it_stopped(
    recorded: RealShell, cell: str, expected: list[tuple[str, int | None]]
) -> None:
    recorded.run(cell)
    assert sources() == expected


def test_a_cell_that_runs_ends_at_its_statement(recorded: RealShell) -> None:
    recorded.names["cells"] = history.cells
    recorded.run("x = 1\nfound = cells()\ny = 2", "%%time\nx = 1\nwrapped = cells()\ny = 2")
    last = recorded.names["found"][-1]
    assert (last.source, last.stopped_at) == ("x = 1\nfound = cells()\ny = 2", 2)
    last = recorded.names["wrapped"][-1]
    assert (last.source, last.stopped_at) == ("x = 1\nwrapped = cells()\ny = 2", 2)
    assert all(cell.succeeded for cell in history.cells() or [])


def test_runs_of_one_cell_share_its_key(recorded: RealShell) -> None:
    recorded.run("x = 1", "x = 2", cell_id="a")
    recorded.run("y = 3", cell_id="b")
    assert [cell.key for cell in history.cells() or []] == ["", "a", "a", "b"]


def test_a_second_lab_and_a_reset_change_nothing(recorded: RealShell, tmp_path: Path) -> None:
    recorded.run("first = 1")
    Lab("other", root=tmp_path)
    recorded.run("second = 2", "%reset -f", "third = 3")
    assert [source for source, _ in sources()] == [
        "first = 1",
        "second = 2",
        "get_ipython().run_line_magic('reset', '-f')",
        "third = 3",
    ]


def test_the_recorder_keeps_no_object_of_the_user(recorded: RealShell) -> None:
    recorded.run("class Thing:\n    pass\nthing = Thing()\nNone", "1 / 0")
    thing = weakref.ref(recorded.names["thing"])
    recorded.run("del thing")
    gc.collect()
    assert thing() is None


def test_a_notebook_that_ran_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(place, str(tmp_path / place.lower()))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    cells = [
        "a = 1",
        "from conduit_lab import Lab\nlab = Lab('desk')",
        "%%time\nb = 2\n1 / 0\nc = 3",
        "%%capture\nd = 4",
        "from conduit_lab.notebook import history\n"
        "for cell in history.cells():\n    print(repr((cell.source.strip(), cell.stopped_at)))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.cells[2].metadata["tags"] = ["raises-exception"]

    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()

    (output,) = notebook.cells[-1].outputs
    assert output.text.splitlines() == [
        repr((cells[0], None)),
        repr((cells[1], None)),
        repr(("b = 2\n1 / 0\nc = 3", 2)),
        repr(("d = 4", None)),
        repr((cells[4], 2)),
    ]


def test_a_cell_inside_a_cell_has_its_number(recorded: RealShell) -> None:
    recorded.run("%%capture\nx = 1", "y = 2")
    assert [(cell.number, cell.source) for cell in (history.cells() or [])[1:]] == [
        (2, "x = 1"),
        (3, "y = 2"),
    ]
