"""Stores in an export: a consistent copy, opened under the same name."""

from __future__ import annotations

import pytest

from conduit_lab.core.errors import ExportError
from tests.export.session import Session, loaded, same
from tests.models.text import embedders


@pytest.mark.parametrize(
    "kind", ["VectorStore(dimension=2)", "lab.vector_store('notes', dimension=2)"]
)
@pytest.mark.parametrize("name", ["store", "_käse"])
def test_a_store_finds_the_same_after_the_export(session: Session, kind: str, name: str) -> None:
    session.run(
        f"from conduit_lab import VectorStore\n{name} = {kind}",
        "for i in range(20):\n"
        f"    {name}.add(f'n{{i}}', [i, 20 - i], {{'even': i % 2 == 0}}, f'text {{i}}')",
        "@lab.post('/a')\ndef a(q: list):\n"
        f"    return {name}.search(q, top_k=5, where={{'even': True}})",
        "a([1.0, 2.0])",
    )
    same(session)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2", "manhattan"])
def test_each_metric_is_kept(session: Session, metric: str) -> None:
    session.run(
        f"notes = lab.vector_store('notes', dimension=2, metric={metric!r})",
        "notes.add_many(['a', 'b'], [[1, 0], [3, 4]])",
        "@lab.post('/a')\ndef a(q: list):\n    return [notes.metric, notes.search(q)]",
        "a([1.0, 2.0])",
    )
    option = "" if metric == "cosine" else f', metric="{metric}"'
    assert f'notes = lab.vector_store("notes", dimension=2{option})' in same(session)


@pytest.mark.parametrize(
    ("name", "label"),
    [("shelf", "shelf"), ("_shelf_2", "shelf_2"), ("käse", "kse"), ("_", "store"), ("ж", "store")],
)
def test_a_store_of_no_app_is_named_by_its_variable(
    session: Session, name: str, label: str
) -> None:
    session.run(
        f"from conduit_lab import VectorStore\n{name} = VectorStore(2)\n{name}.add('a', [1, 0])",
        f"@lab.get('/a')\ndef a():\n    return len({name})",
        "a()",
    )
    assert f'{name} = lab.vector_store("{label}", dimension=2)' in same(session)
    assert (session.root / f"out/indexes/{label}.sqlite").is_file()


def test_two_names_of_one_store_stay_one_store(session: Session) -> None:
    session.run(
        "from conduit_lab import VectorStore\nstore = VectorStore(dimension=2)\nsame_store = store",
        "@lab.post('/a')\ndef a(q: list):\n    return store is same_store",
        "a([1.0, 2.0])",
    )
    assert same(session).count("vector_store(") == 1


def test_two_stores_of_one_name_are_refused(session: Session) -> None:
    session.run(
        "from conduit_lab import VectorStore",
        "_notes = VectorStore(2)\nnotes = VectorStore(2)",
        "@lab.get('/a')\ndef a():\n    return [len(notes), len(_notes)]",
        "a()",
    )
    with pytest.raises(ExportError) as caught:
        session.export()
    assert str(caught.value) == (
        "two stores would both be indexes/notes.sqlite: rename one of them"
    )


def test_a_store_brings_its_embedder(session: Session) -> None:
    embedders.folder(session.root / "models/words")
    session.run(
        "words = lab.load_model('models/words')",
        "notes = lab.vector_store('notes', embedder=words)",
        "notes.add_texts(['kettle lid', 'pan'], ids=['a', 'b'])",
        "@lab.post('/a')\ndef a(q: str):\n    return notes.search(q, top_k=1)",
        "a('pan')",
    )
    source = same(session)
    dimension = session.names["notes"].dimension
    line = f'notes = lab.vector_store("notes", dimension={dimension}, embedder=words)'
    assert source.index("words = lab.load_model(") < source.index(line)


def test_an_embedder_without_a_name_is_loaded_inside_the_call(session: Session) -> None:
    embedders.folder(session.root / "models/words")
    session.run(
        "notes = lab.vector_store('notes', embedder=lab.load_model('models/words'))",
        "notes.add_texts(['kettle lid', 'pan'], ids=['a', 'b'])",
        "@lab.post('/a')\ndef a(q: str):\n    return notes.search(q, top_k=1)",
        "a('pan')",
    )
    assert 'embedder=lab.load_model("models/words"))' in same(session)


def test_a_store_by_its_name_and_through_a_rag_is_one(session: Session) -> None:
    session.run(
        "from conduit_lab import Rag",
        "notes = lab.vector_store('notes', dimension=2)\nnotes.add('a', [1, 0], {}, 'A kettle.')",
        "class Echo:\n    def generate(self, *, query, context):\n        return str(context)",
        "echo = Echo()\nhelp = Rag(notes, echo, mode='lexical')",
        "@lab.post('/a')\ndef a(q: str):\n    return [help(q), help.store is notes, len(notes)]",
        "a('kettle')",
    )
    assert same(session).count("vector_store(") == 1
    assert session.lab.examples[-1].answer[1:] == [True, 1]


def test_a_store_that_only_a_call_opened_is_copied(session: Session) -> None:
    session.run(
        "lab.vector_store('notes', dimension=2).add('a', [1, 0])",
        "@lab.get('/a')\ndef a():\n    return len(lab.vector_store('notes'))",
        "a()",
    )
    same(session)
    assert (session.root / "out/indexes/notes.sqlite").is_file()


def test_the_copy_holds_the_entries_at_the_export(session: Session) -> None:
    session.run(
        "notes = lab.vector_store('notes', dimension=2)\nnotes.add('a', [1, 0])",
        "@lab.post('/a')\ndef a(q: list):\n    return notes.search(q, top_k=1)",
        "a([1.0, 0.0])",
        "notes.add('b', [0, 1]); notes.delete('a')",
    )
    folder = session.export().folder
    session.run("notes.add('c', [1, 1])")
    with loaded(folder) as names:
        assert [entry.id for entry in names["notes"]] == ["b"]
