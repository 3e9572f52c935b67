"""A Rag in an export: made of its named parts and its settings, and proved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.models.generation.generator import Generator
from tests.export.session import Session, answers
from tests.models.text import embedders, rerankers

WRITER = Path(__file__).parents[1] / "models" / "generation" / "decoders" / "llama"

IMPORTS = "from conduit_lab import Rag, VectorStore"
STORE = """
handbook = lab.vector_store("handbook", dimension=2)
handbook.add("lids", [1, 0], {"section": "parts"}, "A lid is sold apart.")
kettle = "A kettle is descaled once a month. It has a lid."
handbook.add("kettles", [0, 1], {"section": "parts"}, kettle)
"""
ECHO = """
class Echo:
    def generate(self, *, query, context):
        return f"{query}: {context}"

writer = Echo()
"""
TRIED = "ask('kettle'), ask.stream('lid').result()"


def exported(session: Session, *cells: str) -> str:
    """Run the cells, export, send the export the same requests, and return its source."""
    session.run(IMPORTS, STORE, *cells)
    export = session.export()
    assert answers_of_values(export.folder) == [None] * sum(
        e.shape == "value" for e in session.lab.examples
    )
    return (export.folder / "app.py").read_text("utf-8")


def answers_of_values(folder: Path) -> list[str | None]:
    """Send the export the requests without a stream; the proof sends the others."""
    lines = (folder / "examples.jsonl").read_text("utf-8").splitlines()
    kept = [line for line in lines if '"shape": "stream"' not in line]
    (folder / "examples.jsonl").write_text("\n".join(kept), "utf-8")
    return answers(folder)


def test_a_rag_made_inside_the_call_is_written_with_what_it_was_given(session: Session) -> None:
    source = exported(
        session,
        ECHO,
        "ask = lab.rag('/rag/query', Rag(handbook, writer, top_k=1, mode='lexical'))",
        TRIED,
    )
    assert 'ask = lab.rag("/rag/query", Rag(handbook, writer, top_k=1, mode="lexical"))' in source
    assert "from conduit_lab import App, Rag" in source
    assert 'handbook = lab.vector_store("handbook", dimension=2)' in source
    assert source.count("lab.rag(") == 1


def test_a_rag_with_a_name_keeps_it(session: Session) -> None:
    source = exported(
        session,
        ECHO,
        "help = Rag(handbook, writer, mode='lexical')",
        "ask = lab.rag('/rag/query', help)",
        TRIED,
    )
    assert (
        'help = Rag(handbook, writer, mode="lexical")\nask = lab.rag("/rag/query", help)' in source
    )


def test_settings_that_were_changed_are_the_live_ones(session: Session) -> None:
    source = exported(
        session,
        ECHO,
        "help = Rag(handbook, writer, mode='lexical')",
        "help.top_k = 2",
        "ask = lab.rag('/rag/query', help)",
        TRIED,
    )
    assert 'help = Rag(handbook, writer, top_k=2, mode="lexical")' in source


def test_an_endpoint_may_use_a_rag_and_one_that_is_served(session: Session) -> None:
    source = exported(
        session,
        ECHO,
        "help = Rag(handbook, writer, mode='lexical')",
        "ask = lab.rag('/rag/query', help)",
        "@lab.post('/both')\ndef both(question: str):\n    return [help(question), ask(question)]",
        TRIED,
        "both('kettle')",
    )
    assert source.count("Rag(handbook") == 1


def test_models_of_a_rag_come_along(session: Session) -> None:
    models = session.root / "models"
    shutil.copytree(WRITER, models / "writer")
    embedders.folder(models / "words")
    rerankers.folder(models / "overlap")
    source = exported(
        session,
        "words = lab.load_model('models/words')",
        "writer = lab.load_model('models/writer')",
        "overlap = lab.load_model('models/overlap')",
        "near = VectorStore(embedder=words)",
        "near.add_texts(['kettle lid', 'pan', 'lid'], ids=['a', 'b', 'c'])",
        """
        prompt = [{"role": "user", "content": "{context} {query}"}]
        limits = {"max_tokens": 5, "stop": ["x"]}
        help = Rag(near, writer, prompt=prompt, min_score=0.1, rerank=overlap, **limits)
        """,
        "ask = lab.rag('/rag/query', help)",
        TRIED,
    )
    assert (
        "help = Rag(\n    near,\n    writer,\n    rerank=overlap,\n"
        '    prompt=[{"role": "user", "content": "{context} {query}"}],\n'
        '    min_score=0.1,\n    max_tokens=5,\n    stop=["x"],\n)\n'
    ) in source
    for model in session.lab.models:
        if isinstance(model, Generator):
            model.unload()


def test_the_export_of_an_app_that_serves_a_rag_alone_is_proved(session: Session) -> None:
    shutil.copytree(WRITER, session.root / "models" / "writer")
    session.run(IMPORTS, STORE, "writer = lab.load_model('models/writer')")
    session.run(
        "ask = lab.rag('/rag/query', Rag(handbook, writer, mode='lexical', max_tokens=6))", TRIED
    )
    export = session.export(replay=True)
    assert [outcome.problem for outcome in export.outcomes] == [None, None]
    session.names["writer"].unload()


def test_both_endpoints_need_a_call(session: Session) -> None:
    session.run(
        IMPORTS, STORE, ECHO, "ask = lab.rag('/rag/query', Rag(handbook, writer, mode='lexical'))"
    )
    session.run("ask('Paris')")
    with pytest.raises(
        ExportError, match=r"no recorded call of POST /rag/query/stream \(rag_query_stream\)"
    ):
        session.export()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            "Rag(handbook, Echo(), mode='lexical')",
            "a Echo has no name in this session .*POST /rag/query.*give it one",
        ),
        (
            "Rag(VectorStore(2), writer, mode='lexical')",
            "a VectorStore has no name in this session",
        ),
        (
            "Rag(handbook, writer, mode='lexical', api_key='0123456789')",
            "api_key= of 'rag' looks like a secret",
        ),
        (
            "Rag(handbook, writer, mode='lexical', end=object())",
            "end= of 'rag' expected numbers and text, got object",
        ),
    ],
)
def test_a_part_without_source_is_refused(session: Session, made: str, message: str) -> None:
    cells = ECHO.replace("query, context", "query, context, **options")
    session.run(IMPORTS, STORE, cells, f"ask = lab.rag('/rag/query', {made})", TRIED)
    with pytest.raises(ExportError, match=message):
        session.export()


def test_every_name_of_a_served_rag_is_kept(session: Session) -> None:
    source = exported(
        session,
        ECHO,
        "ask = lab.rag('/rag/query', Rag(handbook, writer, mode='lexical'))\nagain = ask",
        "@lab.post('/both')\ndef both(q: str):\n    return [again(q), ask is again]",
        TRIED,
        "both('kettle')",
    )
    assert "ask = again = lab.rag(" in source
    assert source.count("lab.rag(") == 1


def test_a_subclass_of_rag_keeps_the_users_statement(session: Session) -> None:
    source = exported(
        session,
        ECHO,
        "class Loud(Rag):\n    def run(self, value):\n"
        "        return {**super().run(value), 'loud': True}",
        "help = Loud(handbook, writer, mode='lexical')",
        "@lab.post('/help')\ndef asked(q: str):\n    return help(q)",
        "asked('kettle')",
    )
    assert "help = Loud(handbook, writer, mode='lexical')" in source
    assert session.lab.examples[-1].answer["loud"] is True


def test_a_generator_without_a_name_is_loaded_inside_the_call(session: Session) -> None:
    shutil.copytree(WRITER, session.root / "models" / "writer")
    session.run(IMPORTS, STORE)
    made = "Rag(handbook, lab.load_model('models/writer'), mode='lexical', max_tokens=3)"
    session.run(f"ask = lab.rag('/rag/query', {made})", TRIED)
    source = session.source()
    assert 'Rag(handbook, lab.load_model("models/writer"), mode="lexical", max_tokens=3)' in source
    for model in session.lab.models:
        if isinstance(model, Generator):
            model.unload()
