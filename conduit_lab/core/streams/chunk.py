"""One chunk of a stream: as a person reads it, and as JSON carries it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from conduit_lab.core.streams.media import is_image, media
from conduit_lab.core.views import figures
from conduit_lab.core.weight import PLAIN
from conduit_lab.core.weight import weight as weight


def chunk_text(chunk: Any) -> str:
    """Return the running text of one chunk: its text if it has one, media by kind and size, else its repr."""
    if isinstance(chunk, str):
        return chunk
    if isinstance(chunk, dict) and isinstance(chunk.get("chunk"), str):
        return str(chunk["chunk"])
    if isinstance(text := getattr(chunk, "text", None), str):
        return text
    if isinstance(chunk, dict):
        return "{" + ", ".join(f"{key!r}: {_told(value)}" for key, value in chunk.items()) + "}\n"
    return f"{_told(chunk)}\n"


def _told(value: Any) -> str:
    """Return the repr of a value, or what an image or a file is; nothing is encoded for it."""
    if isinstance(value, np.ndarray) and is_image(value):
        return f"[image · {value.shape[1]} × {value.shape[0]}]"
    if isinstance(value, bytes) and (found := media(value)) is not None:
        return f"[{found.type} · {figures.size(len(value))}]"
    return repr(value)


def chunk_json(chunk: Any) -> Any:
    """Return `chunk` with everything in it that JSON has no form for replaced by a form that it
    has.

    Images, audio and other bytes become `{"type": media type, "base64": text}`, a DataFrame a list
    of its rows, a row (a Series, a named tuple) an object, a missing value null, a time its ISO
    8601 text. All else stays as it is.
    """
    if is_plain(chunk):
        return chunk
    kind = type(chunk)
    if kind is dict:
        return {key: chunk_json(value) for key, value in chunk.items()}
    if kind is list or kind is tuple:
        return [chunk_json(item) for item in chunk]
    if (found := media(chunk)) is not None:
        return {"type": found.type, "base64": found.base64}
    if is_frame(chunk):
        return [chunk_json(row) for row in rows(chunk)]
    if hasattr(chunk, "_asdict"):
        return {key: chunk_json(value) for key, value in chunk._asdict().items()}
    if hasattr(chunk, "to_dict") and hasattr(chunk, "index"):  # a Series
        return {str(key): chunk_json(value) for key, value in chunk.to_dict().items()}
    if hasattr(
        chunk, "isoformat"
    ):  # a datetime, or pandas' Timestamp, of which NaT alone is unlike itself
        return chunk.isoformat() if chunk == chunk else None
    if kind.__name__ == "NAType":
        return None
    return chunk


def is_plain(chunk: Any) -> bool:
    """Return whether `chunk` is text, a number, None or a `dict` of those."""
    kind = type(chunk)
    return kind in PLAIN or (kind is dict and PLAIN.issuperset(map(type, chunk.values())))


def is_frame(value: Any) -> bool:
    """Return whether `value` is a pandas DataFrame or one like it."""
    return hasattr(value, "itertuples") and hasattr(value, "columns")


def rows(frame: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a DataFrame, each as column names with their values; the index is left out."""
    names = [str(column) for column in frame.columns]
    for values in frame.itertuples(index=False, name=None):
        yield dict(zip(names, values, strict=True))


def joined(chunks: list[Any]) -> Any:
    """Return the whole text where every chunk is a `str`, else the list."""
    return (
        "".join(chunks)
        if chunks and all(isinstance(chunk, str) for chunk in chunks)
        else list(chunks)
    )
