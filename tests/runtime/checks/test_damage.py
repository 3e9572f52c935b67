"""A file that does not read as a model is named by what is wrong with it: cut short only where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.runtime.checks.graph import check
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
        check(model)


def test_a_file_cut_behind_its_graph_may_be_cut_short(model: Path) -> None:
    proto = graphs.load(model)
    del proto.opset_import[:]
    del proto.metadata_props[:]
    model.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelLoadError, match=r"Missing opset .*; it may be cut short"):
        Session(model)


def test_a_whole_file_with_a_broken_middle_is_not_cut_short(model: Path) -> None:
    content = bytearray(model.read_bytes())
    place = content.index(b"MatMul") - 1
    content[place] = 0x7F  # the length of the name: beyond its node
    model.write_bytes(bytes(content))
    with pytest.raises(ModelLoadError, match=r"m\.onnx is not a valid ONNX model") as caught:
        check(model)
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
def test_what_is_something_else_is_named(model: Path, content: bytes, words: str) -> None:
    model.write_bytes(content)
    with pytest.raises(ModelLoadError, match=rf"m\.onnx .*{words}") as caught:
        check(model)
    assert "cut short" not in str(caught.value)


def test_a_file_beyond_the_end_of_a_protobuf_is_refused_unread(model: Path) -> None:
    with model.open("r+b") as file:
        file.truncate(2**31)
    with pytest.raises(ModelLoadError, match=r"m\.onnx has 2\.00 GB, .* external data"):
        check(model)


def test_a_file_that_may_not_be_read_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ModelLoadError, match=r"m\.onnx cannot be read: Permission denied"):
        check(model)
