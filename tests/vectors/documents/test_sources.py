"""FoundSources: which links in a folder are followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab.core.paths import use_root
from conduit_lab.vectors.documents.sources import find_sources
from conduit_lab.vectors.store import VectorStore
from tests.vectors.documents.test_document import make
from tests.vectors.documents.test_reindex import Words


def names(given: object, root: Path) -> list[str]:
    with use_root(root):
        return [file.name for file in find_sources(given).files]


def problems(given: object, root: Path) -> dict[str, str]:
    with use_root(root):
        return {
            name: problem.split(",")[0].split(":")[0]
            for name, problem in find_sources(given).problems.items()
        }


OUT = "is a link out of docs"


@pytest.mark.parametrize(
    ("link", "target", "problem"),
    [
        ("docs/b.md", "../secret/key.md", OUT),
        ("docs/b.txt", "/etc/passwd", OUT),
        (
            "docs/b.md",
            "../docs2/c.md",
            OUT,
        ),  # shares a name prefix only
        ("docs/b.md", "chain.md", OUT),
        ("docs/deep/b.md", "../../secret/key.md", OUT),
        ("docs/b.md", "../docs/../secret/key.md", OUT),
        ("docs/b.md", "out/key.md", OUT),  # through a folder that is a link
        ("docs/b.md", "../nowhere.md", OUT),
        ("docs/more", "../secret", OUT),
        ("docs/more", "/", OUT),
        ("docs/b.md", ".hidden/key.md", "is a link to a hidden file"),
        ("docs/b.txt", ".env", "is a link to a hidden file"),
        ("docs/b.md", "b.md", "is a broken link"),
        ("docs/b.md", "gone.md", "is a broken link"),
    ],
)
def test_a_link_that_leaves_its_folder_is_a_problem(
    tmp_path: Path, link: str, target: str, problem: str
) -> None:
    make(tmp_path, "docs/a.md", "hello")
    make(tmp_path, "docs/.hidden/key.md", "secret")
    make(tmp_path, "docs/.env", "secret")
    make(tmp_path, "docs2/c.md", "secret")
    make(tmp_path, "secret/key.md", "secret")
    make(tmp_path, "docs/deep/c.txt", "deep")
    (tmp_path / "docs/chain.md").symlink_to("../secret/key.md")
    (tmp_path / "docs/out").symlink_to("../secret")
    (tmp_path / link).symlink_to(target)
    found = problems("docs", tmp_path)
    assert found[link] == problem
    assert found.keys() == {link, "docs/chain.md", "docs/out"}
    assert names("docs", tmp_path) == ["docs/a.md", "docs/deep/c.txt"]
    with use_root(tmp_path), VectorStore(embedder=Words()) as store:
        assert store.add_documents("docs").problems.keys() == found.keys()
        assert {entry.content for entry in store} == {"hello", "deep"}


def test_a_link_to_another_document_of_the_folder_is_no_second_one(tmp_path: Path) -> None:
    make(tmp_path, "docs/a.md", "hello")
    make(tmp_path, "docs/z/c.md", "deep")
    (tmp_path / "docs/b.md").symlink_to("a.md")
    (tmp_path / "docs/d.md").symlink_to("b.md")
    (tmp_path / "docs/again").symlink_to("z")
    (tmp_path / "docs/z/round").symlink_to("..")
    assert names("docs", tmp_path) == ["docs/a.md", "docs/z/c.md"]
    assert problems("docs", tmp_path) == {}


def test_a_link_to_a_file_of_the_folder_that_is_no_document_by_its_name_is_one(
    tmp_path: Path,
) -> None:
    make(tmp_path, "docs/blobs/3f2a", "hello")
    (tmp_path / "docs/a.md").symlink_to("blobs/3f2a")
    (tmp_path / "docs/b.md").symlink_to("blobs/3f2a")
    with use_root(tmp_path), VectorStore(embedder=Words()) as store:
        store.add_documents("docs")
        assert {entry.id: entry.content for entry in store} == {"docs/a.md#1": "hello"}
        (tmp_path / "docs/a.md").unlink()
        (tmp_path / "docs/b.md").unlink()
        store.add_documents("docs")
        assert len(store) == 0


def test_a_link_between_two_given_folders_is_followed(tmp_path: Path) -> None:
    make(tmp_path, "one/a.md", "hello")
    make(tmp_path, "two/c.md", "there")
    (tmp_path / "one/b.md").symlink_to("../two/c.md")
    assert names(["one", "two"], tmp_path) == ["one/a.md", "two/c.md"]
    assert problems(["one", "two"], tmp_path) == {}
    assert problems("one", tmp_path) == {"one/b.md": "is a link out of one"}


@pytest.mark.parametrize("given", ["link.md", "folder"])
def test_a_link_that_is_given_is_followed(tmp_path: Path, given: str) -> None:
    make(tmp_path, "elsewhere/c.md", "there")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link.md").symlink_to("../elsewhere/c.md")
    (tmp_path / "root/folder").symlink_to("../elsewhere")
    assert names(given, tmp_path / "root") == ["link.md" if given == "link.md" else "folder/c.md"]
    assert names([given, tmp_path / "elsewhere"], tmp_path / "root") == names(
        given, tmp_path / "root"
    )


def test_what_a_link_had_brought_is_removed(tmp_path: Path) -> None:
    make(tmp_path, "secret.md", "secret")
    make(tmp_path, "docs/b.md", "secret")
    with use_root(tmp_path), VectorStore(embedder=Words()) as store:
        store.add_documents("docs")
        (tmp_path / "docs/b.md").unlink()
        (tmp_path / "docs/b.md").symlink_to("../secret.md")
        assert store.add_documents("docs").removed == 1
        assert len(store) == 0
