"""Convert a chunk of a stream to text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from conduit_lab.core.streams.media import is_image, media
from conduit_lab.core.views import figures
from conduit_lab.core.weight import PLAIN


def chunk_text(chunk: Any) -> str:
    """Return the text of a chunk: its own text if it has one, or else its repr.

    For an image or a file, the repr shows the kind and size.
    """
    if isinstance(chunk, str):
        return chunk
    if isinstance(chunk, dict) and isinstance(chunk.get("chunk"), str):
        return str(chunk["chunk"])
    if isinstance(text := getattr(chunk, "text", None), str):
        return text
    if isinstance(chunk, dict):
        items = (f"{key!r}: {chunk_value(value)}" for key, value in chunk.items())
        return "{" + ", ".join(items) + "}\n"
    return f"{chunk_value(chunk)}\n"


def chunk_value(value: Any) -> str:
    """Return the repr of a value; for media, its kind and size, without encoding it."""
    if isinstance(value, np.ndarray) and is_image(value):
        return f"[image · {value.shape[1]} × {value.shape[0]}]"
    if isinstance(value, bytes) and (found := media(value)) is not None:
        return f"[{found.type} · {figures.size(len(value))}]"
    return repr(value)


def is_plain_chunk(chunk: Any) -> bool:
    """Return whether `chunk` is text, a number, None or a `dict` of those."""
    kind = type(chunk)
    return (
        kind in PLAIN
        or (kind is dict and PLAIN.issuperset(map(type, chunk.values())))
        or isinstance(chunk, str)
    )


def frame_rows(frame: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a DataFrame as `{column name: value}`, without the index."""
    names = [str(column) for column in frame.columns]
    for values in frame.itertuples(index=False, name=None):
        yield dict(zip(names, values, strict=True))


def join_chunks(chunks: list[Any]) -> Any:
    """Join chunks to one text if they are all `str`; otherwise return the list."""
    if chunks and all(isinstance(chunk, str) for chunk in chunks):
        return "".join(chunks)
    return list(chunks)
