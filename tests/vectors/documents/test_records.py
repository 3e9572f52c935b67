"""Records: one name for a file wherever it is indexed from, and no work for unchanged files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit_lab.core.paths import use_root
from conduit_lab.vectors.documents import document_reader, records, reindex
from conduit_lab.vectors.documents.document import read_bytes, read_document
from conduit_lab.vectors.store import VectorStore
from tests.vectors.documents.test_document import make
from tests.vectors.documents.test_pdf import IMAGE, pdf
from tests.vectors.documents.test_reindex import Words, contents, counts


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a project, which is the working directory."""
    base = tmp_path.resolve()
    monkeypatch.chdir(base)
    return base


@pytest.fixture(params=["memory", "file", "server"])
def store(request: pytest.FixtureRequest, base: Path) -> Iterator[VectorStore]:
    if request.param == "server":
        opened = VectorStore.connect("qdrant://:memory:/docs", embedder=Words())
    else:
        opened = VectorStore(
            path=base / "indexes/docs.db" if request.param == "file" else None, embedder=Words()
        )
    with opened as store:
        yield store


def metadata(store: VectorStore, key: str) -> dict[str, Any]:
    return {entry.content or "": entry.metadata.get(key) for entry in store}


# One name


def test_a_document_is_the_same_from_every_working_directory(
    base: Path, store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(base, "data/docs/returns/a.md", "alpha")
    make(base, "data/docs/b.md", "beta")
    first = store.add_documents("data/docs")
    assert counts(first) == (2, 0, 0, 0, 2)
    before = contents(store), metadata(store, "section")
    for here in (base / "data", base / "data/docs/returns", Path("/")):
        monkeypatch.chdir(here)
        assert counts(store.add_documents(os.path.relpath(base / "data/docs"))) == (0, 0, 2, 0, 0)
        assert counts(store.add_documents(base / "data/docs")) == (0, 0, 2, 0, 0)
        assert (contents(store), metadata(store, "section")) == before
    (base / "data/docs/b.md").unlink()
    assert counts(store.add_documents(base / "data/docs")) == (0, 0, 1, 1, 0)
    assert list(metadata(store, "source")) == ["alpha"]


@pytest.mark.parametrize(
    "again",
    [
        "./docs",
        "docs/",
        "docs/../docs",
        "other/../docs",
        "link",
        "link/",
        "docs/returns/..",
        "linked/../../docs",
    ],
)
def test_a_folder_is_the_same_by_every_path(base: Path, store: VectorStore, again: str) -> None:
    make(base, "docs/returns/a.md", "alpha")
    make(base, "docs/b.md", "beta")
    (base / "other").mkdir()
    (base / "link").symlink_to("docs")
    (base / "linked").symlink_to("docs/returns")
    store.add_documents("docs")
    before = contents(store), metadata(store, "section")
    for given in (again, Path(again), base / again, [again, "docs"]):
        assert counts(store.add_documents(given)) == (0, 0, 2, 0, 0)
    assert (contents(store), metadata(store, "section")) == before


@pytest.mark.parametrize(
    "part", ["docs/returns", "docs/returns/old", "docs/returns/a.md", "docs/returns/old/c.md"]
)
def test_a_part_of_a_folder_keeps_its_names_and_sections(
    base: Path, store: VectorStore, part: str
) -> None:
    make(base, "docs/returns/a.md", "alpha")
    make(base, "docs/returns/old/c.md", "gamma")
    make(base, "docs/b.md", "beta")
    store.add_documents("docs")
    before = contents(store), metadata(store, "section")
    done = store.add_documents(part)
    assert (done.added, done.updated, done.removed) == (0, 0, 0)
    assert (contents(store), metadata(store, "section")) == before


def test_the_order_in_which_a_folder_and_its_parts_are_given_is_the_same_in_the_end(
    base: Path, store: VectorStore
) -> None:
    make(base, "docs/returns/a.md", "alpha")
    make(base, "docs/b.md", "beta")
    for given in ("docs/returns/a.md", "docs/returns", "docs", "docs/returns"):
        store.add_documents(given)
        make(base, "docs/returns/new.md", "new")
    assert metadata(store, "section") == {"alpha": "returns", "beta": None, "new": "returns"}
    (base / "docs/returns/a.md").unlink()
    store.add_documents("docs/returns")
    assert set(metadata(store, "section")) == {"beta", "new"}


@pytest.mark.parametrize(
    "given", [["docs", "docs/returns"], ["docs/returns/a.md", "docs/returns", "docs"]]
)
def test_a_folder_and_its_parts_may_be_given_together(
    base: Path, store: VectorStore, given: list[str]
) -> None:
    make(base, "docs/returns/a.md", "alpha")
    make(base, "docs/b.md", "beta")
    for _ in range(2):
        store.add_documents(given)
        assert metadata(store, "section") == {"alpha": "returns", "beta": None}


def test_files_of_the_same_name_in_two_places_are_two_documents(
    base: Path, store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("one", "two"):
        make(base, f"{place}/docs/a.md", place)
        monkeypatch.chdir(base / place)
        store.add_documents("docs")
    assert set(metadata(store, "source")) == {"one", "two"}
    monkeypatch.chdir(base / "one")
    assert counts(store.add_documents("docs")) == (0, 0, 1, 0, 0)
    (base / "two/docs/a.md").unlink()
    store.add_documents(base / "two/docs")
    assert list(metadata(store, "source")) == ["one"]


def test_the_name_is_the_path_from_the_projects_root(base: Path, store: VectorStore) -> None:
    make(base, "project/data/a.md", "alpha")
    with use_root(base / "project"):
        store.add_documents("data")
        assert metadata(store, "source") == {"alpha": "data/a.md"}
        assert read_document("data/a.md").text == "alpha"


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_a_project_may_move_with_its_store(
    base: Path, monkeypatch: pytest.MonkeyPatch, move: Callable[[Path, Path], Any]
) -> None:
    make(base, "old/docs/returns/a.md", "alpha")
    monkeypatch.chdir(base / "old")
    with VectorStore(path="indexes/docs.db", embedder=Words()) as store:
        store.add_documents("docs")
    monkeypatch.chdir(base)
    move(base / "old", base / "new")
    monkeypatch.chdir(base / "new")
    with VectorStore(path="indexes/docs.db", embedder=Words()) as store:
        assert counts(store.add_documents("docs/returns")) == (0, 0, 1, 0, 0)
        assert contents(store) == {"docs/returns/a.md#1": "alpha"}
        assert metadata(store, "section") == {"alpha": "returns"}


def test_files_that_move_without_their_store_keep_their_names(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(base, "old/docs/a.md", "alpha")
    monkeypatch.chdir(base / "old")
    with VectorStore(path=base / "docs.db", embedder=Words()) as store:
        store.add_documents("docs")
        shutil.move(base / "old", base / "new")
        monkeypatch.chdir(base / "new")
        assert counts(store.add_documents("docs")) == (0, 0, 1, 0, 0)
        (base / "new/docs/a.md").unlink()
        assert counts(store.add_documents("docs")) == (0, 0, 0, 1, 0)


def test_a_store_of_before_takes_its_documents_for_its_own(base: Path) -> None:
    make(base, "docs/returns/a.md", "alpha")
    with VectorStore(embedder=Words()) as new, VectorStore(embedder=Words()) as old:
        new.add_documents("docs")
        for entry in new:  # without records, as written by an older version
            old.add(entry.id, entry.embedding, entry.metadata, entry.content)
        assert counts(old.add_documents("docs/returns")) == (0, 0, 1, 0, 0)
        assert metadata(old, "section") == {"alpha": "returns"}


# No work


class Work:
    """Counts the files that are read and cut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[str] = []
        self.cut: list[str] = []
        pieces = document_reader.DocumentReader.pieces

        def counted_bytes(path: Path, source: str) -> bytes:
            self.read.append(path.name)
            return read_bytes(path, source)

        def counted_pieces(self_: Any, file: Any, data: bytes) -> Any:
            self.cut.append(file.path.name)
            return pieces(self_, file, data)

        monkeypatch.setattr(reindex, "read_bytes", counted_bytes)
        monkeypatch.setattr(document_reader.DocumentReader, "pieces", counted_pieces)

    def take(self) -> tuple[list[str], list[str]]:
        taken = self.read, self.cut
        self.read, self.cut = [], []
        return taken


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """All files are old to the clock."""
    monkeypatch.setattr(records, "SETTLED_NANOSECONDS", -1)


@pytest.fixture(params=["memory", "file", "reopened"])
def indexed(
    request: pytest.FixtureRequest, base: Path, work: Work, settled: None
) -> Iterator[VectorStore]:
    """A store with the documents of a folder."""
    make(base, "docs/shop/a.md", "# A\n\nOne.\n\n# B\n\nTwo.")
    make(base, "docs/b.csv", "text,n\nx,1\n")
    make(base, "docs/empty.txt", "")
    path = None if request.param == "memory" else base / "docs.db"
    with VectorStore(path=path, embedder=Words()) as store:
        store.add_documents("docs")
        assert work.take()[1] == ["b.csv", "empty.txt", "a.md"]
        if request.param != "reopened":
            yield store
            return
    with VectorStore(path=path, embedder=Words()) as store:
        yield store


def test_an_unchanged_folder_is_neither_read_nor_cut(indexed: VectorStore, work: Work) -> None:
    done = indexed.add_documents("docs")
    assert work.take() == ([], [])
    assert (counts(done), done.documents) == ((0, 0, 3, 0, 0), 3)
    assert done.problems == {"docs/empty.txt": "has no text"}


def test_only_the_changed_file_is_cut(base: Path, indexed: VectorStore, work: Work) -> None:
    make(base, "docs/shop/a.md", "# A\n\nOne.\n\n# B\n\nSix.")  # of the same length
    assert counts(indexed.add_documents("docs")) == (0, 1, 2, 0, 1)
    assert work.take() == (["a.md"], ["a.md"])
    assert "# B\n\nSix." in contents(indexed).values()


def test_a_change_that_keeps_size_and_time_is_found(
    base: Path, indexed: VectorStore, work: Work
) -> None:
    path = base / "docs/shop/a.md"
    before = path.stat()
    make(base, "docs/shop/a.md", "# A\n\nOne.\n\n# B\n\nSix.")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert counts(indexed.add_documents("docs")) == (0, 1, 2, 0, 1)


def test_a_file_that_was_only_touched_is_read_once_and_not_cut(
    base: Path, indexed: VectorStore, work: Work
) -> None:
    os.utime(base / "docs/shop/a.md", ns=(0, 10**18))
    assert counts(indexed.add_documents("docs")) == (0, 0, 3, 0, 0)
    assert work.take() == (["a.md"], [])
    indexed.add_documents("docs")
    assert work.take() == ([], [])


def test_a_file_that_was_changed_just_before_it_was_read_is_read_once_more(
    base: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(base, "a.txt", "One.")
    status, clock = path.stat(), iter([1, 1_999_999_999, 2_000_000_000, 2_000_000_001])
    monkeypatch.setattr(
        records, "time_ns", lambda: max(status.st_mtime_ns, status.st_ctime_ns) + next(clock)
    )
    with VectorStore(embedder=Words()) as store:
        for read_again in (True, True, True, False):
            store.add_documents(path)
            assert bool(work.take()[0]) == read_again


@pytest.mark.parametrize(
    "options",
    [{"size": 32}, {"overlap": 4}, {"text": ["n", "text"]}],
    ids=["size", "overlap", "columns"],
)
def test_other_settings_cut_again(
    indexed: VectorStore, work: Work, options: dict[str, Any]
) -> None:
    indexed.add_documents("docs", **options)
    assert work.take()[1] == ["b.csv", "empty.txt", "a.md"]
    indexed.add_documents("docs", **options)
    assert work.take() == ([], [])


def test_another_tokenizer_cuts_again(
    indexed: VectorStore, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Words, "count_tokens", lambda self, text: len(text))
    indexed.add_documents("docs")
    assert work.take()[1] == ["b.csv", "empty.txt", "a.md"]


def test_another_version_of_the_reader_cuts_again(
    indexed: VectorStore, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_reader, "_READER", document_reader._READER + 1)
    indexed.add_documents("docs")
    assert work.take()[1] == ["b.csv", "empty.txt", "a.md"]


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.delete("docs/shop/a.md#2"),
        lambda store: store.delete(where={"section": "shop"}),
        lambda store: store.update("docs/shop/a.md#1", content="Another text."),
        lambda store: store.update("docs/shop/a.md#1", metadata={"title": "Another"}),
    ],
    ids=["one is deleted", "all are deleted", "a text", "a title"],
)
def test_entries_that_were_changed_are_made_again(
    indexed: VectorStore, work: Work, change: Callable[[VectorStore], Any]
) -> None:
    before = {entry.id: (entry.content, entry.metadata) for entry in indexed}
    change(indexed)
    indexed.add_documents("docs")
    assert {entry.id: (entry.content, entry.metadata) for entry in indexed} == before
    assert work.take()[1] == ["a.md"]


def test_a_file_that_came_back_is_stored_again(base: Path, indexed: VectorStore) -> None:
    text = (base / "docs/shop/a.md").read_text()
    (base / "docs/shop/a.md").unlink()
    assert counts(indexed.add_documents("docs")) == (0, 0, 1, 2, 0)
    make(base, "docs/shop/a.md", text)
    assert counts(indexed.add_documents("docs"))[0] == 2


def test_an_interrupt_keeps_the_records_of_the_files_before(
    base: Path, work: Work, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindex, "BATCH_CHUNKS", 1)
    for name in "abc":
        make(base, f"docs/{name}.txt", name)
    embedder = Words()
    embedder.fail_after = 2
    with VectorStore(embedder=embedder) as store:
        with pytest.raises(KeyboardInterrupt):
            store.add_documents("docs")
        embedder.fail_after = None
        work.take()
        assert counts(store.add_documents("docs")) == (1, 0, 2, 0, 1)
        assert work.take()[1] == ["c.txt"]


def test_a_broken_text_is_reported_again(base: Path, work: Work, settled: None) -> None:
    make(base, "a.pdf", pdf("BT /F1 12 Tf 20 100 Td (text) Tj ET", IMAGE))
    with VectorStore(embedder=Words()) as store:
        first = store.add_documents("a.pdf").problems
        work.take()
        assert store.add_documents("a.pdf").problems == first != {}
        assert work.take() == ([], [])


@pytest.mark.parametrize("folder", ["", "copies"])
def test_a_copy_of_a_store_knows_its_documents(
    base: Path, indexed: VectorStore, work: Work, folder: str
) -> None:
    (base / "copies").mkdir()
    with VectorStore(path=indexed.save_to(base / folder / "copy.db"), embedder=Words()) as copy:
        assert counts(copy.add_documents(base / "docs")) == (0, 0, 3, 0, 0)
        assert bool(work.take()[1]) == (indexed.path is not None and folder != "")
        assert counts(copy.add_documents("docs")) == (0, 0, 3, 0, 0)
        assert work.take() == ([], [])


def test_a_store_does_not_say_where_it_was_made(base: Path, indexed: VectorStore) -> None:
    notes = indexed._opened().notes
    assert notes is not None
    said = str(notes.read_notes("document "))
    assert "docs/b.csv" in said
    assert (str(base) in said) == (indexed.path is None)  # a store in memory has no base folder


def test_a_snapshot_of_an_unchanged_folder_is_left_as_it_is(
    base: Path, indexed: VectorStore, work: Work
) -> None:
    with VectorStore(path=indexed.snapshot(base / "frozen"), embedder=Words()) as frozen:
        assert counts(frozen.add_documents("docs")) == (0, 0, 3, 0, 0)


def test_a_record_of_another_version_is_passed_over(base: Path, work: Work) -> None:
    make(base, "a.txt", "One.")
    with VectorStore(embedder=Words()) as store:
        notes = store._opened().notes
        assert notes is not None
        notes.write_notes("document ", {"x": "no JSON", "y": '{"source": "y"}', "z": "7"})
        assert counts(store.add_documents("a.txt")) == (1, 0, 0, 0, 1)
