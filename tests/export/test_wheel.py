"""The wheel of the package that an export holds, and the files that a proof unpacks from it."""

from __future__ import annotations

import py_compile
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

from conduit_lab.export import wheel as wheels
from conduit_lab.export.wheel import unpack_wheel, write_wheel


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of three modules that stands for this one."""
    place = tmp_path / "site" / "conduit_lab"
    place.mkdir(parents=True)
    for name in ("__init__", "kept", "changed"):
        (place / f"{name}.py").write_text(f"NAME = {name!r}\n", "utf-8")
    monkeypatch.setattr(wheels, "_PACKAGE", place)
    return place


def test_a_wheel_has_the_files_as_they_are_now(package: Path, tmp_path: Path) -> None:
    first = write_wheel(tmp_path / "lib").read_bytes()
    assert write_wheel(tmp_path / "lib").read_bytes() == first
    (package / "kept.py").write_text("NAME = 'another text'\n", "utf-8")
    (package / "new.css").write_text("a {}", "utf-8")
    with zipfile.ZipFile(write_wheel(tmp_path / "lib")) as archive:
        assert archive.read("conduit_lab/kept.py") == b"NAME = 'another text'\n"
        assert archive.read("conduit_lab/new.css") == b"a {}"


def test_modules_that_are_the_same_here_are_unpacked_compiled(
    package: Path, tmp_path: Path
) -> None:
    wheel, room = write_wheel(tmp_path / "lib"), tmp_path / "room"
    for name in ("kept", "changed"):
        py_compile.compile(str(package / f"{name}.py"), doraise=True)
    (package / "changed.py").write_text("NAME = 'other'\n", "utf-8")
    unpack_wheel(wheel, room)
    assert not (room / "conduit_lab").is_symlink()
    assert [path.name.partition(".")[0] for path in room.rglob("*.pyc")] == ["kept"]
    compiled = []

    def to_code(data: Any, path: str) -> Any:
        compiled.append(Path(path).stem)
        return compile(data, path, "exec")

    for name in ("kept", "changed"):
        loader: Any = SourceFileLoader(name, str(room / "conduit_lab" / f"{name}.py"))
        loader.source_to_code = to_code
        code = loader.get_code(name)
        assert name in code.co_consts
        assert Path(code.co_filename).is_relative_to(room)
    assert compiled == ["changed"]


def test_a_wheel_made_from_the_files_as_they_are_links_to_them(
    package: Path, tmp_path: Path
) -> None:
    wheel, room = write_wheel(tmp_path / "lib"), tmp_path / "room"
    room.mkdir()
    unpack_wheel(wheel, room)
    assert (room / "conduit_lab").readlink() == package
    [information] = room.glob("conduit_lab-*.dist-info")
    assert sorted(path.name for path in information.iterdir()) == [
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
    ]


def test_another_wheel_of_the_same_name_is_unpacked(package: Path, tmp_path: Path) -> None:
    wheel, room = write_wheel(tmp_path / "lib"), tmp_path / "room"
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("conduit_lab/added.py", "NAME = 'added'\n")
    unpack_wheel(wheel, room)
    assert (room / "conduit_lab" / "added.py").read_text("utf-8") == "NAME = 'added'\n"
    assert not (package / "added.py").exists()


def test_a_wheel_is_unpacked_where_no_link_can_be_made(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError("a required privilege is not held")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    wheel, room = write_wheel(tmp_path / "lib"), tmp_path / "room"
    unpack_wheel(wheel, room)
    assert (room / "conduit_lab" / "kept.py").read_bytes() == (package / "kept.py").read_bytes()
