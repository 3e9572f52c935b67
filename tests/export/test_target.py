"""Folders that are complete or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.target import replaced_folder


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


def test_one_export_at_a_time_makes_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with replaced_folder(target) as made:
        (made / "a").write_text("first")
        with (
            pytest.raises(ExportError, match=r"another export to .*out is running: wait"),
            replaced_folder(target),
        ):
            pass
        with replaced_folder(tmp_path / "other"):  # which does not wait
            pass
    assert (target / "a").read_text() == "first"
    with replaced_folder(target) as made:
        (made / "b").write_text("second")
    assert [path.name for path in target.iterdir()] == ["b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]
