"""Markup: the headings of Markdown, and the text and headings of HTML."""

from __future__ import annotations

import re
from collections import defaultdict
from html.parser import HTMLParser
from typing import NamedTuple

MAX_HEADING_CHARACTERS = 200

# Front matter starts with a key, after comments and empty lines; otherwise `---` is a rule.
_KEY = r"(?:[ \t]*(?:#[^\r\n]*)?\r?\n)*"
_YAML = re.compile(
    rf"""---[ \t]*\r?\n{_KEY}(?:[\w-]+[ \t]*:|"""
    r"""(?:"[^"\r\n]+"|'[^'\r\n]+'|[^\s#:"'>|-][^:\r\n]*):(?=\s))"""
    r"[^\r\n]*\r?\n(?:[^\r\n]*\r?\n)*?(?:---|\.\.\.)[ \t]*(?:\r?\n|$)"
)
_TOML = re.compile(
    rf"""\+\+\+[ \t]*\r?\n{_KEY}(?:\[|["'\w][^=\r\n]*=)"""
    r"[^\r\n]*\r?\n(?:[^\r\n]*\r?\n)*?\+\+\+[ \t]*(?:\r?\n|$)"
)
_TITLE = re.compile(
    r"""^title[ \t]*[:=][ \t]*(?:"([^"\r\n]*)"|'([^'\r\n]*)'|([^\s>|"'].*?)(?=\s+#|\s*$))""",
    re.MULTILINE,
)

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})(?=\s|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NOT_A_PARAGRAPH = re.compile(r" {4}|\t|\s*(?:$|[>|]|[-+*][ \t]|\d{1,9}[.)][ \t])")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Elements that start and end a paragraph; all others are inline.
_BLOCK = _tags(
    "address article aside blockquote body caption dd details dialog div dl dt fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 header hr html legend li main menu nav ol optgroup "
    "option p pre search section summary table tbody td textarea tfoot th thead tr ul"
)
_HEADINGS = _tags("h1 h2 h3 h4 h5 h6")
_PREFORMATTED = _tags("listing plaintext pre textarea xmp")
_UNSEEN = _tags(
    "annotation annotation-xml audio canvas datalist iframe noembed noframes noscript script style "
    "svg template title video"
)
_VOID = _tags("area base br col embed hr img input link meta param source track wbr")
_MORE_BLOCKS = _tags(  # of Markdown
    "base basefont center col colgroup dir frame frameset head iframe link menuitem noframes param "
    "title track"
)

_GAPS = ("", " ", "\t", "\n", "\n\n")  # before a word, smallest first
_CELLS = _tags("td th")
_ROWS = _CELLS | {"tr"}
_PARTS = _ROWS | _tags("thead tbody tfoot caption")
# Before these elements; other blocks are preceded by an empty line.
_GAP_BEFORE = dict.fromkeys(_PARTS | _tags("li dt dd option"), "\n") | dict.fromkeys(_CELLS, "\t")

# Open elements closed by the start of another (HTML, 13.1.2.4: optional tags); every block closes a
# paragraph.
_CLOSES = {
    **dict.fromkeys(_CELLS, _CELLS),
    **dict.fromkeys(_PARTS - _ROWS, _PARTS),
    **dict.fromkeys(_HEADINGS, _HEADINGS),
    **dict.fromkeys(_tags("dt dd"), _tags("dt dd")),
    "tr": _ROWS,
    "li": _tags("li"),
    "option": _tags("option"),
    "optgroup": _tags("option optgroup"),
}

_TAG = re.compile(r"<[a-zA-Z/!?]")
_HIDING = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b", re.IGNORECASE)

# Start and end of HTML blocks in Markdown (CommonMark 0.31, 4.6).
_EMPTY = re.compile(r"^\s*$")
_BLOCK_NAMES = "|".join(sorted(_BLOCK | _MORE_BLOCKS))
_VERBATIM = "(?:script|pre|style|textarea)"
_HTML_BLOCKS = (
    (
        re.compile(rf" {{0,3}}<{_VERBATIM}(?=[\s>]|$)", re.IGNORECASE),
        re.compile(f"</{_VERBATIM}>", re.IGNORECASE),
    ),
    (re.compile(r" {0,3}<!--"), re.compile("-->")),
    (re.compile(r" {0,3}<\?"), re.compile(r"\?>")),
    (re.compile(r" {0,3}<![a-zA-Z]"), re.compile(">")),
    (re.compile(r" {0,3}<!\[CDATA\["), re.compile(r"\]\]>")),
    (re.compile(rf" {{0,3}}</?(?:{_BLOCK_NAMES})(?=\s|/?>|$)", re.IGNORECASE), _EMPTY),
)
_VALUE = r"""(?:[^\s"'=<>`]+|'[^']*'|"[^"]*")"""
_ONE_TAG = re.compile(  # does not interrupt a paragraph
    rf" {{0,3}}<(?:[a-zA-Z][\w-]*(?:\s+[a-zA-Z_:][\w.:-]*(?:\s*=\s*{_VALUE})?)*\s*/?"
    r"|/[a-zA-Z][\w-]*\s*)>\s*$"
)


class Heading(NamedTuple):
    """A heading: its start and end offsets, its level from 1, and its text without markup."""

    start: int
    end: int
    level: int
    text: str


class Page(NamedTuple):
    """The text, title and headings of a page; `lines` are pairs (offset in `text`, HTML line)."""

    text: str
    title: str
    headings: tuple[Heading, ...]
    lines: tuple[tuple[int, int], ...]


class _Element(NamedTuple):
    """An open element: whether its text is hidden or preformatted.

    `block` is the index of the innermost block among the open elements; an end tag closes no
    element before the index `wall`.
    """

    tag: str = ""
    hidden: bool = False
    preformatted: bool = False
    block: int = 0
    wall: int = 1


class _Open(NamedTuple):
    """An open HTML heading; `first` is the index of its first part, once there is one."""

    level: int
    start: int = 0
    first: int | None = None


def front_matter(text: str) -> int:
    """Return the end of YAML (`---`) or TOML (`+++`) front matter, 0 if there is none."""
    front = _YAML.match(text) or _TOML.match(text)
    return front.end() if front else 0


def front_title(text: str, end: int) -> str:
    """Return the title in the front matter before `end`, or ""."""
    found = _TITLE.search(text, 0, end)
    return next((group.strip() for group in found.groups() if group), "") if found else ""


def markdown_headings(text: str) -> tuple[int, tuple[Heading, ...]]:
    """Return the end of the front matter, and the headings by the rules of CommonMark.

    These are ATX (`## Returns`) and setext (underlined) headings at the outer level, except in
    fenced code and HTML blocks, such as comments.
    """
    begin = front_matter(text)
    headings: list[Heading] = []
    fence, before, before_at = "", "", 0
    end: re.Pattern[str] | None = None  # of the HTML block
    for found in _LINE.finditer(text, begin):
        line = found[0].rstrip("\r\n")
        mark = _FENCE.match(line)
        if fence:
            # closed by at least as many of the same character, with nothing after them
            if mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
            before = ""
        elif end is not None:
            end = None if end.search(line) else end
        elif mark and not (mark[1][0] == "`" and "`" in line[mark.end() :]):
            fence, before = mark[1], ""
        elif "<" in line and (block := _html_block(line, interrupts=bool(before))):
            opened, end = block
            before = ""
            end = None if end.search(line, opened) else end
        elif atx := _ATX.match(line):
            title = _atx_text(line[atx.end() :])
            headings.append(Heading(found.start(), found.end(), len(atx[1]), title))
            before = ""
        elif before and (underline := _UNDERLINE.match(line)):
            level = 1 if underline[1][0] == "=" else 2
            headings.append(Heading(before_at, found.end(), level, _plain(before)))
            before = ""
        else:
            before, before_at = ("", 0) if _NOT_A_PARAGRAPH.match(line) else (line, found.start())
    return begin, tuple(headings)


def html_text(markup: str) -> Page:
    """Return the visible text of a page: paragraphs separated by blank lines, spaces collapsed.

    Preformatted text keeps its spaces and line breaks; the cells of a table's row are on one line,
    separated by tabs. Scripts, styles, templates, hidden elements and front matter are omitted.
    """
    markup = markup.replace("\r\n", "\n").replace("\r", "\n")
    front = front_matter(markup)
    markup = "\n" * markup.count("\n", 0, front) + markup[front:]
    # A tag truncated by the end is not a tag, and the parser would search for its end from every
    # `<`.
    cut = _TAG.search(markup, markup.rfind(">") + 1)
    reader = _Reader()
    reader.feed(markup[: cut.start()] if cut else markup)
    reader.close()
    reader.end()
    title = " ".join("".join(reader.title).split())
    return Page("".join(reader.parts), title, tuple(reader.headings), tuple(reader.lines))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title: list[str] = []
        self.headings: list[Heading] = []
        self.lines: list[tuple[int, int]] = []
        self._open = [_Element()]
        self._places: dict[str, list[int]] = defaultdict(list)  # of the open elements, by tag
        self._at = 0  # length of the text so far
        self._gap = ""  # required before the next word, one of _GAPS
        self._blank = ""  # the spaces and line breaks before the next preformatted word
        self._heading: _Open | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCK:
            closed = _CLOSES.get(tag, frozenset())
            while (inner := self._open[self._open[-1].block].tag) == "p" or inner in closed:
                self._close(inner)
        above = self._open[-1]
        if tag in _BLOCK and not above.hidden:
            self._break(tag)
        if tag == "br" and not above.hidden:
            if above.preformatted:
                self._blank += "\n"
            else:
                self._space("\n")
        if tag in _VOID:
            return
        root = tag in ("html", "body")
        hidden = above.hidden or tag in _UNSEEN or (not root and _is_hidden(attrs))
        preformatted = above.preformatted or tag in _PREFORMATTED
        place = len(self._open)
        block = place if tag in _BLOCK else above.block
        wall = place if tag in _UNSEEN else above.wall
        self._open.append(_Element(tag, hidden, preformatted, block, wall))
        self._places[tag].append(place)
        if tag in _HEADINGS and not hidden and not above.preformatted:
            self._heading = _Open(int(tag[1]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _UNSEEN and not _is_hidden(attrs):  # <svg/> has no end tag
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if (places := self._places.get(tag)) and places[-1] >= self._open[-1].wall:
            self._close(tag)

    def handle_data(self, data: str) -> None:
        element = self._open[-1]
        if element.hidden:
            if self._open[element.wall].tag == "title" and not self._open[element.wall - 1].hidden:
                self.title.append(data)
            return
        data = data.replace("\xad", "")  # a soft hyphen is visible only at the end of a line
        first = self.getpos()[0]
        for line, piece in enumerate(data.split("\n"), first):
            if element.preformatted:
                self._add_preformatted(piece, line, broken=line > first)
                continue
            if line > first or piece[:1].isspace():
                self._space(" ")
            if words := piece.split():
                self._add(" ".join(words), line)
                self._space(" " if piece[-1].isspace() else "")

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Treat `<![…` as a comment, as browsers do; the parser would raise for most."""
        return self.parse_bogus_comment(i)

    def end(self) -> None:
        """Close the elements left open by the page."""
        while len(self._open) > 1:
            self._close(self._open[-1].tag)

    def _close(self, tag: str) -> None:
        """Close the innermost open element with this tag, and the elements inside it."""
        while True:
            element = self._open.pop()
            self._places[element.tag].pop()
            if element.tag in _BLOCK and not element.hidden:
                self._break(element.tag)
            if element.tag == tag:
                return

    def _add_preformatted(self, piece: str, line: int, *, broken: bool) -> None:
        self._blank += "\n" * broken
        words = piece.lstrip()
        self._blank += piece[: len(piece) - len(words)]
        if words:
            bare = words.rstrip()
            self._add(bare, line)
            self._blank = words[len(bare) :]

    def _add(self, words: str, line: int) -> None:
        # Empty lines at the start of preformatted text are invisible, but its first indentation is
        # not.
        blank = self._blank if self.parts and not self._gap else self._blank.rpartition("\n")[2]
        gap = (self._gap if self.parts else "") + blank
        self._gap = self._blank = ""
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
        """Require at least this gap before the next word."""
        self._gap = max(self._gap, gap, key=_GAPS.index)

    def _break(self, tag: str) -> None:
        """End the paragraph, and the heading if it has words."""
        if self._open[-1].preformatted:  # an element per line of code
            self._blank = self._blank if "\n" in self._blank else "\n"
        else:
            self._blank = ""
            self._space(_GAP_BEFORE.get(tag, "\n\n"))
        if self._heading and self._heading.first is not None:
            text = " ".join("".join(self.parts[self._heading.first :]).split())
            text = text[:MAX_HEADING_CHARACTERS]
            start, level = self._heading.start, self._heading.level
            self.headings.append(Heading(start, self._at, level, text))
        if self._heading and (self._heading.first is not None or tag in _HEADINGS):
            self._heading = None


def _html_block(line: str, *, interrupts: bool) -> tuple[int, re.Pattern[str]] | None:
    """Return the end of an HTML block's opening in its line and its end pattern, or None."""
    for start, end in _HTML_BLOCKS:
        if opened := start.match(line):
            return opened.end(), end
    return None if interrupts or not _ONE_TAG.match(line) else (0, _EMPTY)


def _atx_text(rest: str) -> str:
    """Return the text of an ATX heading without its closing #s."""
    text = rest.strip()
    bare = text.rstrip("#")
    return _plain(bare if not bare or bare[-1].isspace() else text)


def _plain(text: str) -> str:
    """Return a heading's text without the markup of links, emphasis and code."""
    plain = _LINK.sub(r"\1", text[:MAX_HEADING_CHARACTERS])
    return plain.replace("*", "").replace("`", "").strip()


def _is_hidden(attrs: list[tuple[str, str | None]]) -> bool:
    """Return whether an element's own attributes hide it."""
    return any(
        (name == "hidden" and value != "until-found")
        or (name == "style" and value and _HIDING.search(value))
        for name, value in attrs
    )
