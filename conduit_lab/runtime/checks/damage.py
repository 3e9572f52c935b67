"""Damage: why a file is not an ONNX model, judged by its first bytes and field lengths."""

from __future__ import annotations

from conduit_lab.core.views import figures

# Magic bytes of files often saved under a model's name
_SIGNATURES = {
    b"version https://git-lfs": "is a Git LFS pointer, not the model itself: run `git lfs pull`",
    b"<": "is a web page, not an ONNX model: download the file itself",
    b"PK\x03\x04": "is a zip archive, not an ONNX model: unpack it, or name it .npz",
    b"\x93NUMPY": "is a NumPy array, not an ONNX model: save a network as .npz",
    b"\x1f\x8b": "is a gzip archive, not an ONNX model: unpack it",
    b"{": "is JSON, not an ONNX model: pass the file that holds the graph",
    b"GGUF": "is a GGUF file, not an ONNX model: export the model as ONNX",
    b"\x89HDF": "is an HDF5 file, not an ONNX model: export the model as ONNX",
}
_AGAIN = "copy or download it again"
_INVALID = f"is not a valid ONNX model: {_AGAIN}"
_IR_VERSION_TAG = b"\x08"  # of ModelProto's first field
_GRAPH_FIELD = 7  # of ModelProto
_MAX_FIELD = 26  # of ModelProto, with room for newer ones


def reason(content: bytes) -> str:
    """Return the defect of a file that does not parse as a model, and the next step."""
    for signature, words in _SIGNATURES.items():
        if content.startswith(signature):
            return words
    place = 0 if content[:1] == _IR_VERSION_TAG else len(content)
    while place < len(content):
        tag, place = _varint(content, place)
        field, kind = tag >> 3, tag & 7
        if not 1 <= field <= _MAX_FIELD or kind not in (0, 1, 2, 5):
            return _INVALID
        if kind == 0:
            _, place = _varint(content, place)
        else:
            size, place = _varint(content, place) if kind == 2 else (8 if kind == 1 else 4, place)
            if place + size > len(content):
                part = "its graph" if field == _GRAPH_FIELD else "it"
                end, length = figures.count(place + size), figures.count(len(content))
                return f"is cut short: {part} ends at byte {end}, the file at {length}; {_AGAIN}"
            place += size
    return _INVALID


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Return the protobuf varint at `place`, and its end."""
    value = shift = 0
    while place < len(content) and shift < 70:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return value, place
