"""Calls inside calls, and stores that are read without a search, in an export."""

from __future__ import annotations

import json

import pytest

from tests.export.session import Session

NOTES = """
notes = lab.vector_store("notes", dimension=2)
notes.add("a", [1, 0])
"""


def test_an_endpoint_that_writes_through_another_proves_itself(session: Session) -> None:
    session.run(
        NOTES,
        "@lab.post('/log')\ndef log(id: str):\n    notes.add(id, [0, 1])\n    return len(notes)",
        "@lab.post('/found')\ndef found(id: str):\n    return {'n': log(id), 'id': id}",
        "log('b'); found('c')",
    )
    assert session.lab.examples[-1].answer == {"n": 3, "id": "c"}
    export = session.export(replay=True)
    outcomes = {outcome.endpoint: outcome.verdict for outcome in export.outcomes}
    assert outcomes == {"POST /log": "answered", "POST /found": "answered"}


def test_a_stream_that_writes_through_an_endpoint_is_a_write(session: Session) -> None:
    session.run(
        NOTES,
        "@lab.post('/log')\ndef log(id: str):\n    notes.add(id, [0, 1])\n    return len(notes)",
        "@lab.ml_stream('/each')\ndef each(id: str):\n    yield {'n': log(id)}",
        "log('b'); each('c').wait()",
    )
    session.export()
    assert {e.path: e.writes for e in session.lab.examples} == {"/log": True, "/each": True}


@pytest.mark.parametrize(
    ("body", "before", "after"),
    [
        ("len(notes)", 1, 2),
        ("[entry.id for entry in notes]", ["a"], ["a", "b"]),
        ("'b' in notes", False, True),
        ("notes.get('b') is None", True, False),
        ("notes.search([0, 1], top_k=1)[0].id", "a", "b"),
        ("bool(len(notes) > 1)", False, True),
        ("inner()", 1, 2),
    ],
)
def test_an_answer_from_a_store_that_changed_is_made_again(
    session: Session, body: str, before: object, after: object
) -> None:
    session.run(
        NOTES,
        "@lab.post('/inner')\ndef inner():\n    return len(notes)",
        f"@lab.post('/a')\ndef a():\n    return {{'n': {body}}}",
        "a(); inner()",
    )
    first = next(example for example in session.lab.examples if example.path == "/a")
    assert first.answer == {"n": before}
    session.run("notes.add('b', [0, 1])")
    export = session.export(replay=body == "len(notes)")
    assert {outcome.problem for outcome in export.outcomes} <= {None}
    lines = (export.folder / "examples.jsonl").read_text("utf-8").splitlines()
    examples = {record["path"]: record for record in map(json.loads, lines)}
    assert examples["/a"]["answer"] == {"n": after}


def test_an_answer_from_a_store_that_did_not_change_is_not_made_again(session: Session) -> None:
    session.run(
        NOTES,
        "calls = []",
        "@lab.post('/a')\ndef a():\n    calls.append(1)\n    return [len(notes), len(calls)]",
        "a()",
    )
    session.export()
    assert session.names["calls"] == [1]


def test_a_call_that_writes_is_not_made_again(session: Session) -> None:
    session.run(
        NOTES,
        "@lab.post('/log')\ndef log(id: str):\n    notes.add(id, [0, 1])\n    return len(notes)",
        "log('b')",
        "notes.delete('a'); notes.delete('b')",
    )
    session.export()
    assert len(session.names["notes"]) == 0


def test_a_stale_stream_is_made_again(session: Session) -> None:
    session.run(
        NOTES,
        "@lab.ml_stream('/each')\ndef each():\n"
        "    for entry in notes:\n        yield {'id': entry.id}",
        "each().wait()",
        "notes.add('b', [0, 1])",
    )
    lines = (session.export().folder / "examples.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[0])["answer"] == [{"id": "a"}, {"id": "b"}]
