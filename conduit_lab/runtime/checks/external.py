"""External data: tensors that an ONNX file keeps in other files, confined to the model's folder.

A downloaded model must not choose which files of the machine are read. onnxruntime refuses most
paths out of the folder, but reads hard links, so every file is checked here first.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.views import figures


class Part(NamedTuple):
    """One external tensor: its name and its bytes in a file; `length` is None where it is not given."""

    tensor: str
    location: str
    offset: int
    length: int | None


def parts(tensors: Iterable[Any]) -> tuple[Part, ...]:
    """Return the parts of the external tensors; `ValueError` for an offset that is no number."""
    return tuple(_part(tensor) for tensor in tensors if tensor.data_location == tensor.EXTERNAL)


def _part(tensor: Any) -> Part:
    said = {entry.key: entry.value for entry in tensor.external_data}
    length = int(said["length"]) if "length" in said else None
    return Part(tensor.name, said.get("location", ""), int(said.get("offset") or 0), length)


def check(path: Path, parts: Sequence[Part]) -> tuple[Path, ...]:
    """Return the files that hold the parts of the model at `path`, each once and sorted.

    Each must be a file of its own below the model's folder. Where the model is a link, as in the
    cache of Hugging Face, it may lie below the folder of the linked file instead. Raises
    `ModelLoadError` naming the tensor, the file and the next step.
    """
    homes = {path.parent.resolve(), path.resolve().parent}
    files = {}
    for part in parts:
        if part.location not in files:
            files[part.location] = _checked(path, part, homes)
        size = files[part.location].stat().st_size
        end = part.offset + (part.length or 0)
        if part.offset < 0 or (part.length or 0) < 0 or end > size:
            place = f"from {figures.count(part.offset)} to {figures.count(end)}"
            raise _refusal(
                path,
                part,
                f"has {figures.count(size)} bytes, none {place}: copy or download it again",
            )
    return tuple(files[location] for location in sorted(files))


def _checked(path: Path, part: Part, homes: set[Path]) -> Path:
    given = Path(part.location)
    if not part.location or given.is_absolute() or ".." in given.parts:
        raise _refusal(path, part, f"is not below the model's folder: {_AGAIN}")
    file = path.parent / given
    try:
        real = file.resolve()
        stat = real.stat() if real.is_file() else None
    except (ValueError, RuntimeError) as error:  # a NUL in it; links in a circle
        raise _refusal(path, part, f"is no path ({error}): {_AGAIN}") from error
    if not any(real.is_relative_to(home) for home in homes):
        raise _refusal(
            path,
            part,
            f"is a link to {real}, out of the model's folder: copy the file itself there",
        )
    if stat is None:
        raise _refusal(path, part, "is not there: copy it beside the model, under this name")
    if stat.st_nlink > 1:
        raise _refusal(
            path,
            part,
            "is a hard link, which may lead to any file: replace it by a copy (cp, then mv)",
        )
    return file


_AGAIN = "export the model with its data beside it"


def _refusal(path: Path, part: Part, why: str) -> ModelLoadError:
    return ModelLoadError(
        f"{display(path)} keeps the tensor {part.tensor!r} in {part.location!r}, which {why}"
    )


@contextmanager
def mapped(path: Path, parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    """Give the bytes of each file of the parts, by its location, as long as the block lasts."""
    with ExitStack() as stack:
        held: dict[str, Any] = {}
        for location in dict.fromkeys(part.location for part in parts):
            with (path.parent / location).open("rb") as file:
                empty = file.seek(0, 2) == 0  # which cannot be mapped
                held[location] = (
                    b""
                    if empty
                    else stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                )
        yield held


def load(path: Path, tensors: Iterable[Any]) -> None:
    """Read the external tensors of a checked model into its protobuf."""
    from onnx import helper

    outside = [tensor for tensor in tensors if tensor.data_location == tensor.EXTERNAL]
    with mapped(path, parts(outside)) as files:
        for tensor in outside:
            part = _part(tensor)
            size = part.length
            if size is None:
                size = (
                    math.prod(tensor.dims)
                    * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
                )
            tensor.raw_data = files[part.location][part.offset : part.offset + size]
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
