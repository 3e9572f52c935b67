"""found_card: a stored text as a card, with its heading and the passage around the match."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from conduit_lab.core import views
from conduit_lab.core.quotation import matching_words, nearest_sentence, without_marks, word_stems
from conduit_lab.core.text import one_line
from conduit_lab.core.views import figures

SNIPPET_CHARACTERS = 320

_PLACES = ("title", "heading", "start", "end", "content")  # shown elsewhere on the card, or offsets
_MAX_FACTS = 6


def found_card(
    content: str | None,
    metadata: Mapping[str, Any],
    id: str,
    query: str | None = None,
    score: float | None = None,
    share: float | None = None,
    number: str = "",
    same: Collection[str] = (),
    whole: str = "hit.metadata",
) -> views.Card:
    """Return the card of an entry: title › heading, or its id; a snippet; the other metadata.

    The snippet starts at the sentence that shares most word stems with `query`, or at the start of
    the text; the query's words are marked in it. Metadata under the keys `same` is omitted.
    """
    title = heading_of(metadata) or id
    snippet = _snippet(_body(content or "", title), query)
    left = {key: value for key, value in metadata.items() if key not in same}
    facts = metadata_facts(left, whole)
    return views.Card(
        one_line(title, 160),
        (score or 0.0) if share is None else share,
        "" if score is None else f"{score:.3f}",
        [snippet] if snippet.text else [views.Line("no text", "quiet")],
        facts,
        number,
    )


def metadata_facts(metadata: Mapping[str, Any], whole: str = "hit.metadata") -> list[str]:
    """Return the first six metadata items not shown elsewhere on a card, one text each.

    `whole` is the expression for all metadata.
    """
    facts = [
        f"{one_line(str(key), 80)}: {one_line(str(value), 80)}"
        for key, value in metadata.items()
        if key not in _PLACES and value is not None
    ]
    more = len(facts) - _MAX_FACTS
    return [*facts[:_MAX_FACTS], *([f"{more} more: {whole}"] if more > 0 else [])]


def excerpt_note(
    content: str | None, metadata: Mapping[str, Any], id: str, whole: str
) -> list[views.Line]:
    """Return a line with the length of a text if the card shows only an excerpt."""
    body = _body(content or "", heading_of(metadata) or id)
    if content is None or len(body) <= SNIPPET_CHARACTERS:
        return []
    length = figures.plural(len(content), "character")
    return [views.Line(f"an excerpt of {length}, all of them: {whole}", "quiet")]


def heading_of(metadata: Mapping[str, Any]) -> str:
    """Return the title and headings of an entry of a document, or ""."""
    title, heading = (metadata.get(key) for key in ("title", "heading"))
    path = heading.split(" > ") if isinstance(heading, str) else []
    if isinstance(title, str) and title and title not in path[:1]:
        path.insert(0, title)
    return " › ".join(path)


def _body(content: str, title: str) -> str:
    """Return a text without Markdown marks, and without leading headings shown on the card."""
    lines = without_marks(content).strip().split("\n")
    headings = title.split(" › ")
    while len(lines) > 1 and (not lines[0].strip() or lines[0].strip() in headings):
        lines.pop(0)
    return " ".join(" ".join(line.split()) for line in lines if line.strip())


def _snippet(text: str, query: str | None) -> views.Marked:
    stems = word_stems(query) if query else set()
    nearest = nearest_sentence(text, stems) if stems else None
    start, end = nearest[0] if nearest else (0, 0)
    words = matching_words(text[start:end], stems)
    before = SNIPPET_CHARACTERS // 4
    if end - start > SNIPPET_CHARACTERS and words and words[0][0] > before:
        word = start + words[0][0]
        space = text.rfind(" ", word - before, word)
        start = word if space < 0 else space + 1
    part = text[start:]
    if len(part) > SNIPPET_CHARACTERS:
        cut = part.rfind(" ", SNIPPET_CHARACTERS // 2, SNIPPET_CHARACTERS)
        part = part[: cut if cut > 0 else SNIPPET_CHARACTERS] + " …"
    part = f"… {part}" if start else part
    return views.Marked(part, matching_words(part, stems))
