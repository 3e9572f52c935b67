"""A digest covers the bytes, and is cached only while the stat proves them unchanged."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
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
    """Record the names of hashed files, in order."""
    names: list[str] = []
    real = hashlib.file_digest

    def counting(file: object, name: str) -> object:
        names.append(Path(file.name).name)  # type: ignore[attr-defined]
        return real(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", counting)
    return names


def test_digest_depends_on_the_content_alone(file: Path) -> None:
    copy = Path(shutil.copy(file, file.with_name("copy")))
    assert content.files_digest((file,)) == content.files_digest((copy,)) == digest_of(b"one")
    copy.write_bytes(b"two")
    assert content.files_digest((copy,)) == digest_of(b"two")
    assert content.files_digest((file, copy)) != content.files_digest((copy, file))


def test_an_unchanged_file_is_hashed_once(
    file: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "stat_settled_ns", -(10**10))  # as if two seconds had passed
    assert content.files_digest((file,)) == content.files_digest((file,))
    assert hashed == ["file"]


def test_a_freshly_changed_file_is_hashed_again(file: Path, hashed: list[str]) -> None:
    content.files_digest((file,))
    content.files_digest((file,))
    assert hashed == ["file", "file"]


def test_each_of_many_quick_writes_changes_the_digest(file: Path) -> None:
    for number in range(200):
        file.write_bytes(b"%03d" % number)
        assert content.files_digest((file,)) == digest_of(b"%03d" % number)


@pytest.mark.parametrize("replaced", [True, False])
def test_a_change_with_the_same_size_and_mtime_changes_the_digest(
    file: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    monkeypatch.setattr(content, "stat_settled_ns", -(10**10))
    os.utime(file, ns=(0, 0))
    before = content.files_digest((file,))
    other = file.with_name("other") if replaced else file
    other.write_bytes(b"two")
    os.utime(other, ns=(0, 0))
    other.replace(file)
    assert content.files_digest((file,)) != before


def test_a_time_in_the_future_is_not_trusted(
    file: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(file, ns=(2**62, 2**62))
    later = time.time_ns() + 60 * 10**9  # the inode's ctime has settled
    monkeypatch.setattr(time, "time_ns", lambda: later)
    content.files_digest((file,))
    content.files_digest((file,))
    assert len(hashed) == 2


def test_a_file_that_keeps_changing_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = hashlib.file_digest

    def during_writes(opened: object, name: str) -> object:
        file.write_bytes(file.read_bytes() + b"more")
        return real(opened, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", during_writes)
    with pytest.raises(ModelLoadError, match="file changes during the read: load it again"):
        content.files_digest((file,))


def test_a_link_has_the_digest_of_its_current_target(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"two")
    link = file.with_name("link")
    link.symlink_to(file)
    assert content.files_digest((link,)) == digest_of(b"one")
    link.unlink()
    link.symlink_to(other)
    assert content.files_digest((link,)) == digest_of(b"two")


def test_a_fresh_file_with_an_old_mtime_is_hashed_again(file: Path, hashed: list[str]) -> None:
    os.utime(file, ns=(0, 0))
    content.files_digest((file,))
    content.files_digest((file,))
    assert len(hashed) == 2


def test_a_file_that_changes_once_during_the_read_is_read_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, writes = hashlib.file_digest, [b"new content"]

    def during_a_write(opened: object, name: str) -> object:
        value = real(opened, name)  # type: ignore[arg-type]
        if writes:
            file.write_bytes(writes.pop())
        return value

    monkeypatch.setattr(hashlib, "file_digest", during_a_write)
    assert content.files_digest((file,)) == digest_of(b"new content")


def test_a_cached_digest_holds_for_one_state_and_one_value(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "stat_settled_ns", -(10**10))
    state, value = content.identity(file), hashlib.sha256(b"one").digest()
    assert not content.is_cached(file, state, value)
    content.file_digest(file)
    assert content.is_cached(file, state, value)
    assert not content.is_cached(file, state, b"other")
    file.write_bytes(b"longer")
    assert not content.is_cached(file, state, value)


def test_the_oldest_digest_leaves_a_full_cache(
    tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "stat_settled_ns", -(10**10))
    monkeypatch.setattr(content, "_MAX_DIGESTS", 2)
    monkeypatch.setattr(content, "_known", {})
    for name in "abc":
        (tmp_path / name).write_text(name)
    for name in "abcbca":
        content.file_digest(tmp_path / name)
    assert hashed == [*"abca"]


def test_two_files_have_two_identities(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"one")
    assert content.identity(file)[0] != content.identity(other)[0]
