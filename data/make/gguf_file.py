"""GGUFFile: the fields and tensors of a GGUF file, the format of llama.cpp.

It reads what one file of SmolLM2 needs: version 3, and the tensor types F32, Q4_1 and Q8_0. The
format is described in llama.cpp's `ggml/docs/gguf.md`.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"GGUF"
VERSION = 3
BLOCK = 32  # weights per block of the quantized types
F32, Q4_1, Q8_0 = 0, 3, 8
ROW_BYTES = {F32: (1, 4), Q4_1: (BLOCK, 20), Q8_0: (BLOCK, 34)}  # values, bytes

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_NUMBERS[12] = "d"
_STRING, _LIST = 8, 9
_ALIGNMENT = "general.alignment"


class GGUFError(ValueError):
    """The bytes are not a GGUF file that this reader knows."""


@dataclass(frozen=True)
class Blocks:
    """A matrix in blocks of 32 weights along its rows: weight = scale · q + shift.

    `q` is uint8 [rows, blocks, 32] from 0 to 15 for Q4_1, and int8 for Q8_0, whose shift is 0.
    `scale` and `shift` are float32 [rows, blocks]; in the file they are float16.
    """

    scale: NDArray[np.float32]
    shift: NDArray[np.float32]
    q: NDArray[Any]

    def weights(self) -> NDArray[np.float32]:
        """Return the weights, float32 [rows, columns]."""
        values = self.scale[..., None] * self.q + self.shift[..., None]
        return np.asarray(values.reshape(len(values), -1), np.float32)


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]  # rows last, as in the file
    kind: int
    offset: int


class GGUFFile:
    """A GGUF file: `fields` by name, and tensors, read when they are asked for."""

    def __init__(self, data: bytes) -> None:
        reader = _Reader(data)
        magic, version = reader.take(4), reader.number("I")
        if magic != MAGIC or version != VERSION:
            raise GGUFError(f"expected GGUF version {VERSION}, got {magic!r} version {version}")
        tensors, fields = reader.number("Q"), reader.number("Q")
        self.fields: dict[str, Any] = {}
        for _ in range(fields):
            name = reader.string()
            self.fields[name] = reader.value(reader.number("I"))
        self._tensors: dict[str, _Tensor] = {}
        for _ in range(tensors):
            name, axes = reader.string(), reader.number("I")
            shape = tuple(reader.number("Q") for _ in range(axes))
            self._tensors[name] = _Tensor(shape, reader.number("I"), reader.number("Q"))
        alignment = self.fields.get(_ALIGNMENT, 32)
        self._start = -(-reader.place // alignment) * alignment
        self._data = data

    @classmethod
    def read(cls, path: Path) -> "GGUFFile":
        """Read a file."""
        return cls(path.read_bytes())

    @property
    def tensors(self) -> list[str]:
        """The names of the tensors, in the file's order."""
        return list(self._tensors)

    def vector(self, name: str) -> NDArray[np.float32]:
        """Return a float32 vector."""
        return self._bytes(name, F32).view("<f4").reshape(-1).astype(np.float32)

    def blocks(self, name: str) -> Blocks:
        """Return a quantized matrix."""
        tensor = self._tensor(name)
        if len(tensor.shape) != 2 or tensor.shape[0] % BLOCK:
            raise GGUFError(f"{name} expects rows of whole blocks of {BLOCK}, got {tensor.shape}")
        if tensor.kind == Q8_0:
            raw = self._bytes(name, Q8_0)
            scale = _halves(raw[..., :2])
            return Blocks(scale, np.zeros_like(scale), raw[..., 2:].view(np.int8))
        raw = self._bytes(name, Q4_1)
        # the low halves of the 16 bytes are the first 16 weights, the high halves the others
        q = np.concatenate([raw[..., 4:] & 15, raw[..., 4:] >> 4], axis=-1)
        return Blocks(_halves(raw[..., :2]), _halves(raw[..., 2:4]), q)

    def _tensor(self, name: str) -> _Tensor:
        if name not in self._tensors:
            raise GGUFError(f"no tensor {name}, only {', '.join(self.tensors[:5])} …")
        return self._tensors[name]

    def _bytes(self, name: str, kind: int) -> NDArray[np.uint8]:
        """Return a tensor's bytes, [rows, blocks, bytes per block]."""
        tensor = self._tensor(name)
        if tensor.kind != kind:
            raise GGUFError(f"{name} expects the tensor type {kind}, got {tensor.kind}")
        values, size = ROW_BYTES[kind]
        columns, rows = tensor.shape[0] // values, int(np.prod(tensor.shape[1:], dtype=int))
        start, count = self._start + tensor.offset, rows * columns * size
        if start + count > len(self._data):
            raise GGUFError(f"{name} ends behind the end of the file: download it again")
        flat = np.frombuffer(self._data, np.uint8, count, start)
        return flat.reshape(rows, columns, size)


class _Reader:
    """Little-endian values, one after another; `place` is the next byte."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def take(self, count: int) -> bytes:
        part = self._data[self.place : self.place + count]
        if len(part) != count:
            raise GGUFError(f"the file ends at byte {len(self._data)}: download it again")
        self.place += count
        return part

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self) -> str:
        return self.take(self.number("Q")).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _LIST:
            inner, count = self.number("I"), self.number("Q")
            return [self.value(inner) for _ in range(count)]
        if kind not in _NUMBERS:
            raise GGUFError(f"unknown type {kind} of a field at byte {self.place}")
        return self.number(_NUMBERS[kind])


def _halves(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return float16 numbers, stored as two bytes each on the last axis, as float32."""
    return np.ascontiguousarray(raw).view("<f2")[..., 0].astype(np.float32)
