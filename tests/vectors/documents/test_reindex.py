from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import InputError, VectorInputError
from conduit_lab.core.paths import use_root
from conduit_lab.core.progress import BYTES, Progress
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.trace import recorder
from conduit_lab.core.views import html
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.vectors.documents import reindex
from conduit_lab.vectors.documents.document import read_document
from conduit_lab.vectors.store import VectorStore
from tests.vectors.documents.test_document import make, write_pdf

ROOT = Path(__file__).parents[3]


class Words:
    """An embedder that records its texts; equal texts get equal vectors, a token is a word."""

    dimension = 8
    max_length = 64

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fail_after: int | None = None

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        assert not isinstance(texts, str)
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        self.asked += texts
        digests = b"".join(
            blake2b(text.encode(), digest_size=self.dimension).digest() for text in texts
        )
        return np.frombuffer(digests, np.uint8).reshape(len(texts), -1).astype(np.float32)

    def count_tokens(self, text: str) -> int:
        return len(text.split())


@pytest.fixture
def embedder() -> Words:
    return Words()


@pytest.fixture
def store(embedder: Words) -> Iterator[VectorStore]:
    with VectorStore(embedder=embedder, name="docs") as store:
        yield store


@pytest.fixture(autouse=True)
def root(tmp_path: Path) -> Iterator[Path]:
    with use_root(tmp_path):
        yield tmp_path


def contents(store: VectorStore) -> dict[str, str | None]:
    return {entry.id: entry.content for entry in store}


def counts(done: reindex.Reindexed) -> tuple[int, int, int, int, int]:
    return done.added, done.updated, done.kept, done.removed, done.embedded


def check(store: VectorStore) -> None:
    """Every entry is an exact piece of its file, with the embedding of its text."""
    texts = {
        source: read_document(source).text
        for source in {entry.metadata["source"] for entry in store}
    }
    for entry in store:
        made = entry.metadata
        assert entry.content is not None
        assert texts[made["source"]][made["start"] : made["end"]] == entry.content
        np.testing.assert_array_equal(entry.embedding, Words().encode([entry.content])[0])


# What is stored


def test_a_chunk_is_an_entry_with_its_place(root: Path, store: VectorStore) -> None:
    make(
        root,
        "docs/returns/refunds.md",
        "# Refunds\n\n## By card\n\nThree days.\n\n## By bank\n\nA week.\n",
    )
    done = store.add_documents("docs")
    assert contents(store) == {
        "docs/returns/refunds.md#1": "# Refunds\n\n## By card\n\nThree days.",
        "docs/returns/refunds.md#2": "## By bank\n\nA week.",
    }
    assert store["docs/returns/refunds.md#2"].metadata == {
        "source": "docs/returns/refunds.md",
        "section": "returns",
        "title": "Refunds",
        "heading": "Refunds > By bank",
        "line": 7,
        "start": 36,
        "end": 55,
    }
    assert counts(done) == (2, 0, 0, 0, 2)
    check(store)


def test_what_there_is_not_is_left_out_of_the_metadata(root: Path, store: VectorStore) -> None:
    path = write_pdf(root / "a.pdf", ["One", "Two"])
    store.add_documents(path)
    assert store["a.pdf#1"].metadata == {
        "source": "a.pdf",
        "title": "a",
        "page": 1,
        "start": 0,
        "end": 8,
    }


def test_a_chunk_has_the_size_that_the_embedder_reads(
    root: Path, store: VectorStore, embedder: Words
) -> None:
    make(root, "a.txt", " ".join(map(str, range(200))))
    store.add_documents("a.txt")
    assert [embedder.count_tokens(text) for text in embedder.asked] == [64, 64, 64, 8]
    store.add_documents("a.txt", size=50, overlap=10)
    assert embedder.count_tokens(embedder.asked[4]) == 50
    with pytest.raises(
        InputError, match=r"expected chunks of at most 64 tokens, .* got 65: pass a smaller"
    ):
        store.add_documents("a.txt", size=65)


def test_an_embedder_that_counts_no_tokens_has_chunks_of_a_thousand_characters(root: Path) -> None:
    class Plain:
        dimension = 8

        def encode(self, texts: str | Sequence[str]) -> FloatArray:
            return np.ones((len(texts), 8), np.float32)

    make(root, "a.txt", "word " * 400)
    with VectorStore(embedder=Plain()) as store:
        store.add_documents("a.txt")
        assert [len(entry.content or "") for entry in store] == [999, 999]


def test_csv_rows_are_entries(root: Path, store: VectorStore) -> None:
    make(root, "docs/shop/faq.csv", "question,answer,price\nWhy?,Because.,5\n,,1\nHow?,So.,7\n")
    store.add_documents("docs", text=["question", "answer"])
    assert contents(store) == {
        "docs/shop/faq.csv#1": "Why?\nBecause.",
        "docs/shop/faq.csv#2": "How?\nSo.",
    }
    assert store["docs/shop/faq.csv#2"].metadata == {
        "source": "docs/shop/faq.csv",
        "section": "shop",
        "row": 3,
        "price": 7,
    }


def test_a_frame_is_known_by_its_source(store: VectorStore) -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"], "n": [1, 2, 3]})
    assert counts(store.add_documents(frame, source="shop")) == (3, 0, 0, 0, 3)
    assert counts(store.add_documents(frame.iloc[:2], source="shop")) == (0, 0, 2, 1, 0)
    assert counts(store.add_documents(frame, source="other")) == (3, 0, 0, 0, 1)
    assert len(store) == 5
    with pytest.raises(
        InputError,
        match=r"expected a name for the DataFrame, .* got source=None: pass source=",
    ):
        store.add_documents(frame)


def test_a_cell_that_json_cannot_carry_is_told(store: VectorStore) -> None:
    with pytest.raises(VectorInputError, match=r"shop row 2\['n'\] is a complex"):
        store.add_documents(
            pd.DataFrame({"text": ["a", "b"], "n": [1, 2j]}, dtype=object), source="shop"
        )
    assert len(store) == 0


# Once more


def test_a_second_time_embeds_and_writes_nothing(
    root: Path, store: VectorStore, embedder: Words
) -> None:
    make(root, "docs/a.md", "# A\n\nOne.\n\n# B\n\nTwo.")
    make(root, "docs/b.csv", "text,n\nx,1\n")
    store.add_documents("docs")
    version, asked = store.version, len(embedder.asked)
    assert counts(store.add_documents("docs")) == (0, 0, 3, 0, 0)
    assert (store.version, len(embedder.asked)) == (version, asked)


def test_only_a_new_text_is_embedded_though_all_numbers_move(
    root: Path, store: VectorStore, embedder: Words
) -> None:
    path = make(root, "a.md", "".join(f"# {n}\n\nText {n}.\n\n" for n in range(300)))
    store.add_documents(path)
    embedder.asked.clear()
    make(root, "a.md", "# New\n\nFirst.\n\n" + path.read_text())
    assert counts(store.add_documents(path)) == (1, 300, 0, 0, 1)
    assert embedder.asked == ["# New\n\nFirst."]
    check(store)


def test_a_moved_file_is_not_embedded_again(
    root: Path, store: VectorStore, embedder: Words
) -> None:
    make(root, "docs/b/page.md", "# A\n\nOne.\n\n# B\n\nTwo.")
    store.add_documents("docs")
    embedder.asked.clear()
    (root / "docs/a").mkdir()
    (root / "docs/b/page.md").rename(root / "docs/a/page.md")
    assert counts(store.add_documents("docs")) == (2, 0, 0, 2, 0)
    assert {entry.metadata["section"] for entry in store} == {"a"}
    check(store)


def test_a_text_that_comes_often_is_embedded_once(
    root: Path, store: VectorStore, embedder: Words
) -> None:
    for n in range(3):
        make(root, f"docs/{n}.txt", "The same imprint.")
    assert counts(store.add_documents("docs")) == (3, 0, 0, 0, 1)
    check(store)


def test_texts_that_change_their_files_keep_their_own_embeddings(
    root: Path, store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        reindex, "BATCH_CHUNKS", 1
    )  # the first file is written before the second is read
    make(root, "docs/a.txt", "One.")
    make(root, "docs/b.txt", "Two.")
    store.add_documents("docs")
    make(root, "docs/a.txt", "Two.")
    make(root, "docs/b.txt", "One.")
    make(root, "docs/c.txt", "One.")
    assert counts(store.add_documents("docs")) == (
        1,
        2,
        0,
        0,
        1,
    )  # `One.` had been removed before it was added again, once
    check(store)


def test_what_is_gone_is_removed_below_the_folder_alone(root: Path, store: VectorStore) -> None:
    for name in ("docs/a.md", "docs/b.md", "docs2/c.md", "d.md"):
        make(root, name, f"# {name}\n\nOne.\n\n# More\n\nTwo.")
    store.add_documents(["docs", "docs2", "d.md"])
    store.add("note", np.ones(8), {"source": "docs/gone.md"}, "added by hand")
    store.add("docs/gone.md#1", np.ones(8), {"source": "mine"}, "added by hand")
    make(root, "docs/a.md", "# docs/a.md\n\nOne.")
    (root / "docs/b.md").unlink()
    (root / "docs2/c.md").unlink()
    (root / "d.md").unlink()
    assert counts(store.add_documents("docs")) == (0, 0, 1, 3, 0)
    assert contents(store).keys() - {"note", "docs/gone.md#1"} == {
        "docs/a.md#1",
        "docs2/c.md#1",
        "docs2/c.md#2",
        "d.md#1",
        "d.md#2",
    }
    assert len(store) == 7


def test_new_metadata_need_no_embedding(root: Path, store: VectorStore) -> None:
    make(root, "docs/shop/a.md", "# A\n\nOne.")
    store.add_documents("docs/shop")
    assert counts(store.add_documents("docs")) == (0, 1, 0, 0, 0)
    assert store["docs/shop/a.md#1"].metadata["section"] == "shop"


PAGES = st.dictionaries(
    st.sampled_from(["docs/a.md", "docs/b/c.md", "docs/d.txt"]),
    st.lists(
        st.sampled_from(["# A\n\n", "One. ", "Two.\n\n", "word " * 50, "## B\n\n"]), max_size=8
    ).map("".join),
)


@given(st.lists(PAGES, min_size=1, max_size=4))
def test_the_store_is_always_what_a_new_one_would_be(
    tmp_path_factory: pytest.TempPathFactory, states: list[dict[str, str]]
) -> None:
    root = tmp_path_factory.mktemp("root")
    (root / "docs").mkdir()
    with use_root(root), VectorStore(embedder=Words()) as store:
        for pages in states:
            for file in [path for path in root.rglob("*") if path.is_file()]:
                file.unlink()
            for name, text in pages.items():
                make(root, name, text)
            before = set(contents(store))
            done = store.add_documents("docs")
            check(store)
            with VectorStore(embedder=Words()) as new:
                new.add_documents("docs")
                kept = {entry.id: (entry.content, entry.metadata) for entry in store}
                assert kept == {entry.id: (entry.content, entry.metadata) for entry in new}
            assert done.added + done.updated + done.kept == len(store)
            assert len(before) + done.added - done.removed == len(store)


# What goes wrong


def test_an_interrupt_keeps_what_was_done_and_the_next_call_goes_on(
    root: Path, store: VectorStore, embedder: Words
) -> None:
    make(root, "docs/a.md", "".join(f"# {n}\n\nText {n}.\n\n" for n in range(600)))
    embedder.fail_after = 500
    with pytest.raises(KeyboardInterrupt):
        store.add_documents("docs")
    assert len(store) == 512 == 8 * reindex.BATCH_CHUNKS
    embedder.fail_after = None
    assert counts(store.add_documents("docs")) == (600 - 512, 0, 512, 0, 600 - 512)
    check(store)


def test_a_bad_file_in_a_folder_is_told_and_keeps_what_was_stored_of_it(
    root: Path, store: VectorStore
) -> None:
    make(root, "docs/a.txt", "One.")
    make(root, "docs/b.txt", "Two.")
    store.add_documents("docs")
    make(root, "docs/a.txt", b"\xff\xfe\xff")
    make(root, "docs/c.txt", "Three.")
    make(root, "docs/d.pdf", b"no pdf")
    make(root, "docs/e.png", b"")
    done = store.add_documents("docs")
    assert counts(done) == (1, 0, 1, 0, 1)
    assert list(done.problems) == ["docs/a.txt", "docs/d.pdf"]
    assert done.problems["docs/a.txt"].startswith("is not UTF-16 at byte 2")
    assert done.passed_over == {".png": 1}
    assert contents(store) == {
        "docs/a.txt#1": "One.",
        "docs/b.txt#1": "Two.",
        "docs/c.txt#1": "Three.",
    }


def test_a_bad_file_that_was_named_is_raised_when_the_others_are_stored(
    root: Path, store: VectorStore
) -> None:
    bad = make(root, "a.pdf", b"no pdf")
    good = make(root, "b.txt", "Two.")
    with pytest.raises(InputError, match=r"^a\.pdf is not a readable PDF"):
        store.add_documents([bad, good])
    assert contents(store) == {"b.txt#1": "Two."}
    with pytest.raises(InputError, match=r"c\.docx is of an unsupported kind"):
        store.add_documents(make(root, "c.docx", b""))


def test_an_empty_file_is_told_and_its_chunks_are_removed(root: Path, store: VectorStore) -> None:
    path = make(root, "a.txt", "One.")
    store.add_documents(path)
    make(root, "a.txt", " \n")
    done = store.add_documents(path)
    assert counts(done) == (0, 0, 0, 1, 0)
    assert done.problems == {"a.txt": "has no text"}
    scan = write_pdf(root / "b.pdf", ["", ""])
    assert store.add_documents(scan).problems == {
        "b.pdf": "has no text: scanned pages need text recognition first"
    }


def test_a_store_without_an_embedder_is_told() -> None:
    with (
        VectorStore(8) as store,
        pytest.raises(VectorInputError, match="has no embedder for documents"),
    ):
        store.add_documents(".")


# What is shown


def test_the_answer_tells_what_was_done(root: Path, store: VectorStore) -> None:
    make(root, "docs/a.txt", "One.")
    make(root, "docs/<b>.txt", b"\xff")
    make(root, "docs/c.png", b"")
    done = store.add_documents("docs")
    done.seconds = 0.0124
    assert repr(done).splitlines() == [
        "Reindexed 'docs' · 1 document · 1 added · 0 updated · 0 kept · 0 removed · "
        "1 text embedded · 12.4 ms · "
        "passed over: 1 × .png",
        "  docs/<b>.txt: is not UTF-8 at byte 0 (0xff): save it as UTF-8",
    ]
    shown = done._repr_mimebundle_()
    assert shown["text/plain"] == repr(done)
    assert "docs/&lt;b&gt;.txt" in shown["text/html"]
    done.problems = {str(n): "x" for n in range(html.MAX_ROWS + 3)}
    assert repr(done).splitlines()[-1] == "  3 more problems: reindexed.problems"


def test_the_trace_tells_what_was_cut_embedded_and_written(root: Path, store: VectorStore) -> None:
    make(root, "docs/a.md", "# A\n\nOne.\n\n# B\n\nTwo.")
    with recorder.record("call") as recorded:
        store.add_documents("docs")
    assert (recorded["chunk"].input, recorded["chunk"].output) == ("docs/a.md", "2 chunks")
    assert [span.kind for span in recorded] == ["call", "write", "call", "write"]


def test_the_progress_counts_the_bytes_of_the_files(
    root: Path, store: VectorStore, jobs: list[Progress]
) -> None:
    make(root, "docs/a.txt", "x" * 1024)
    make(root, "docs/b.txt", b"\xff" * 1024)
    store.add_documents("docs")
    [job] = [job for job in jobs if job.unit == BYTES]
    assert (job.name, job.done, job.total) == ("docs.add_documents", 2048, 2048)


def test_a_folder_goes_into_a_file_and_is_found_by_its_words(root: Path, minilm: Embedder) -> None:
    make(root, "docs/returns.md", "# Returns\n\nSend the kettle back within 30 days.")
    make(root, "docs/points.md", "# Points\n\nYou collect one point for every euro.")
    with VectorStore(path=root / "docs.db", embedder=minilm) as store:
        store.add_documents("docs")
    with VectorStore(path=root / "docs.db", embedder=minilm) as store:
        assert store.search("my money back for the broken kettle", 1)[0].id == "docs/returns.md#1"
        assert counts(store.add_documents("docs")) == (0, 0, 2, 0, 0)
