"""The nearest known name, and the nearest file in a bounded search."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core import nearest as search
from conduit_lab.core.nearest import did_you_mean, nearest, nearest_file


def anything(path: Path) -> bool:
    return True


@pytest.mark.parametrize(
    ("name", "expected"),
    [("max_token", "max_tokens"), ("MAX_TOKENS", "max_tokens"), ("Tpo_p", "top_p"), ("zzz", None)],
)
def test_the_nearest_name_is_found_in_any_case(name: str, expected: str | None) -> None:
    assert nearest(name, ["seed", "max_tokens", "top_p"]) == expected


@given(st.lists(st.text(min_size=1), min_size=1))
def test_a_name_is_its_own_nearest(names: list[str]) -> None:
    assert nearest(names[0], names).lower() == names[0].lower()  # type: ignore[union-attr]


def test_the_sentence_is_empty_without_a_near_name() -> None:
    assert did_you_mean("topik", ["topic", "mood"]) == ". Did you mean 'topic'?"
    assert did_you_mean("topik", []) == ""


def test_a_file_of_the_same_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a/topic.onnx").touch()
    (tmp_path / "b/topik.onnx").touch()
    found = nearest_file(tmp_path / "a/topik.onnx", tmp_path, anything)
    assert found == tmp_path / "a/topic.onnx"


def test_a_file_of_the_same_name_is_found_elsewhere_under_the_root(tmp_path: Path) -> None:
    (tmp_path / "data/models").mkdir(parents=True)
    (tmp_path / "data/models/topic.onnx").touch()
    found = nearest_file(tmp_path / "gone/Topic.onnx", tmp_path, anything)
    assert found == tmp_path / "data/models/topic.onnx"
    assert nearest_file(tmp_path / "gone/other.onnx", tmp_path, anything) is None
    assert nearest_file(tmp_path / "gone/topic.onnx", tmp_path, Path.is_dir) is None


def test_hidden_folders_and_linked_ones_are_not_searched(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/topic.onnx").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert nearest_file(tmp_path / "gone/topic.onnx", tmp_path, anything) is None


def test_the_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_MAX_SEARCHED", 3)
    for folder in "abc":
        (tmp_path / folder).mkdir()
    (tmp_path / "c/topic.onnx").touch()
    assert nearest_file(tmp_path / "gone/topic.onnx", tmp_path, anything) is None
