"""Text and token classifiers in an export: their folders, load calls and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.export.session import Session, answers
from tests.models import classifiers


def test_both_are_loaded_from_their_folders_and_answer_alike(
    session: Session, tmp_path: Path
) -> None:
    tokenizer = classifiers.bert()
    logits = classifiers.table(tokenizer, 2, {"good": [0, 2], "bad": [2, 0], "anna": [0, 3]})
    labels: dict[str, Any] = {"id2label": {"0": "O", "1": "PER"}}
    for name, part, by_token in (("mood", "Sequence", False), ("ner", "Token", True)):
        head = f"BertFor{part}Classification"
        classifiers.folder(
            session.root / name, tokenizer, logits, head=head, by_token=by_token, **labels
        )
    session.run(
        'mood = lab.load_model("mood", labels=["down", "up"], device="cpu")',
        'ner = lab.load_model("ner", name="people")',
        """
        @lab.post("/read")
        def read(input_data):
            text = input_data["text"]
            return {"mood": mood.predict(text), "people": ner.predict(text)}
        """,
        'answer = read({"text": "so good, Anna"})',
    )
    assert session.names["answer"]["mood"].label == "up"
    assert [entity.text for entity in session.names["answer"]["people"]] == ["good", "Anna"]
    export = session.export(replay=True)
    assert [outcome.problem for outcome in export.outcomes] == [None]
    source = (export.folder / "app.py").read_text("utf-8")
    assert 'mood = lab.load_model("mood", device="cpu", labels=["down", "up"])' in source
    assert 'ner = lab.load_model("ner", name="people")' in source
    assert answers(export.folder) == [None]
