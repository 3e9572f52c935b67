"""A store knows which embedder made its vectors, and mixes them with no other's."""

from __future__ import annotations

import shutil
import sqlite3
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import StoreError, VectorInputError
from conduit_lab.core.progress import Progress
from conduit_lab.core.spec import FloatArray
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.vectors import identity
from conduit_lab.vectors.store import VectorStore

MINILM = Path(__file__).parents[2] / "data" / "models" / "minilm"
TEXTS = ["kettle", "lamp", "returns", "a longer text about warranty"]


class Hashed:
    """An embedder of dimension 8 by letters; `seed` makes another model of it."""

    dimension = 8

    def __init__(self, seed: int = 0, name: str = "hashed", fingerprint: str | None = None) -> None:
        self.name = name
        if fingerprint is not None:
            self.fingerprint = fingerprint
        self._table = np.random.default_rng(seed).standard_normal((256, 8)).astype(np.float32)

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        many = [texts] if isinstance(texts, str) else texts
        rows = np.stack([self._table[list(text.encode())].mean(0) for text in many]).astype(
            np.float32
        )
        return rows[0] if isinstance(texts, str) else rows


class Moved(Hashed):
    """The same model in another class."""


class Prompted(Hashed):
    """The same model, with a prompt for documents."""

    def __init__(
        self, seed: int = 0, name: str = "hashed", prompt: str = "a quite long prompt: "
    ) -> None:
        super().__init__(seed, name)
        self.prompt = prompt

    def encode_document(self, texts: Sequence[str]) -> FloatArray:
        return self.encode([self.prompt + text for text in texts])


def forget(path: Path) -> None:
    """Make a file as it was before there were identities."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM meta WHERE name LIKE 'embedder.%'")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.db"


def fill(path: Path, embedder: Any) -> None:
    with VectorStore(path=path, embedder=embedder) as store:
        store.add_texts(TEXTS, ids=["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Hashed(0, "one"), Hashed(1, "two")),
        (Hashed(0, "same"), Moved(1, "same")),
        (Hashed(0, "same"), Hashed(1, "same")),  # one class with other weights
        (Hashed(0, "same"), Prompted(0, "same")),
        (Prompted(0, "same", prompt="passage: "), Prompted(0, "same", prompt="text: ")),
        (Hashed(0, "x", fingerprint="aa" * 32), Hashed(1, "x", fingerprint="bb" * 32)),
        (
            Hashed(0, "x", fingerprint="aa" * 32),
            Hashed(0, "x", fingerprint="bb" * 32),
        ),  # other settings for long texts
        (Hashed(0, "x"), Hashed(1, "x", fingerprint="bb" * 32)),
        (Hashed(0, "x", fingerprint="aa" * 32), Hashed(1, "y")),
    ],
)
@pytest.mark.parametrize("lazy", [True, False])
def test_another_embedder_of_the_same_dimension_is_refused(
    path: Path, first: Any, second: Any, lazy: bool
) -> None:
    fill(path, first)
    made, got = f"the vectors of the embedder '{first.name}'", f"got '{second.name}'"
    message = rf"store 'notes' has {made} .* {got} .*reembed=True"
    with pytest.raises(StoreError, match=message):
        VectorStore(path=path, embedder=second, lazy=lazy).open()
    with VectorStore(path=path, embedder=first) as store, VectorStore(path=path) as plain:
        assert [hit.id for hit in store.search("lamp", 1)] == ["b"]
        assert len(plain) == 4


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Hashed(0), Hashed(0)),
        (Hashed(0, "x", fingerprint="aa" * 32), Hashed(0, "renamed", fingerprint="aa" * 32)),
        (Hashed(0, "x"), Moved(0, "y")),  # its vectors are the same
        (Hashed(0, "x"), Hashed(0, "x", fingerprint="aa" * 32)),
    ],
)
def test_the_same_embedder_is_known_by_what_it_is(path: Path, first: Any, second: Any) -> None:
    fill(path, first)
    for _ in range(2):
        with VectorStore(path=path, embedder=second) as store:
            assert [hit.id for hit in store.search("lamp", 1)] == ["b"]
            assert store.search("lamp", 1)[0].score == pytest.approx(1)


def test_an_empty_store_takes_any_embedder(path: Path) -> None:
    VectorStore(path=path, embedder=Hashed(0, "one")).close()
    fill(path, Hashed(1, "two"))
    with pytest.raises(StoreError, match="of the embedder 'two'"):
        VectorStore(path=path, embedder=Hashed(0, "one"))


def test_a_file_without_an_identity_takes_the_embedder_that_makes_its_vectors(path: Path) -> None:
    fill(path, Hashed(0, "one"))
    forget(path)
    with pytest.warns(
        UserWarning, match="has vectors that the embedder 'two' does not make of their texts"
    ):
        VectorStore(path=path, embedder=Hashed(1, "two")).close()
    VectorStore(path=path, embedder=Hashed(0, "one")).close()
    with pytest.raises(StoreError, match="of the embedder 'one'"):
        VectorStore(path=path, embedder=Hashed(1, "two"))


def test_vectors_without_texts_are_anybodys(path: Path) -> None:
    with VectorStore(8, path=path) as store:
        store.add("a", np.ones(8))
    with VectorStore(path=path, embedder=Hashed(0)) as store:
        store.add("b", content="kettle")
        assert store.search("kettle", 1)[0].id == "b"


@pytest.mark.parametrize("copied", ["save_to", "backup", "snapshot"])
@pytest.mark.parametrize("durable", [True, False])
def test_copies_and_snapshots_know_it_too(
    path: Path, tmp_path: Path, copied: str, durable: bool
) -> None:
    copy = tmp_path / "copy"
    with VectorStore(path=path if durable else None, embedder=Hashed(0, "one")) as store:
        store.add_texts(TEXTS)
        getattr(store, copied)(copy)
    with VectorStore(path=copy, embedder=Hashed(0, "one")) as store:
        assert store.search("lamp", 1)[0].content == "lamp"
    with pytest.raises(StoreError, match="of the embedder 'one'"):
        VectorStore(path=copy, embedder=Hashed(1, "two"))


def test_an_embedder_that_is_set_later_is_verified(path: Path) -> None:
    with VectorStore(path=path, embedder=Hashed(0, "one")) as store:
        store.add_texts(TEXTS)
        store.embedder = Hashed(1, "two")
        for use in (
            lambda: store.search("lamp"),
            lambda: store.add("e", content="more"),
            lambda: len(store),
        ):
            with pytest.raises(StoreError, match="of the embedder 'one'"):
                use()
        store.embedder = Hashed(0, "one")
        assert store.search("lamp", 1)[0].content == "lamp"


def test_a_certain_identity_is_not_replaced_by_an_uncertain_one(path: Path) -> None:
    fill(path, Hashed(0, "x", fingerprint="aa" * 32))
    VectorStore(path=path, embedder=Hashed(0, "x")).close()
    with pytest.raises(StoreError, match="of the embedder 'x'"):
        VectorStore(path=path, embedder=Hashed(0, "x", fingerprint="bb" * 32))


def test_vectors_that_were_given_with_their_texts_are_anybodys(path: Path) -> None:
    with VectorStore(path=path, embedder=Hashed(0, "one")) as store:
        store.add_many(["a", "b"], np.eye(8)[:2], contents=["kettle", "lamp"])
    with VectorStore(path=path, embedder=Hashed(0, "one")) as store:
        assert len(store) == 2


# While a store is open


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.search("lamp"),
        lambda store: store.add("e", content="more"),
        lambda store: store.update("a", content="more"),
        lambda store: store.add_texts(["more"]),
    ],
)
def test_an_open_store_refuses_the_vectors_that_another_embedder_makes_meanwhile(
    path: Path, use: Any
) -> None:
    fill(path, Hashed(0, "one"))
    two = Hashed(1, "two")
    with (
        VectorStore(path=path, embedder=Hashed(0, "one")) as store,
        VectorStore(path=path) as other,
    ):
        assert store.search("lamp", 1)[0].score == pytest.approx(1)
        other.reembed(two)
        for _ in range(2):
            with pytest.raises(
                StoreError, match="was given to the embedder 'two' while it was open with 'one'"
            ):
                use(store)
        assert np.array_equal([entry.embedding for entry in other], two.encode(TEXTS))
        store.embedder = two
        assert store.search("lamp", 1)[0].score == pytest.approx(1)


def test_an_open_store_goes_on_once_its_embedder_made_the_vectors_again(path: Path) -> None:
    fill(path, Hashed(0, "one"))
    with VectorStore(path=path, embedder=Hashed(0, "one")) as store:
        for embedder in (Hashed(1, "two"), Hashed(0, "one")):
            VectorStore(path=path, embedder=embedder, reembed=True).close()
        assert store.search("lamp", 1)[0].score == pytest.approx(1)


def test_two_embedders_cannot_fill_one_empty_store(path: Path) -> None:
    first = VectorStore(path=path, embedder=Hashed(0, "one"))
    with first, VectorStore(path=path, embedder=Hashed(1, "two")) as second:
        with pytest.raises(StoreError, match="was given to the embedder 'two'"):
            first.add_texts(["kettle"])
        second.add_texts(["lamp"])
        assert [entry.content for entry in second] == ["lamp"]


def test_a_store_without_an_embedder_takes_the_vectors_of_any(path: Path) -> None:
    fill(path, Hashed(0, "one"))
    with (
        VectorStore(path=path) as plain,
        VectorStore(path=path, embedder=Hashed(0, "one")) as store,
    ):
        VectorStore(path=path, embedder=Hashed(1, "two"), reembed=True).close()
        store.embedder = None
        for each in (plain, store):
            assert each.search(Hashed(1).encode("lamp"), 1)[0].score == pytest.approx(1)


def test_a_served_snapshot_is_not_replaced_by_that_of_another_embedder(
    path: Path, tmp_path: Path
) -> None:
    folder, one = tmp_path / "served", Hashed(0, "one")
    fill(path, one)
    with VectorStore(path=path, embedder=one) as writer:
        writer.snapshot(folder)
    with VectorStore(path=folder, embedder=one) as served:
        with VectorStore(path=path) as writer:
            writer.reembed(Hashed(1, "two"))
            writer.snapshot(folder)
        assert served.search("lamp", 1)[0].score == pytest.approx(1)
        assert np.array_equal([entry.embedding for entry in served], one.encode(TEXTS))
    with pytest.raises(StoreError, match="of the embedder 'two'"):
        VectorStore(path=folder, embedder=one)


# Embedding again


@pytest.mark.parametrize("way", ["open", "method"])
def test_all_texts_are_embedded_again_on_demand(path: Path, way: str) -> None:
    fill(path, Hashed(0, "one"))
    with VectorStore(path=path) as store:
        before = [(entry.id, entry.metadata, entry.content, entry.created_at) for entry in store]
    two = Hashed(1, "two")
    if way == "open":
        store = VectorStore(path=path, embedder=two, reembed=True)
    else:
        store = VectorStore(path=path)
        assert store.reembed(two) == 4
    with store:
        assert [
            (entry.id, entry.metadata, entry.content, entry.created_at) for entry in store
        ] == before
        assert np.array_equal([entry.embedding for entry in store], two.encode(TEXTS))
        assert store.search("lamp", 1)[0].score == pytest.approx(1)
    with pytest.raises(StoreError, match="of the embedder 'two'"):
        VectorStore(path=path, embedder=Hashed(0, "one"))
    VectorStore(path=path, embedder=two, reembed=True).close()


def test_embedding_again_that_fails_changes_nothing(path: Path) -> None:
    fill(path, Hashed(0, "one"))
    with VectorStore(path=path) as store:
        store.add("bare", np.ones(8))
        before = [entry.embedding.tolist() for entry in store]
        with pytest.raises(
            VectorInputError,
            match="the embedding of 'bare' is missing, and the entry has no content",
        ):
            store.reembed(Hashed(1, "two"))
        with pytest.raises(
            VectorInputError, match=r"has no embedder: give one, store\.reembed\(embedder\)"
        ):
            store.reembed()
        assert [entry.embedding.tolist() for entry in store] == before
    VectorStore(path=path, embedder=Hashed(0, "one")).close()


def test_an_embedder_of_another_dimension_cannot(path: Path) -> None:
    fill(path, Hashed(0))
    wide = Hashed(0)
    wide.dimension = 9
    with (
        VectorStore(path=path) as store,
        pytest.raises(StoreError, match="has dimension 8, got an embedder of 9"),
    ):
        store.reembed(wide)


def test_vectors_that_differ_by_rounding_are_of_one_embedder(path: Path) -> None:
    class Rounded(Hashed):
        def encode(self, texts: str | Sequence[str]) -> FloatArray:
            return super().encode(texts).astype(np.float16).astype(np.float32)

    Rounded.__module__, Rounded.__qualname__ = Hashed.__module__, Hashed.__qualname__
    fill(path, Hashed(0))
    with VectorStore(path=path, embedder=Rounded(0)) as store:
        assert store.search("lamp", 1)[0].score == pytest.approx(1, abs=1e-5)


def test_an_open_store_rejects_an_embedder_that_only_its_vectors_tell_apart(path: Path) -> None:
    fill(path, Hashed(0))
    with (
        VectorStore(path=path, embedder=Hashed(0)) as store,
        VectorStore(path=path) as other,
    ):
        other.reembed(Hashed(1))
        with pytest.raises(StoreError, match="was given to the embedder 'hashed'"):
            store.search("lamp", 1)


def test_an_interrupted_reembedding_records_no_wrong_embedder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    two = Hashed(1, "two", fingerprint="bb" * 32)
    fill(path, Hashed(0, "one", fingerprint="aa" * 32))
    with VectorStore(path=path) as store, monkeypatch.context() as patch:
        patch.setattr(identity, "write_identity", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.reembed(two)
    with VectorStore(path=path, embedder=two) as store:
        assert store.search("lamp", 1)[0].score == pytest.approx(1)


def test_a_failed_probe_identifies_by_name(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Picky(Hashed):
        answer: FloatArray | None = None

        def encode(self, texts: str | Sequence[str]) -> FloatArray:
            if texts == ["Which embedder made this vector?"]:
                if self.answer is None:
                    raise ValueError("a text that is no kettle")
                return self.answer
            return super().encode(texts)

    for answer in (None, np.full((1, 8), np.nan, np.float32)):
        Picky.answer = answer
        for _ in range(2):
            fill(path, Picky(0, "picky"))
    assert "the embedder failed on the text that identifies it" in caplog.text


# The identity of an embedding model's folder

CHANGES = {
    "length": ("sentence_bert_config.json", b'{"max_seq_length": 64, "do_lower_case": false}'),
    "case": ("sentence_bert_config.json", b'{"max_seq_length": 256, "do_lower_case": true}'),
    "prompts": ("config_sentence_transformers.json", b'{"prompts": {"query": "query: "}}'),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MINILM, tmp_path / "moved"))


def test_a_model_is_the_same_in_another_folder(folder: Path) -> None:
    assert Embedder(MINILM).fingerprint == Embedder(folder).fingerprint
    assert len(Embedder(folder).fingerprint) == 64


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_with_other_settings_is_another(folder: Path, change: str) -> None:
    name, content = CHANGES[change]
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    assert Embedder(folder).fingerprint != Embedder(MINILM).fingerprint


def test_a_store_of_one_model_refuses_the_other(folder: Path, path: Path) -> None:
    with VectorStore(path=path, embedder=Embedder(MINILM)) as store:
        store.add_texts(["The kettle is broken."])
    VectorStore(path=path, embedder=Embedder(folder)).close()
    name, content = CHANGES["length"]
    (folder / name).write_bytes(content)
    with pytest.raises(StoreError, match="reembed=True"):
        VectorStore(path=path, embedder=Embedder(folder))


def test_nothing_is_said_of_a_store_in_order(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            fill(path, Hashed(0))


def test_embedding_again_counts_its_texts(jobs: list[Progress]) -> None:
    store = VectorStore(embedder=Hashed(), name="docs")
    store.add_texts(TEXTS)
    store.reembed(Hashed(1))
    job = jobs[-1]
    assert (job.name, job.done, job.total) == ("docs.reembed", len(TEXTS), len(TEXTS))
