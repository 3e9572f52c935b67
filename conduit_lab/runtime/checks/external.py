"""External data: tensors that an ONNX file stores in other files, confined to the model's folder.

A downloaded model must not decide which files on the machine are read. onnxruntime rejects most
paths outside the folder but follows hard links, so every file is checked here first.
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

_EXPORT_AGAIN = "export the model with its data beside it"


class Part(NamedTuple):
    """One external tensor: its name, file and byte range; `length` is None if not stated."""

    tensor: str
    location: str
    offset: int
    length: int | None


def parts(tensors: Iterable[Any]) -> tuple[Part, ...]:
    """Return the parts of the external tensors; raise `ValueError` for a malformed offset."""
    return tuple(_part(tensor) for tensor in tensors if tensor.data_location == tensor.EXTERNAL)


def _part(tensor: Any) -> Part:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    length = int(entries["length"]) if "length" in entries else None
    return Part(tensor.name, entries.get("location", ""), int(entries.get("offset") or 0), length)


def check_parts(path: Path, parts: Sequence[Part]) -> tuple[Path, ...]:
    """Return the files that hold the parts of the model at `path`, sorted, without duplicates.

    Each must be a regular file below the model's folder. If the model is a symbolic link, as in
    Hugging Face's cache, the file may be below the folder of the link's target instead. Raises
    `ModelLoadError` with the tensor, the file and the next step.
    """
    homes = {path.parent.resolve(), path.resolve().parent}
    files = {}
    for part in parts:
        if part.location not in files:
            files[part.location] = _confined(path, part, homes)
        size = files[part.location].stat().st_size
        end = part.offset + (part.length or 0)
        if part.offset < 0 or (part.length or 0) < 0 or end > size:
            span = f"from {figures.count(part.offset)} to {figures.count(end)}"
            reason = f"has {figures.plural(size, 'byte')}, not {span}: copy or download it again"
            raise _refusal(path, part, reason)
    return tuple(files[location] for location in sorted(files))


def _confined(path: Path, part: Part, homes: set[Path]) -> Path:
    """Return the file of a part; raise unless it is a regular file below one of `homes`."""
    given = Path(part.location)
    if not part.location or given.is_absolute() or ".." in given.parts:
        raise _refusal(path, part, f"is not below the model's folder: {_EXPORT_AGAIN}")
    file = path.parent / given
    try:
        real = file.resolve()
        stat = real.stat() if real.is_file() else None
    except (ValueError, RuntimeError) as error:  # a NUL byte; a cycle of links
        raise _refusal(path, part, f"is not a valid path ({error}): {_EXPORT_AGAIN}") from error
    if not any(real.is_relative_to(home) for home in homes):
        reason = f"is a link to {real}, outside the model's folder: copy the file itself there"
    elif stat is None:
        reason = "does not exist: copy it beside the model, under this name"
    elif stat.st_nlink > 1:
        reason = "is a hard link, possibly to a file elsewhere: replace it by a copy (cp, then mv)"
    else:
        return file
    raise _refusal(path, part, reason)


def _refusal(path: Path, part: Part, why: str) -> ModelLoadError:
    return ModelLoadError(
        f"{display(path)} stores the tensor {part.tensor!r} in {part.location!r}, which {why}"
    )


@contextmanager
def map_files(path: Path, parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    """Memory-map the file of each part for the duration of the block; yield bytes by location."""
    with ExitStack() as stack:
        maps: dict[str, Any] = {}
        for location in dict.fromkeys(part.location for part in parts):
            maps[location] = b""
            with (path.parent / location).open("rb") as file:
                if file.seek(0, 2):  # an empty file cannot be mapped
                    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                    maps[location] = stack.enter_context(mapping)
        yield maps


def load_tensors(path: Path, tensors: Iterable[Any]) -> None:
    """Read the external tensors of a checked model into its protobuf."""
    from onnx import helper

    outside = [tensor for tensor in tensors if tensor.data_location == tensor.EXTERNAL]
    with map_files(path, parts(outside)) as files:
        for tensor in outside:
            part = _part(tensor)
            size = part.length
            if size is None:
                dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
                size = math.prod(tensor.dims) * dtype.itemsize
            tensor.raw_data = files[part.location][part.offset : part.offset + size]
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
