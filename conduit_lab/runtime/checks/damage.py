"""Damage: why the bytes of a file are no ONNX model, from their first bytes and their lengths."""

from __future__ import annotations

from conduit_lab.core.views import figures

# First bytes of files that are often saved under the name of a model
_OTHERS = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the model itself: run `git lfs pull`",
    b"<": "is a web page, not an ONNX model: download the file itself",
    b"PK\x03\x04": "is a zip archive, not an ONNX model: unpack it, or name it .npz",
    b"\x93NUMPY": "is a NumPy array, not an ONNX model: save a network as .npz",
    b"\x1f\x8b": "is a gzip archive, not an ONNX model: unpack it",
    b"{": "is JSON, not an ONNX model: name the file with the graph in it",
    b"GGUF": "is a GGUF file, not an ONNX model: export the model as ONNX",
    b"\x89HDF": "is an HDF5 file, not an ONNX model: export the model as ONNX",
}
_AGAIN = "copy or download it again"
_NONE = f"is not a valid ONNX model: {_AGAIN}"
_FIRST = 0x08  # the tag of ModelProto's first field, its IR version
_GRAPH = 7  # the number of ModelProto's field `graph`
_MAX_FIELD = 26  # of ModelProto, with room for newer ones


def reason(content: bytes) -> str:
    """Return what is wrong with a file that does not read as a model, and the next step."""
    for beginning, words in _OTHERS.items():
        if content.startswith(beginning):
            return words
    place = 0 if content[0] == _FIRST else len(content)
    while place < len(content):
        tag, place = _number(content, place)
        field, kind = tag >> 3, tag & 7
        if not 1 <= field <= _MAX_FIELD or kind not in (0, 1, 2, 5):
            return _NONE
        if kind == 0:
            _, place = _number(content, place)
        else:
            size, place = _number(content, place) if kind == 2 else (8 if kind == 1 else 4, place)
            if place + size > len(content):
                what, ends = "its graph" if field == _GRAPH else "it", figures.count(place + size)
                return f"is cut short: {what} ends at byte {ends}, the file at {figures.count(len(content))}; {_AGAIN}"
            place += size
    return _NONE


def _number(content: bytes, place: int) -> tuple[int, int]:
    """Return protobuf's variable-length number at `place`, and where it ends."""
    value = shift = 0
    while place < len(content) and shift < 70:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return value, place
