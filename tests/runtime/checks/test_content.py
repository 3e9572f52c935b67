"""A digest is that of the bytes; it is remembered only while the file's stat proves them unchanged."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.runtime.checks import content


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    return path


def digest_of(content: bytes) -> str:
    """Return the digest of one file that holds `content`."""
    return hashlib.sha256(hashlib.sha256(content).digest()).hexdigest()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were hashed, in order."""
    names: list[str] = []
    real = hashlib.file_digest

    def counting(file: object, name: str) -> object:
        names.append(Path(file.name).name)  # type: ignore[attr-defined]
        return real(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", counting)
    return names


def test_digest_is_the_content_wherever_it_lies(file: Path) -> None:
    copy = Path(shutil.copy(file, file.with_name("copy")))
    assert content.digest((file,)) == content.digest((copy,)) == digest_of(b"one")
    copy.write_bytes(b"two")
    assert content.digest((copy,)) == digest_of(b"two")
    assert content.digest((file, copy)) != content.digest((copy, file))


def test_a_file_that_lies_still_is_hashed_once(
    file: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SETTLED_NS", -(10**10))  # as if two seconds had passed
    assert content.digest((file,)) == content.digest((file,))
    assert hashed == ["file"]


def test_a_file_that_changed_just_now_is_hashed_again(file: Path, hashed: list[str]) -> None:
    content.digest((file,))
    content.digest((file,))
    assert hashed == ["file", "file"]


def test_each_of_many_quick_writes_is_seen(file: Path) -> None:
    for number in range(200):
        file.write_bytes(b"%03d" % number)
        assert content.digest((file,)) == digest_of(b"%03d" % number)


@pytest.mark.parametrize("replaced", [True, False])
def test_a_change_that_keeps_size_and_time_is_seen(
    file: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    monkeypatch.setattr(content, "SETTLED_NS", -(10**10))
    os.utime(file, ns=(0, 0))
    before = content.digest((file,))
    other = file.with_name("other") if replaced else file
    other.write_bytes(b"two")
    os.utime(other, ns=(0, 0))
    other.replace(file)
    assert content.digest((file,)) != before


def test_a_time_in_the_future_is_not_trusted(file: Path, hashed: list[str]) -> None:
    os.utime(file, ns=(2**62, 2**62))
    content.digest((file,))
    content.digest((file,))
    assert len(hashed) == 2


def test_a_file_that_never_lies_still_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hashlib.file_digest

    def while_another_writes(opened: object, name: str) -> object:
        file.write_bytes(file.read_bytes() + b"more")
        return real(opened, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", while_another_writes)
    with pytest.raises(ModelLoadError, match="file changes while it is read: load it again"):
        content.digest((file,))


def test_a_link_is_what_it_leads_to_now(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"two")
    link = file.with_name("link")
    link.symlink_to(file)
    assert content.digest((link,)) == digest_of(b"one")
    link.unlink()
    link.symlink_to(other)
    assert content.digest((link,)) == digest_of(b"two")
