"""A notebook's session, exported: its cells as they were recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab import Lab
from conduit_lab.core.errors import ExportError
from tests.notebook.shell import RealShell


@pytest.fixture
def lab(shell: RealShell, tmp_path: Path) -> Lab:
    """The lab of a session with cells before it, failed cells, and cells below magics."""
    shell.names["ROOT"] = tmp_path
    shell.run(
        "class Box:\n    def __init__(self):\n        self.items = []",
        "box = Box()\nbox.items.append('a')",
        "from conduit_lab import Lab\nlab = Lab('desk', root=ROOT)",
        "box.items.append('b')\n1 / 0\nbox.items.append('c')",
        "%%time\nbox.items.append('d')\n!true",
        "%%capture\n# the size of a box\ndef size(x):\n    return len(x.items)",
        "@lab.get('/a')\ndef a():\n    return [box.items, size(box)]",
        "a()",
    )
    lab = shell.names["lab"]
    assert isinstance(lab, Lab)
    return lab


def test_an_export_repeats_the_cells_that_ran(lab: Lab) -> None:
    source = (lab.export("out").folder / "app.py").read_text("utf-8")
    assert source.split("\n\n\n", 1)[1] == (
        "class Box:\n    def __init__(self):\n        self.items = []\n\n\n"
        "box = Box.__new__(Box)\n"
        'vars(box).update(items=["a", "b", "d"])  # snapshot of its value at the export\n\n\n'
        "# the size of a box\ndef size(x):\n    return len(x.items)\n\n\n"
        "@lab.get('/a')\ndef a():\n    return [box.items, size(box)]\n\n\n"
        "app = lab\n"
    )


def test_a_plan_names_the_cells(lab: Lab, shell: RealShell) -> None:
    cells = {node.name: node.cell for node in lab.export_plan().nodes}
    assert cells == {"a": 7, "box": 2, "Box": 1, "size": 6}
    assert not (lab.root / "out").exists()
    shell.run("del box, size")
    assert len(lab.export_plan(["/a"]).refusals) == 2
    with pytest.raises(ExportError, match="2 objects cannot be exported"):
        lab.export("out", proof=None)


def test_an_export_inside_a_cell_sees_the_statements_before_it(lab: Lab, shell: RealShell) -> None:
    shell.run(
        "LIMIT = 3\n@lab.get('/b')\ndef b():\n    return LIMIT\nb()\n"
        "folder = lab.export('out', proof=None).folder\nLIMIT = 4"
    )
    assert "LIMIT = 3\n" in (lab.root / "out" / "app.py").read_text("utf-8")
