"""The plan of an export: all that it would write or refuse, and nothing is written."""

from __future__ import annotations

import re

import numpy as np

from conduit_lab.export.export_plan import ExportPlan, plan_app
from tests.export.session import Session

CELLS = (
    "import math\nimport numpy as np",
    "sign = lab.load_model('models/sign.npz')",
    "shelf = lab.vector_store('shelf', dimension=2)\nshelf.add('kettle', [1, 0])",
    "TABLE = np.arange(1000.0)\nRATE, WORDS = 2, ['a']",
    "from threading import Lock\nclass Box:\n    def __init__(self):\n        self.lock = Lock()\n"
    "        self.items = []\n    def add(self, item):\n        self.items.append(item)",
    "box = Box()\nWORDS.append('b')\nTABLE[0] = 9",
    "box.add('b')",
    "def price(n):\n    return math.ceil(n * RATE) + TABLE[n]",
    "@lab.post('/price')\ndef ask(n: int):\n    return [price(n), WORDS, box.items]",
    "@lab.post('/sign')\ndef tell(x: list):\n    return [sign.predict(x), shelf.search([1, 0])]",
)


def plan(session: Session, endpoints: list[str] | None = None) -> ExportPlan:
    return plan_app(
        session.lab,
        examples=session.lab.examples,
        statements=["lab = Lab('desk')", *session.cells],
        namespace=session.names,
        endpoints=endpoints,
    )


def test_a_plan_has_a_row_per_object(session: Session) -> None:
    session.run(*CELLS)
    before = sorted(session.root.rglob("*"))
    made = plan(session)
    assert sorted(session.root.rglob("*")) == before
    rows = {node.name: (node.kind, node.form, node.cell) for node in made.nodes}
    assert rows == {
        "ask": ("endpoint", "source", 10),
        "price": ("function", "source", 9),
        "math": ("module", "import", 2),
        "RATE": ("int", "snapshot", 5),
        "TABLE": ("ndarray", "data/TABLE.npy", 5),
        "WORDS": ("list", "snapshot", 5),
        "box": ("Box", "repeated statement", 7),
        "Box": ("class", "source", 6),
        "Lock": ("builtin_function_or_method", "import", 6),
        "np": ("module", "import", 2),
        "box.add('b')": ("Box", "repeated change", 8),
        "tell": ("endpoint", "source", 11),
        "sign": ("Model", "models/sign.npz", 3),
        "shelf": ("VectorStore", "indexes/shelf.sqlite", 4),
    }
    nodes = {node.name: node for node in made.nodes}
    assert nodes["box.add('b')"].chain == (
        "POST /price", "ask", "box", "box.add('b') (cell 8)",
    )  # fmt: skip
    assert nodes["price"].size == len(CELLS[7])
    assert nodes["TABLE"].size >= np.arange(1000.0).nbytes
    model = (session.root / "models/sign.npz").stat().st_size
    assert nodes["sign"].size == model + len('sign = lab.load_model("models/sign.npz")')
    assert made.size == sum(node.size for node in made.nodes)


def test_a_plan_shows_its_objects_and_the_calls_that_are_missing(session: Session) -> None:
    session.run(*CELLS, "ask(1)")
    made = plan(session)
    text, html = repr(made), made._view().html()
    assert text.startswith("Export plan 'desk' · 2 endpoints\n")
    assert "14 objects to export, " in text
    assert "call once, to prove the export:\n    tell(" in text
    assert re.search(r"^TABLE ndarray +data/TABLE.npy +\S+ KB +5 +POST /price → ask", text, re.M)
    assert "POST /price → ask → price" in html
    assert "<table" in html


def test_a_plan_has_every_refusal_with_its_chain_and_mend(session: Session) -> None:
    session.run(*CELLS, "ask(1)", "del RATE, sign")
    made = plan(session)
    assert tuple(map(str, made.refusals)) == (
        "RATE is not defined in this session (needed by POST /price → ask → price): "
        "run the cell that defines it",
        "sign is not defined in this session (needed by POST /sign → tell): "
        "run the cell that defines it",
    )
    parts = [(each.problem, each.chain, each.mend) for each in made.refusals]
    assert parts[1] == (
        "sign is not defined in this session", "POST /sign → tell", "run the cell that defines it",
    )  # fmt: skip
    text = repr(made)
    assert "2 objects cannot be exported; 12 objects can." in text
    assert (
        "✕ RATE is not defined in this session: run the cell that defines it\n"
        "needed by POST /price → ask → price\n"
    ) in text
    refused = {node.name: node.form for node in made.nodes if node.problem}
    assert refused == {"RATE": "refused", "sign": "refused"}


def test_a_refusal_with_parentheses_and_code_is_shown_in_its_parts(session: Session) -> None:
    session.run(
        "import threading\nlock = threading.Lock()\nlock.acquire()\nTEXT = 'a'",
        "@lab.post('/a')\ndef a(x):\n    return lock.locked()",
        "@lab.post('/b')\ndef b(x):\n    return HERE",
        "HERE = TEXT",
    )
    made = plan(session)
    locked, reserved = made.refusals
    assert (locked.problem, locked.chain) == (
        "lock is a live lock, which has no file form", "POST /a → a → lock",
    )  # fmt: skip
    assert str(reserved) == (
        "HERE is a name of the exported app.py itself (needed by POST /b → b): rename it"
    )
    text = repr(made)
    assert "build it in a function, and call lock() in place of lock:\n" in text
    assert "    @lab.resource\n    def lock():\n        return threading.Lock()\n" in text
    assert "needed by POST /b → b\n" in text


def test_a_plan_of_a_part_has_only_what_it_reaches(session: Session) -> None:
    session.run(*CELLS)
    assert plan(session, endpoints=["/sign"]).endpoints == ("POST /sign",)
    assert {node.name for node in plan(session, endpoints=["tell"]).nodes} == {
        "tell", "sign", "shelf",
    }  # fmt: skip


def test_files_of_recorded_calls_are_in_the_plan(session: Session) -> None:
    session.run(
        "@lab.post('/a')\ndef a(x: list):\n    return lab.load_model('models/sign.npz').predict(x)",
        "a([1, 1])",
    )
    (node,) = [node for node in plan(session).nodes if node.name == "sign.npz"]
    assert node.form == "models/sign.npz"
    assert node.chain == ("a recorded call of POST /a", "sign.npz")


def test_an_export_has_its_plan(session: Session) -> None:
    session.run(*CELLS, "ask(1)", "tell([1, 1])")
    export = session.export()
    assert export.plan is not None
    assert [node.name for node in export.plan.nodes] == [node.name for node in plan(session).nodes]
    assert "14 objects exported, " in repr(export)
