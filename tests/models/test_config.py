"""The small files of a model's folder: a broken one is named in the error."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.models.config import MAX_CONFIG_BYTES, read_config, read_json, read_text


def test_an_absent_config_is_empty(tmp_path: Path) -> None:
    assert read_config(tmp_path / "config.json") == {}


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"vocab_size": 8}', "utf-8-sig")
    assert read_config(file) == {"vocab_size": 8}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xff", b"[" * 100_000])
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "modules.json"
    file.write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"modules\.json is not JSON"):
        read_json(file)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    with file.open("wb") as made:
        made.truncate(MAX_CONFIG_BYTES + 1)  # a sparse file: no bytes on disk
    for read in (read_config, read_json, read_text):
        with pytest.raises(
            ModelLoadError, match=r"config\.json has 16\.. MB: expected at most 16\.. MB"
        ):
            read(file)
