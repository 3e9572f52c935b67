"""Bound methods in an export: looked up on the same object again."""

from __future__ import annotations

import pytest

from tests.export.session import Session, same

BOX = """
class Box:
    def __init__(self, x=1):
        self.x = x

    def scale(self, n):
        return self.x * n

    @classmethod
    def made(cls, n):
        return cls(n).x
"""


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ("box = Box(3)\nscale = box.scale", "scale = box.scale"),
        ("box = Box(3)\nscale = getattr(box, 'scale')", "scale = box.scale"),
        ("scale = Box(3).scale  # three times", "scale = Box(3).scale  # three times"),
        ("scale = Box.made", "scale = Box.made"),
        ("first = Box(3).scale\nscale = first", "first = Box(3).scale"),
        ("import random\nrandom.seed(1)\nscale = random.randint", "from random import randint"),
    ],
)
def test_a_method_answers_the_same(session: Session, made: str, text: str) -> None:
    call = "scale(n, n)" if "randint" in made else "scale(n)"
    session.run(BOX, made, f"@lab.post('/a')\ndef a(n: int):\n    return {call}", "a(2)")
    assert text in same(session)


def test_methods_of_models_and_stores_come_with_their_owner(session: Session) -> None:
    session.run(
        "sign = lab.load_model('models/sign.npz')\npredict = sign.predict",
        "notes = lab.vector_store('notes', dimension=2)\nnotes.add('a', [1, 0])",
        "search = notes.search",
        "@lab.post('/a')\ndef a(x: list):\n    return [predict(x), search(x, top_k=1)]",
        "a([1.0, 1.0])",
    )
    source = same(session)
    assert source.index("sign = lab.load_model(") < source.index("predict = sign.predict")
    assert source.index("notes = lab.vector_store(") < source.index("search = notes.search")
    assert (session.root / "out/indexes/notes.sqlite").is_file()


@pytest.mark.parametrize("cell", ["from random import randint", "from random import *"])
def test_a_method_that_a_module_offers_is_imported(session: Session, cell: str) -> None:
    session.run(cell, "@lab.post('/a')\ndef a(n: int):\n    return randint(n, n)", "a(2)")
    assert "from random import randint" in same(session)
