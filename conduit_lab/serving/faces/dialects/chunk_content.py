"""ChunkContent: the content of a stream chunk for chat front ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from conduit_lab.core.streams.media import Media, media
from conduit_lab.serving.faces.server_sent_event import is_server_sent_event
from conduit_lab.vectors.found_card import heading_of


class SourceLink(NamedTuple):
    """A source of an answer; `url` is its page, or None if the app serves none."""

    id: str
    title: str
    url: str | None


class ChunkContent(NamedTuple):
    """The content of one chunk: text that continues the message, sources, a file, or data."""

    text: str = ""
    sources: Sequence[Mapping[str, Any]] = ()
    file: Media | None = None
    data: Any = None


def chunk_content(chunk: Any) -> ChunkContent:
    """Return the content of a chunk; any value but text, a file or sources is data."""
    if isinstance(chunk, str):
        return ChunkContent(str(chunk))
    if isinstance(chunk, dict):
        if isinstance(text := chunk.get("chunk"), str):
            sources = chunk.get("sources")
            return ChunkContent(text, sources if isinstance(sources, list) else ())
        return ChunkContent(data=chunk)
    if is_server_sent_event(chunk):
        return ChunkContent("" if chunk.data is None else str(chunk.data))
    if isinstance(text := getattr(chunk, "text", None), str):
        return ChunkContent(text)
    if (found := media(chunk)) is not None:
        return ChunkContent(file=found)
    return ChunkContent() if chunk is None else ChunkContent(data=chunk)


def source_links(
    sources: Sequence[Mapping[str, Any]], url_of: Callable[[Mapping[str, Any]], str] | None
) -> list[SourceLink]:
    """Return the links of sources, without URLs if `url_of` is None."""
    links = []
    for place, source in enumerate(sources):
        name = str(source.get("id", place))
        title = heading_of(source) or name
        url = None if url_of is None else url_of(source)
        links.append(SourceLink(name, title, url))
    return links
