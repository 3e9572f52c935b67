"""Assets: every file of an export has one place and one origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab import VectorStore
from conduit_lab.core.errors import ExportError
from conduit_lab.export.assets import OWN_FILES, Assets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in (
        "a.txt",
        "sub/b.txt",
        "sub/deep/c.txt",
        "sub/.hidden/d.txt",
        "sub/.e",
        "sub/__pycache__/f.pyc",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for name in ("x/a.txt", "y/a.txt", "z/sub/b.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def written(assets: Assets, folder: Path) -> dict[str, str]:
    assets.write(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_a_file_below_the_root_keeps_its_place(root: Path, tmp_path: Path) -> None:
    assets = Assets(root)
    assert assets.add(root / "sub/../a.txt", "x") == "a.txt"
    assert assets.add(root / "sub/b.txt", "x") == "sub/b.txt"
    assert written(assets, tmp_path / "out") == {"a.txt": "a.txt", "sub/b.txt": "sub/b.txt"}


def test_a_folder_is_copied_without_hidden_and_compiled_files(root: Path, tmp_path: Path) -> None:
    assets = Assets(root)
    assert assets.add(root / "sub", "x") == "sub"
    assert sorted(written(assets, tmp_path / "out")) == ["sub/b.txt", "sub/deep/c.txt"]


def test_files_of_one_name_from_outside_get_places_of_their_own(root: Path, tmp_path: Path) -> None:
    assets = Assets(root)
    places = [
        assets.add(tmp_path / name, "x") for name in ("x/a.txt", "y/a.txt", "x/a.txt", "z/sub")
    ]
    assert places == ["models/a.txt", "models/1/a.txt", "models/a.txt", "models/sub"]
    assert written(assets, tmp_path / "out") == {
        "models/a.txt": "x/a.txt",
        "models/1/a.txt": "y/a.txt",
        "models/sub/b.txt": "z/sub/b.txt",
    }


def test_nothing_is_written_before_write(root: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assets = Assets(root)
    assets.add(root / "sub", "x")
    assets.add_value("v", ".json", lambda path: path.write_text("1"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", OWN_FILES)
def test_the_exports_own_files_are_never_overwritten(root: Path, name: str) -> None:
    (root / name).write_text("mine")
    assets = Assets(root)
    assert assets.add(root / name, "x") == f"models/1/{name}"
    with pytest.raises(ExportError, match="rename it"):
        assets.add_named(root / name, "x")
    with pytest.raises(ExportError, match="rename the module"):
        assets.add_module(root / name)


def test_a_file_outside_the_root_cannot_keep_its_name(root: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "x/a.txt", root / "../x/a.txt"):
        with pytest.raises(ExportError, match=r"a.txt is outside the root .* \(needed by here\)"):
            Assets(root).add_named(path, "here")


def test_a_missing_file_is_named_with_its_chain(root: Path) -> None:
    with pytest.raises(ExportError) as caught:
        Assets(root).add(root / "none.txt", "GET /a → a")
    assert (
        str(caught.value) == f"{root / 'none.txt'} is missing (needed by GET /a → a): put it back"
    )


def test_a_named_file_and_a_value_never_share_a_place(root: Path, tmp_path: Path) -> None:
    (root / "data").mkdir()
    (root / "data/v.json").write_text("mine")
    assets = Assets(root)
    places = [assets.add_value("v", ".json", lambda path: path.write_text("1")) for _ in range(2)]
    assets.add_named(root / "data/v.json", "x")
    assert places == ["data/1/v.json", "data/2/v.json"]
    assert written(assets, tmp_path / "out")["data/v.json"] == "mine"


def test_a_file_that_appears_in_the_place_of_a_value_is_refused(root: Path) -> None:
    assets = Assets(root)
    assert assets.add_value("v", ".json", lambda path: None) == "data/v.json"
    (root / "data").mkdir()
    (root / "data/v.json").write_text("mine")
    with pytest.raises(ExportError, match=r"would both be data/v.json \(needed by x\): rename it"):
        assets.add_named(root / "data/v.json", "x")


def test_a_module_is_reported_once(root: Path, tmp_path: Path) -> None:
    assets = Assets(root)
    new = assets.add_module(root / "sub")
    assert [path.name for path in new] == ["b.txt", "c.txt"]
    assert assets.add_module(root / "sub") == []
    with pytest.raises(ExportError, match="both be sub: rename the module"):
        assets.add_module(tmp_path / "z/sub")


def test_one_store_may_be_added_twice_and_two_of_a_name_never(root: Path) -> None:
    assets = Assets(root)
    with VectorStore(2) as one, VectorStore(2) as two:
        assets.add_store(one, "notes")
        assets.add_store(one, "notes")
        assets.add_store(two, "others")
        with pytest.raises(ExportError, match=r"two stores would both be indexes/notes.sqlite"):
            assets.add_store(two, "notes")
