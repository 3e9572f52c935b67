"""Folders that are complete or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab.export.target import preserved_folder, replaced_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep/out"
    with replaced_folder(target) as made:
        (made / "a.txt").write_text("new")
        assert not target.exists()
    assert names(target) == ["a.txt"]
    assert names(target.parent) == ["out"]


def test_an_older_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with replaced_folder(target) as made:
        (made / "a.txt").write_text("new")
        assert names(target) == ["old.txt"]
    assert names(target) == ["a.txt"]
    assert names(tmp_path) == ["out"]


def test_a_failure_leaves_the_older_folder(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(ValueError, match="no"), replaced_folder(target) as made:
        (made / "a.txt").write_text("new")
        raise ValueError("no")
    assert names(target) == ["old.txt"]
    assert names(tmp_path) == ["out"]


def test_a_failed_move_brings_the_older_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old.txt").write_text("old")
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.name == "new":
            raise OSError("in use")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="in use"), replaced_folder(target):
        pass
    assert names(target) == ["old.txt"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_used_folder_is_put_back(tmp_path: Path, fails: bool) -> None:
    folder = tmp_path / "indexes"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a.txt").write_text("before")
    try:
        with preserved_folder(folder):
            (folder / "sub/a.txt").write_text("after")
            (folder / "b.txt").write_text("more")
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert names(folder) == ["sub"]
    assert (folder / "sub/a.txt").read_text() == "before"
    assert names(tmp_path) == ["indexes"]


def test_an_absent_folder_is_nothing_to_preserve(tmp_path: Path) -> None:
    with preserved_folder(tmp_path / "indexes"):
        pass
    assert names(tmp_path) == []
