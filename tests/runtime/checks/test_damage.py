"""A file that does not parse as a model is refused with its defect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.runtime.checks import damage
from conduit_lab.runtime.checks.graph import check_graph
from conduit_lab.runtime.sessions.session import Session
from tests.runtime import graphs


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return graphs.linear(tmp_path / "m.onnx", np.ones((3, 2)), {"made by": "a test"})


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_file_without_its_end_is_cut_short(model: Path, share: float) -> None:
    content = model.read_bytes()
    model.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        ModelLoadError, match=r"m\.onnx is cut short: .* ends at byte .*, the file at \d+; copy"
    ):
        check_graph(model)


def test_a_file_cut_after_its_graph_may_be_cut_short(model: Path) -> None:
    proto = graphs.load(model)
    del proto.opset_import[:]
    del proto.metadata_props[:]
    model.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelLoadError, match=r"Missing opset .*; it may be cut short"):
        Session(model)


def test_a_whole_file_with_a_broken_middle_is_not_cut_short(model: Path) -> None:
    content = bytearray(model.read_bytes())
    place = content.index(b"MatMul") - 1
    content[place] = 0x7F  # the length of the name exceeds its node
    model.write_bytes(bytes(content))
    with pytest.raises(ModelLoadError, match=r"m\.onnx is not a valid ONNX model") as caught:
        check_graph(model)
    assert "cut short" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"<html>", "web page"),
        (b"PK\x03\x04 and more", r"zip archive.*\.npz"),
        (b'{"error": "not found"}', "JSON"),
        (b"\x93NUMPY\x01\x00", "NumPy"),
        (b"GGUF\x03\x00", "GGUF"),
        (b"plain text", "is not a valid ONNX model"),
        (b"\x00\x01\x02", "is not a valid ONNX model"),
        (b"\xff" * 100, "is not a valid ONNX model"),
    ],
)
def test_another_file_format_is_named(model: Path, content: bytes, words: str) -> None:
    model.write_bytes(content)
    with pytest.raises(ModelLoadError, match=rf"m\.onnx .*{words}") as caught:
        check_graph(model)
    assert "cut short" not in str(caught.value)


def test_a_file_above_the_protobuf_limit_is_refused_unread(model: Path) -> None:
    with model.open("r+b") as file:
        file.truncate(2**31)
    with pytest.raises(
        ModelLoadError, match=r"m\.onnx has 2\.00 GB: expected at most 2 GB, .* external data"
    ):
        check_graph(model)


def test_an_unreadable_file_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ModelLoadError, match=r"m\.onnx cannot be read: Permission denied"):
        check_graph(model)


def test_a_number_has_at_most_ten_bytes() -> None:
    assert damage._varint(b"\xac\x02\x01", 0) == (300, 2)
    assert damage._varint(b"\x80" * 20, 3)[1] == 13
