"""Hashes in the requirements of an exported folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export import lock as locking
from conduit_lab.export.lock import lock_folder

HASH = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"
PINS = "# pinned\n./lib/own.whl\nmy-package==1.0\nother==2; sys_platform != 'win32'\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "own.whl").write_bytes(b"wheel")
    (tmp_path / "requirements.txt").write_text(PINS, "utf-8")
    return tmp_path


def answer(monkeypatch: pytest.MonkeyPatch, uv: bool, text: str) -> None:
    """Let the package tool print a text."""
    monkeypatch.setattr("shutil.which", lambda _: "/bin/uv" if uv else None)
    monkeypatch.setattr(locking, "_output", lambda _: text)


def pip_report(**hashes: str) -> str:
    entries = [
        {
            "metadata": {"name": name},
            "download_info": {"archive_info": {"hashes": {"sha256": value.partition(":")[2]}}},
        }
        for name, value in hashes.items()
    ]
    return json.dumps({"install": entries})


@pytest.mark.parametrize("uv", [True, False])
def test_each_line_gets_its_hashes_once(
    uv: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_uv = f"my-package==1.0 \\\n    --hash={HASH}\nother==2 \\\n    --hash={OTHER}\n"
    answer(monkeypatch, uv, by_uv if uv else pip_report(my_package=HASH, other=OTHER))
    assert ("every platform" in lock_folder(folder)) is uv
    text = (folder / "requirements.txt").read_text("utf-8")
    own = hashlib.sha256(b"wheel").hexdigest()
    assert text == (
        f"# pinned\n./lib/own.whl --hash=sha256:{own}\nmy-package==1.0 \\\n    --hash={HASH}\n"
        f"other==2; sys_platform != 'win32' \\\n    --hash={OTHER}\n"
    )
    lock_folder(folder)
    assert (folder / "requirements.txt").read_text("utf-8") == text


def test_a_package_for_other_platforms_gets_no_hash_by_pip(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = PINS + "colorama==0.4.6; sys_platform == 'win32'\n"
    (folder / "requirements.txt").write_text(pins, "utf-8")
    answer(monkeypatch, False, pip_report(my_package=HASH, other=OTHER))
    assert lock_folder(folder).endswith(
        "2 packages with their hashes for this platform only; install uv for all platforms; "
        "no hashes for colorama (other platforms only)"
    )
    text = (folder / "requirements.txt").read_text("utf-8")
    assert text.endswith(f"--hash={OTHER}\ncolorama==0.4.6; sys_platform == 'win32'\n")


def test_a_package_without_a_hash_leaves_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, False, pip_report(other=OTHER))
    with pytest.raises(ExportError, match=r"no hash of my-package==1\.0"):
        lock_folder(folder)
    assert (folder / "requirements.txt").read_text("utf-8") == PINS


def test_the_manifest_has_the_new_digest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "manifest.json").write_text('{"sha256": {"requirements.txt": "old"}}', "utf-8")
    answer(monkeypatch, False, pip_report(my_package=HASH, other=OTHER))
    lock_folder(folder)
    digest = hashlib.sha256((folder / "requirements.txt").read_bytes()).hexdigest()
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["sha256"]["requirements.txt"] == digest


def test_a_folder_that_is_no_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="lock a folder that an export wrote"):
        lock_folder(tmp_path)
