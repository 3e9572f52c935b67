"""Converting files to entries: the prompt of a passage, and a folder with other files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conduit_lab.core.errors import InputError
from conduit_lab.core.paths import use_root
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.documents import document, reindex
from conduit_lab.vectors.documents.sources import FoundSources, find_sources
from conduit_lab.vectors.store import VectorStore
from tests.vectors.documents.test_document import make
from tests.vectors.documents.test_reindex import Words, contents


@pytest.fixture(autouse=True)
def root(tmp_path: Path) -> Iterator[Path]:
    with use_root(tmp_path):
        yield tmp_path


class Asymmetric(Words):
    """An embedder with different prompts for queries and passages, like e5, nomic and gte."""

    max_length = 8
    document_prompt = "passage in other words: "

    def encode_query(self, texts: Sequence[str]) -> FloatArray:
        return self.encode([f"query: {text}" for text in texts])

    def encode_document(self, texts: Sequence[str]) -> FloatArray:
        return self.encode([self.document_prompt + text for text in texts])


def test_every_way_to_store_a_text_embeds_it_as_a_passage(root: Path) -> None:
    make(root, "a.txt", "One.")
    frame = pd.DataFrame({"text": ["One."]})
    wanted = Words().encode(["passage in other words: One."])[0]
    with VectorStore(embedder=Asymmetric()) as store:
        store.add_documents("a.txt")
        store.add_documents(frame, source="frame")
        store.add("added", content="One.")
        store.add("updated", np.ones(8), content="Two.")
        store.update("updated", content="One.")
        store.add_many(["many"], contents=["One."])
        store.add_texts(["One."], ids=["text"])
        store.add_many(pd.DataFrame({"id": ["table"], "content": ["One."]}))
        ids = {"a.txt#1", "frame#1", "added", "updated", "many", "text", "table"}
        assert {entry.id for entry in store if np.array_equal(entry.embedding, wanted)} == ids


def test_the_prompt_of_a_passage_takes_its_share_of_a_chunk(root: Path) -> None:
    make(root, "a.txt", " ".join(map(str, range(20))))
    with VectorStore(embedder=Asymmetric()) as store:
        store.add_documents("a.txt")
        lengths = [len((entry.content or "").split()) for entry in store]
    assert lengths == [4, 4, 4, 4, 4]  # in addition to the four words of the prompt


@pytest.mark.parametrize("size", [1, 4])
def test_a_chunk_without_room_beside_the_prompt_is_refused(root: Path, size: int) -> None:
    make(root, "a.txt", "One.")
    with (
        VectorStore(embedder=Asymmetric()) as store,
        pytest.raises(
            InputError, match=rf"chunks of {size} tokens? have no room .* adds 4 of its own to each"
        ),
    ):
        store.add_documents("a.txt", size=size)


def test_files_that_are_none_are_reported_and_the_others_stored(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(root, "docs/good.md", "# Good\n\nText.")
    make(root, "docs/good.html", "<![foo[ <p>Text.")
    bad: dict[str, bytes] = {
        "binary.txt": bytes(range(1, 256)),
        "nul.md": b"a\0b",
        "mixed.txt": "é".encode() + "é".encode("latin-1"),
        "empty.txt": b"",
        "spaces.md": b" \n\n",
        "broken.pdf": b"%PDF-1.7\n1 0 obj\n<<",
        "no_text.csv": b"a,b\n1,2\n",
        "ragged.csv": b"text,b\n1\n",
        "cut.csv": b'text\n"open',
        "empty.csv": b"",
        "unknown.html": b"<meta charset=klingon>",
        "hidden.html": b"<template>x</template>",
        "locked.txt": b"x",
        "gone.txt": b"x",
    }
    for name, data in bad.items():
        make(root, f"docs/{name}", data)
    with (root / "docs/huge.txt").open("wb") as file:
        file.truncate(document.MAX_DOCUMENT_BYTES + 1)
    for name in ("image.png", "notebook.ipynb", "data.json", "page.rst"):
        make(root, f"docs/{name}", b"x")
    (root / "docs/folder.md").mkdir()
    os.mkfifo(root / "docs/pipe.txt")
    with open(os.fsencode(root) + b"/docs/\xff.txt", "wb") as file:  # noqa: PTH123 - a path of bytes
        file.write(b"x")
    read_bytes = Path.read_bytes

    def denied(path: Path) -> bytes:
        if path.name == "locked.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", denied)
    monkeypatch.setattr(
        reindex, "find_sources", lambda given: _then_remove(given, root / "docs/gone.txt")
    )
    with VectorStore(embedder=Words()) as store:
        done = store.add_documents("docs")
        assert contents(store) == {"docs/good.html#1": "Text.", "docs/good.md#1": "# Good\n\nText."}
    problems = {name.removeprefix("docs/"): problem for name, problem in done.problems.items()}
    assert problems.keys() == {*bad, "huge.txt", "\\udcff.txt"}
    assert problems["locked.txt"] == "cannot be read: Permission denied"
    assert problems["gone.txt"] == "cannot be read: No such file or directory"
    assert done.passed_over == {".png": 1, ".ipynb": 1, ".json": 1, ".rst": 1}
    assert repr(done).encode().decode() == repr(done)


def test_a_folder_that_cannot_be_read_does_not_look_empty(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(root, "docs/a/b.txt", "One.")
    make(root, "docs/c.txt", "Two.")
    make(root, "docs/d.txt", "Three.")
    scandir = os.scandir

    def locked(path: str) -> Any:
        if os.fspath(path).endswith("a"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    with VectorStore(embedder=Words()) as store:
        store.add_documents("docs")
        make(root, "docs/d.txt", "Four.")
        (root / "docs/c.txt").unlink()
        monkeypatch.setattr(os, "scandir", locked)
        with pytest.raises(
            InputError, match=r"the folder docs/a cannot be read: Permission denied"
        ):
            store.add_documents("docs")
        assert contents(store) == {"docs/a/b.txt#1": "One.", "docs/d.txt#1": "Four."}


def _then_remove(given: object, path: Path) -> FoundSources:
    sources = find_sources(given)
    path.unlink()
    return sources
