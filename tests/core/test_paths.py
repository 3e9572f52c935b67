from __future__ import annotations

import threading
from pathlib import Path

import pytest

from conduit_lab.core import paths


def test_root_is_the_nearest_folder_with_a_pyproject(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    assert paths.find_root(deep) == tmp_path.resolve()
    (tmp_path / "a" / "pyproject.toml").touch()
    assert paths.find_root(deep) == tmp_path.resolve() / "a"


def test_folder_named_pyproject_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").mkdir()
    deep = tmp_path / "deep"
    deep.mkdir()
    assert paths.find_root(deep) != tmp_path.resolve()


def test_root_without_a_pyproject_is_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    assert paths.find_root(tmp_path) == tmp_path.resolve()


def test_root_starts_at_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert paths.find_root() == paths.current_root() == tmp_path.resolve()


def test_use_root_nests_and_is_undone(tmp_path: Path) -> None:
    before = paths.current_root()
    with paths.use_root(tmp_path):
        with paths.use_root(tmp_path / "inner"):
            assert paths.current_root() == tmp_path / "inner"
        assert paths.current_root() == tmp_path
    assert paths.current_root() == before


def test_use_root_is_undone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), paths.use_root(tmp_path):
        _ = 1 / 0
    assert paths.current_root() != tmp_path


def test_use_root_is_not_seen_by_other_threads(tmp_path: Path) -> None:
    seen: list[Path] = []
    with paths.use_root(tmp_path):
        thread = threading.Thread(target=lambda: seen.append(paths.current_root()))
        thread.start()
        thread.join(20)
    assert seen != [tmp_path]


def test_relative_paths_start_at_the_root(tmp_path: Path) -> None:
    with paths.use_root(tmp_path):
        assert paths.resolve("data/x.npz") == tmp_path / "data/x.npz"
    assert paths.resolve("x.npz", tmp_path / "other") == tmp_path / "other" / "x.npz"


def test_absolute_paths_stay(tmp_path: Path) -> None:
    assert paths.resolve(tmp_path / "x", Path("/elsewhere")) == tmp_path / "x"


def test_tilde_is_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert paths.resolve("~/x") == tmp_path / "x"


def test_display_shortens_only_what_lies_in_the_root(tmp_path: Path) -> None:
    with paths.use_root(tmp_path / "project"):
        assert paths.display(tmp_path / "project" / "a" / "b.onnx") == "a/b.onnx"
        assert paths.display(tmp_path / "other.onnx") == str(tmp_path / "other.onnx")
