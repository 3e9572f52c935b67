"""Atomic files: whole or absent, whatever happens in between."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from conduit_lab.core.files import atomic_file, atomic_new_file, synced, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_content_replaces_an_older_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_atomic(target, "old")
    write_atomic(target, b"n\xc3\xa9w")
    assert target.read_text("utf-8") == "néw"
    assert names(tmp_path) == ["a.json"]


def test_a_failed_write_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(target) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_a_new_file_never_replaces_one_that_came_meanwhile(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    with pytest.raises(FileExistsError), atomic_new_file(target) as draft:
        draft.write_text("ours")
        target.write_text("theirs")
    assert target.read_text() == "theirs"
    assert names(tmp_path) == ["a.json"]


def test_without_hard_links_a_new_file_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    target = tmp_path / "a.json"
    with atomic_new_file(target) as draft:
        draft.write_text("ours")
    assert target.read_text() == "ours"
    with pytest.raises(FileExistsError), atomic_new_file(target) as draft:
        draft.write_text("again")
    assert target.read_text() == "ours"
    assert names(tmp_path) == ["a.json"]


def test_a_synced_file_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("there")
    with pytest.raises(FileExistsError), synced(tmp_path / "a"):
        pass


def write_new(path: Path, content: str) -> None:
    with atomic_new_file(path) as draft, synced(draft) as file:
        file.write(content.encode())


@pytest.mark.skipif(os.name != "posix", reason="Windows has no sync of a folder")
@pytest.mark.parametrize("write", [write_atomic, write_new])
def test_the_content_is_synced_before_its_move_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, str], None]
) -> None:
    target = tmp_path / "a.json"
    steps: list[tuple[str, bool]] = []

    def record_sync(handle: int) -> None:
        status = os.fstat(handle)
        kind = "folder" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes"
        steps.append((kind, target.exists()))

    monkeypatch.setattr("os.fsync", record_sync)
    write(target, "new")
    assert steps == [("3 bytes", False), ("folder", True)]
