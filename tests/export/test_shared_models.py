"""Models in an export: each content is stored once, and unreached models are left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.export.conftest import weights
from tests.export.session import Session, answers
from tests.models.text import embedders


def models_in(folder: Path) -> list[str]:
    """Return the places of the weights and tokenizers in an export."""
    kinds = {".npz", ".onnx"}
    found = [path for path in folder.rglob("*") if path.suffix in kinds]
    return sorted(path.relative_to(folder).as_posix() for path in found)


ASK = """
@lab.post("/ask")
def ask(x: float):
    return [(model.name, model.predict([x, x]).label) for model in (one, two)]
"""


@pytest.mark.parametrize(
    ("cell", "lines"),
    [
        pytest.param("two = one", ["two = one"], id="an alias"),
        pytest.param(
            'two = lab.load_model("models/sign.npz")',
            ['two = lab.load_model("models/sign.npz")'],
            id="loaded twice",
        ),
        pytest.param(
            'two = lab.load_model("models/sign.npz", name="other")',
            ['two = lab.load_model("models/sign.npz", name="other")'],
            id="of two names",
        ),
        pytest.param(
            'two = lab.load_model("copies/sign.npz")',
            ['two = lab.load_model("models/sign.npz")'],
            id="the same content elsewhere",
        ),
        pytest.param(
            'two = lab.load_model("copies/last.npz")',
            ['two = lab.load_model("models/sign.npz", name="last")'],
            id="the same content of another name",
        ),
        pytest.param(
            'two = lab.load_model("../outside.npz")',
            ['two = lab.load_model("models/sign.npz", name="outside")'],
            id="the same content outside of the root",
        ),
    ],
)
def test_one_content_is_stored_once(session: Session, cell: str, lines: list[str]) -> None:
    source = session.root / "models" / "sign.npz"
    (session.root / "copies").mkdir()
    for place in ("copies/sign.npz", "copies/last.npz", "../outside.npz"):
        shutil.copy(source, session.root / place)
    session.run('one = lab.load_model("models/sign.npz")', cell, ASK, "ask(1.0)", "ask(-1.0)")
    folder = session.export().folder
    assert models_in(folder) == ["models/sign.npz"]
    source_lines = (folder / "app.py").read_text("utf-8").splitlines()
    assert [line for line in source_lines if line.startswith("two = ")] == lines
    assert answers(folder) == [None, None]


def test_another_content_of_the_same_name_is_stored_too(session: Session) -> None:
    (session.root / "copies").mkdir()
    weights(session.root / "copies" / "sign.npz", ["plus", "minus"])
    session.run(
        'one = lab.load_model("models/sign.npz")',
        'two = lab.load_model("copies/sign.npz")',
        ASK,
        "ask(1.0)",
    )
    folder = session.export().folder
    assert models_in(folder) == ["copies/sign.npz", "models/sign.npz"]
    assert answers(folder) == [None]


def test_folders_of_one_content_are_stored_once(session: Session) -> None:
    embedders.folder(session.root / "models" / "words")
    shutil.copytree(session.root / "models" / "words", session.root / "again")
    session.run(
        'one = lab.load_model("models/words")',
        'two = lab.load_model("again")',
        "@lab.post('/ask')\ndef ask(text: str):\n    return one.encode(text) + two.encode(text)",
        "ask('kettle')",
    )
    folder = session.export().folder
    assert models_in(folder) == ["models/words/model.onnx"]
    assert 'two = lab.load_model("models/words", name="again")' in (folder / "app.py").read_text()
    assert answers(folder) == [None]


def test_a_model_that_no_endpoint_reaches_is_left_out(session: Session) -> None:
    weights(session.root / "models" / "unused.npz", ["a", "b"])
    weights(session.root / "models" / "other.npz", ["c", "d"])
    session.run(
        'one = two = lab.load_model("models/sign.npz")',
        'unused = lab.load_model("models/unused.npz")',
        'other = lab.load_model("models/other.npz")',
        "unused.predict([1, 1])",
        ASK,
        "@lab.post('/other')\ndef ask_other():\n    return other.predict([1.0, 1.0]).label",
        "ask(1.0)",
        "ask_other()",
    )
    folder = session.export(endpoints=["/ask"]).folder
    assert models_in(folder) == ["models/sign.npz"]
    assert "unused" not in (folder / "app.py").read_text("utf-8")
    assert models_in(session.export().folder) == ["models/other.npz", "models/sign.npz"]
