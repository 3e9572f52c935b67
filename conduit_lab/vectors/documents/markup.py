"""Headings of Markdown, and the text of HTML with its headings."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import NamedTuple

MAX_HEADING = 200  # characters of a heading that are kept

# What starts and ends a paragraph of its own; everything else runs on in the line.
_BLOCK = re.compile(
    "address|article|aside|blockquote|body|caption|d[dlt]|details|dialog|div|fieldset|figcaption|figure|footer|form|"
    "h[1-6r]|header|html|li|main|menu|nav|[ou]l|option|p|pre|section|summary|table|tbody|t[dhr]|tfoot|thead"
)
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_UNSEEN = frozenset(("script", "style", "template", "noscript", "svg", "title"))
_CLOSE = frozenset(("li", "tr", "td", "th", "dt", "dd", "option"))  # one line break around them, not two

_TAG = re.compile(r"<[a-zA-Z/!?]")
_FRONT = re.compile(r"---[ \t]*\r?\n(?=[\w-]+[ \t]*:)(?:[^\r\n]*\r?\n)*?(?:---|\.\.\.)[ \t]*(?:\r?\n|$)")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})(?=\s|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NOT_A_PARAGRAPH = re.compile(r" {4}|\t|\s*(?:$|[>|]|[-+*][ \t]|\d{1,9}[.)][ \t])")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


class Heading(NamedTuple):
    """A heading: the offsets at which it starts and ends, its level from 1, and its text without marks."""

    start: int
    end: int
    level: int
    text: str


class Page(NamedTuple):
    """What `html_text` found; `lines` are pairs (offset in `text`, line of the HTML)."""

    text: str
    title: str
    headings: tuple[Heading, ...]
    lines: tuple[tuple[int, int], ...]


class _Open(NamedTuple):
    """A heading of HTML that has begun; `first` is its first part, once there is one."""

    level: int
    start: int = 0
    first: int | None = None


def markdown_headings(text: str) -> tuple[int, tuple[Heading, ...]]:
    """Return where the text starts after a YAML front matter, and its headings by the rules of CommonMark.

    ATX (`## Returns`) and setext (underlined) headings at the outer level; none inside of a fenced block.
    """
    front = _FRONT.match(text)
    begin = front.end() if front else 0
    headings: list[Heading] = []
    fence, before, before_at = "", "", 0
    for found in _LINE.finditer(text, begin):
        line = found[0].rstrip("\r\n")
        mark = _FENCE.match(line)
        if fence:
            # closed by at least as many of the same marks, with nothing after them
            if mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
            before = ""
            continue
        if mark and not (mark[1][0] == "`" and "`" in line[mark.end() :]):
            fence, before = mark[1], ""
        elif atx := _ATX.match(line):
            headings.append(Heading(found.start(), found.end(), len(atx[1]), _atx_text(line[atx.end() :])))
            before = ""
        elif before and (underline := _UNDERLINE.match(line)):
            headings.append(Heading(before_at, found.end(), 1 if underline[1][0] == "=" else 2, _plain(before)))
            before = ""
        else:
            before, before_at = ("", 0) if _NOT_A_PARAGRAPH.match(line) else (line, found.start())
    return begin, tuple(headings)


def html_text(markup: str) -> Page:
    """Return the text that a reader of the page sees: paragraphs with blank lines between, spaces collapsed.

    Preformatted text keeps its line breaks. Scripts, styles and templates are left out.
    """
    # A tag that the end cuts off is none, and the parser would look for its end again from every `<` in it.
    cut = _TAG.search(markup, markup.rfind(">") + 1)
    reader = _Reader()
    reader.feed(markup[: cut.start()] if cut else markup)
    reader.close()
    title = " ".join("".join(reader.title).split())
    return Page("".join(reader.parts), title, tuple(reader.headings), tuple(reader.lines))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title: list[str] = []
        self.headings: list[Heading] = []
        self.lines: list[tuple[int, int]] = []
        self._at = 0  # length of the text so far
        self._gap = ""  # what stands before the next word: a space, one line break or two
        self._unseen = ""  # the element that is passed over
        self._preformatted = 0
        self._heading: _Open | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._unseen:
            return
        if tag in _UNSEEN:
            self._unseen = tag
        elif tag == "br":
            self._space("\n")
        elif _BLOCK.fullmatch(tag):
            self._break(tag)
            self._preformatted += tag == "pre"
            if tag in _HEADINGS:
                self._heading = _Open(int(tag[1]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _UNSEEN:  # <svg/> has no end of its own
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            self._unseen = "" if tag == self._unseen else self._unseen
        elif _BLOCK.fullmatch(tag):
            self._break(tag)
            self._preformatted = max(0, self._preformatted - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if self._unseen:
            if self._unseen == "title":
                self.title.append(data)
            return
        first = self.getpos()[0]
        for line, piece in enumerate(data.split("\n"), first):
            if line > first and self._preformatted:
                self._gap += "\n"
            elif line > first or piece[:1].isspace():
                self._space(" ")
            if piece.strip():
                self._add(piece if self._preformatted else " ".join(piece.split()), line)
                self._space(" " if piece[-1].isspace() else "")

    def _add(self, words: str, line: int) -> None:
        gap = self._gap if self.parts else ""
        self._gap = ""
        if gap:
            self.parts.append(gap)
            self._at += len(gap)
        if self._heading and self._heading.first is None:
            self._heading = _Open(self._heading.level, self._at, len(self.parts))
        if not self.lines or self.lines[-1][1] != line:
            self.lines.append((self._at, line))
        self.parts.append(words)
        self._at += len(words)

    def _space(self, gap: str) -> None:
        """Ask for at least this much room before the next word."""
        self._gap = max(self._gap, gap, key=lambda room: (room.count("\n"), len(room)))

    def _break(self, tag: str) -> None:
        """End the paragraph, and the heading when it has words."""
        self._space("\n" if tag in _CLOSE else "\n\n")
        if self._heading and self._heading.first is not None:
            text = " ".join("".join(self.parts[self._heading.first :]).split())
            self.headings.append(Heading(self._heading.start, self._at, self._heading.level, text[:MAX_HEADING]))
        if self._heading and (self._heading.first is not None or tag in _HEADINGS):
            self._heading = None


def _atx_text(rest: str) -> str:
    """Return the text of an ATX heading without its closing marks."""
    text = rest.strip()
    bare = text.rstrip("#")
    return _plain(bare if not bare or bare[-1].isspace() else text)


def _plain(text: str) -> str:
    """Return a heading's text without the marks of links, emphasis and code."""
    return _LINK.sub(r"\1", text[:MAX_HEADING]).replace("**", "").replace("*", "").replace("`", "").strip()
