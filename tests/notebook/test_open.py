"""`Lab.open`: an exported app in a session again, and its next export."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit_lab import Lab, VectorStore
from conduit_lab.core.errors import ExportError
from tests.export.conftest import weights
from tests.export.session import Session
from tests.notebook.shell import RealShell

CELLS = (
    "import math\nimport numpy as np\nfrom datetime import datetime",
    "sign = lab.load_model('models/sign.npz')  # ups and downs",
    "shelf = lab.vector_store('shelf', dimension=2)\nshelf.add('kettle', [1, 0])",
    "TABLE = np.arange(1000.0)\nTABLE[0] = 9\nRATE = 2\nRATE += 1",
    "WORDS = ['a']\nWORDS.append('b')",
    "ROW = [1, 2]\nPAIR = {'left': ROW, 'right': ROW}\nLONG = list(range(3000))\nLONG[0] = 5",
    "from threading import Lock\nclass Box:\n    def __init__(self):\n        self.lock = Lock()\n"
    "        self.items = []\n    def add(self, item):\n        self.items.append(item)",
    "# kept for later\nbox = Box()",
    "box.add('b')",
    "def price(n):\n    return math.ceil(n * RATE) + TABLE[n] + LONG[n]",
    "@lab.post('/price')\ndef ask(n: int):\n    return [price(n), WORDS, box.items, PAIR]",
    "@lab.post('/sign')\ndef tell(x: list):\n    return [sign.predict(x), shelf.search([1, 0])]",
    "@lab.get('/now')\ndef now():\n    return str(datetime.now())",
    "@lab.ml_stream('/count')\ndef count(n: int):\n    yield from range(n)",
    "@lab.post('/add')\ndef add(id: str):\n    shelf.add(id, [0, 1])\n    return len(shelf)",
    "lab.varies('/now')",
)
CALLS = ("ask(1)", "ask(2)", "tell([1, 2])", "now()", "count(2).result()", "add('pan')")


@pytest.fixture(autouse=True)
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies of stores lie in the test's own folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))


@pytest.fixture
def opened() -> Iterator[Callable[..., Lab]]:
    """Open folders in scripts."""
    labs: list[Lab] = []

    def open_(folder: Path, **options: Any) -> Lab:
        labs.append(Lab.open(folder, **options))
        return labs[-1]

    yield open_
    for lab in labs:
        close(lab)


def close(lab: Lab) -> None:
    for store in lab.stores.values():
        store.close()


@pytest.fixture
def folder(session: Session) -> Path:
    """The export of a session with many kinds of objects, moved away from its project."""
    session.run(*CELLS, *CALLS)
    made = session.export().folder
    session.close()
    return made.rename(session.root.parent / "desk")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    root = tmp_path / "project"
    (root / "models").mkdir(parents=True)
    weights(root / "models" / "sign.npz", ["up", "down"])
    return Session(root)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def run_in(shell: RealShell, folder: Path) -> Lab:
    shell.names["FOLDER"] = folder
    shell.run("from conduit_lab import Lab", "lab = Lab.open(FOLDER)", cell_id=None)
    lab = shell.names["lab"]
    assert isinstance(lab, Lab)
    return lab


def test_the_export_of_an_opened_app_is_the_same_folder(
    folder: Path, opened: Callable[..., Lab], tmp_path: Path
) -> None:
    first = contents(folder)
    second = opened(folder).export(tmp_path / "second", proof=None).folder
    assert contents(second) == first
    third = opened(second).export(tmp_path / "third", proof=None).folder
    assert contents(third) == first
    assert contents(folder) == first


def test_an_opened_app_in_a_notebook_is_proved(
    folder: Path, shell: RealShell, tmp_path: Path
) -> None:
    lab = run_in(shell, folder)
    export = lab.export(tmp_path / "second")
    assert [each.problem for each in export.outcomes] == [None] * 6
    changed = {
        name for name, content in contents(export.folder).items()
        if contents(folder).get(name) != content
    }  # fmt: skip
    assert changed == {"manifest.json", "proof.svg", "state.json", "examples.jsonl"}
    lines = (export.folder / "examples.jsonl").read_text().split("\n")
    before = (folder / "examples.jsonl").read_text().split("\n")
    assert [a for a, b in zip(lines, before, strict=True) if a != b and "/now" not in a] == []
    close(lab)


def test_an_opened_app_has_its_models_stores_calls_and_names(
    folder: Path, shell: RealShell
) -> None:
    lab = run_in(shell, folder)
    assert (lab.name, lab.root) == ("desk", folder)
    assert [f"{each.method} {each.path}" for each in lab.endpoints] == [
        "POST /price", "POST /sign", "GET /now", "POST /count", "POST /add",
    ]  # fmt: skip
    names = shell.names
    assert [each.payload["n"] for each in lab.examples["/price"]] == [1, 2]
    assert lab.examples["/price"][0].answer == json.loads(json.dumps(names["ask"](1)))
    assert names["ask"].trace is not None
    assert names["price"](1) == 3 + 1 + 1
    assert names["PAIR"]["left"] is names["PAIR"]["right"]
    assert [lab.models[0], lab.stores["shelf"]] == [names["sign"], names["shelf"]]
    assert lab.examples["/now"][0].varies
    assert {lab.proof(each) for each in lab.endpoints} == {"ready"}
    assert "__file__" not in names
    close(lab)


def test_an_edit_keeps_its_place_and_the_rest(
    folder: Path, shell: RealShell, tmp_path: Path
) -> None:
    lab = run_in(shell, folder)
    shell.run("RATE = 5", cell_id="one")
    shell.run("def price(n):\n    return n * RATE", cell_id="two")
    shell.run(
        "@lab.post('/price')\ndef ask(n: int):\n"
        "    return [price(n), WORDS, TABLE[0], LONG[0], box.items, PAIR]\nask(1)",
        cell_id="three",
    )
    made = lab.export(tmp_path / "second", proof=None).folder
    before = (folder / "app.py").read_text()
    after = (made / "app.py").read_text()
    changes = [
        ("RATE = 3  # snapshot of its value at the export", "RATE = 5"),
        ("math.ceil(n * RATE) + TABLE[n] + LONG[n]", "n * RATE"),
        (
            "[price(n), WORDS, box.items, PAIR]",
            "[price(n), WORDS, TABLE[0], LONG[0], box.items, PAIR]",
        ),
        ("import math\n", ""),
    ]
    for old, new in changes:
        assert before.count(old) == 1
        before = before.replace(old, new)
    assert after == before
    assert [each.payload for each in lab.examples["/price"]] == [{"n": 1}]
    close(lab)


def test_writes_go_to_copies_and_into_the_next_export(
    folder: Path, opened: Callable[..., Lab], tmp_path: Path
) -> None:
    before = contents(folder)
    lab = opened(folder)
    lab.endpoints["/add"]("lid")
    lab.vector_store("new", dimension=3).add("a", [1, 2, 3])
    assert sorted(entry.id for entry in lab.stores["shelf"]) == ["kettle", "lid", "pan"]
    assert contents(folder) == before
    made = lab.export(tmp_path / "second", proof=None).folder
    store = VectorStore(path=made / "indexes/shelf.sqlite")
    assert len(store) == 3
    store.close()
    again = opened(folder)  # as it was
    assert len(again.stores["shelf"]) == 2
    assert again is not lab


def test_a_stale_call_is_made_again(
    folder: Path, opened: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = opened(folder)
    assert not lab.examples["/sign"][0].stale
    lab.endpoints["/add"]("lid")
    assert lab.examples["/sign"][0].stale
    made = lab.export(tmp_path / "second", proof=None).folder
    lines = map(json.loads, (made / "examples.jsonl").read_text().splitlines())
    [answer] = [each["answer"] for each in lines if each["path"] == "/sign"]
    assert [hit["id"] for hit in answer[1]] == ["kettle", "pan", "lid"]


def test_an_export_replaces_the_folder_that_is_open(
    folder: Path, shell: RealShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    before = contents(folder)
    lab = run_in(shell, Path("desk"))
    assert lab.export("desk", proof=None).folder == folder
    assert contents(folder) == before
    assert not (folder / "desk").exists()
    close(lab)


def test_files_and_stores_that_only_a_call_used_go_along(
    session: Session, opened: Callable[..., Lab], tmp_path: Path
) -> None:
    with VectorStore(dimension=2, path=session.root / "indexes/late.sqlite") as store:
        store.add("a", [1, 0])
    session.run(
        "from conduit_lab import load_model",
        "@lab.post('/late')\ndef late(x: list):\n    found = lab.vector_store('late').search(x)\n"
        "    return [len(found), load_model('models/sign.npz').predict(x)]",
        "late([1, 0])",
    )
    first = session.export().folder
    close(session.lab)
    lab = opened(first)
    assert {"models/sign.npz", "indexes/late.sqlite"} < contents(first).keys()
    second = lab.export(tmp_path / "second", proof=None).folder
    assert contents(second) == contents(first)


def test_modules_come_from_the_folder_as_they_are_there_now(
    session: Session, opened: Callable[..., Lab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session.root / "own_settings.py").write_text("MAX = 3\n")
    monkeypatch.syspath_prepend(session.root)
    session.run(
        "import own_settings", "@lab.get('/m')\ndef m():\n    return own_settings.MAX", "m()"
    )
    first = session.export().folder
    with pytest.raises(ExportError, match=r"own_settings was imported from .*restart the kernel"):
        opened(first)
    del sys.modules["own_settings"]
    lab = opened(first)
    assert contents(lab.export(tmp_path / "second", proof=None).folder) == contents(first)
    (first / "own_settings.py").write_text("MAX = 44\n")
    assert opened(first).endpoints["/m"]() == 44
    del sys.modules["own_settings"]


def test_modules_that_are_imported_late_leave_nothing_in_the_folder(
    session: Session, opened: Callable[..., Lab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = session.root / "own_parts" / "deep"
    parts.mkdir(parents=True)
    (parts.parent / "__init__.py").write_text("")
    (parts / "__init__.py").write_text("LOW = 2\n")
    (parts / "late.py").write_text("HIGH = 5\n")
    monkeypatch.syspath_prepend(session.root)
    session.run(
        "import own_parts.deep",
        """
        @lab.get('/m')
        def m():
            from own_parts.deep import late

            return own_parts.deep.LOW + late.HIGH
        """,
        "m()",
    )
    first = session.export().folder
    forget("own_parts")
    (tmp_path / "elsewhere.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    lab = opened(first)
    assert "own_parts.deep.late" not in sys.modules
    assert lab.endpoints["/m"]() == 7
    __import__("elsewhere")
    assert not list(first.rglob("__pycache__"))
    assert (tmp_path / "__pycache__").is_dir()  # of a module that is not the export's
    forget("own_parts", "elsewhere")


def forget(*packages: str) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] in packages]:
        del sys.modules[name]


def test_a_hand_edit_is_said_and_kept(
    folder: Path, opened: Callable[..., Lab], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = folder / "app.py"
    app.write_text(app.read_text().replace("math.ceil(n * RATE)", "math.floor(n * RATE)"))
    weights(folder / "models/sign.npz", ["more", "less"])
    opened(folder).export(tmp_path / "second", proof=None)
    assert caplog.messages == ["desk was changed after its export: app.py, models/sign.npz"]
    assert (tmp_path / "second/app.py").read_text() == app.read_text()


def test_a_store_that_was_only_read_is_no_edit(
    folder: Path, opened: Callable[..., Lab], caplog: pytest.LogCaptureFixture
) -> None:
    file = folder / "indexes/shelf.sqlite"
    written = file.read_bytes()
    with VectorStore(path=file) as store:
        assert len(store)
    assert file.read_bytes() != written  # it now has a write-ahead log
    opened(folder)
    assert not caplog.messages
    with VectorStore(path=file) as store:
        store.delete("kettle")
    opened(folder)
    assert caplog.messages == ["desk was changed after its export: indexes/shelf.sqlite"]


def test_the_names_go_where_a_script_says(folder: Path, opened: Callable[..., Lab]) -> None:
    names: dict[str, Any] = {}
    lab = opened(folder, names=names)
    assert names["lab"] is lab
    assert names["ask"] is lab.endpoints["/price"]
    assert opened(folder).endpoints["/price"] is not names["ask"]


def edited(place: Path, **changes: Any) -> None:
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))


def test_other_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"nowhere is not a folder: expected a folder written by lab.export"
    ):
        Lab.open(tmp_path / "nowhere")
    with pytest.raises(ExportError, match=r"has no manifest.json of an export"):
        Lab.open(tmp_path)
    edited(folder / "manifest.json", conduit_lab="99.0")
    with pytest.raises(
        ExportError, match=r"by conduit_lab 99.0, and this is .*: install the newer"
    ):
        Lab.open(folder)
    edited(folder / "manifest.json", conduit_lab="0.0.1")
    (folder / "models/sign.npz").unlink()
    with pytest.raises(ExportError, match=r"desk lacks models/sign.npz: put back"):
        Lab.open(folder)


def test_an_app_that_fails_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    app = folder / "app.py"
    whole = app.read_text()
    app.write_text("import os\n" + whole.replace("RATE = 3", 'RATE = os.environ["NO_SUCH_KEY"]'))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(
        ExportError, match=r"desk/app.py, line \d+: KeyError: 'NO_SUCH_KEY': fix it"
    ):
        Lab.open(folder)
    (folder / ".env.example").write_text("NO_SUCH_KEY=\n")
    with pytest.raises(ExportError, match=r"KEY': set the variables of .*\.env\.example"):
        Lab.open(folder)
    app.write_text(whole.replace("\napp = lab\n", "\n"))
    with pytest.raises(ExportError, match=r"app.py expected a last line app = lab"):
        Lab.open(folder)
    assert sorted(tmp_path.iterdir()) == before


def test_cycles_lambdas_loops_and_iterators_are_exported_again(
    session: Session, opened: Callable[..., Lab]
) -> None:
    session.run("class Node: pass\nup, down = Node(), Node()\nup.next, down.prev = down, up")
    session.run("letters = iter('abc')\nnext(letters)", "rules = []", "by = {}")
    session.run("for k in (1, 2):\n    rules.append(lambda n, k=k: n + k)")
    session.run("for k in (1, 2):\n    def add(n, k=k):\n        return n + k\n    by[k] = add")
    kept = "[rules[0](1), str(type(letters)), up.next is down, by[2] is add, by[1](1)]"
    session.run(f"@lab.get('/kept')\ndef kept():\n    return {kept}", "kept()")
    first = session.export().folder
    lab = opened(first, names={"__name__": "cells"})
    second = lab.export(session.root / "again", proof=None).folder
    assert (second / "app.py").read_text("utf-8") == (first / "app.py").read_text("utf-8")
