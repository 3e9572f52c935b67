from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.views import html

EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</td></tr></table><script>alert(1)</script>",
    "<!--",
    "&lt;script&gt;",
    "javascript:alert(1)",
    "\x00<b>",
]


class Seen(HTMLParser):
    """Collects tags, attribute names and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.tags.add("comment")


def pieces(evil: str) -> str:
    return (
        html.header(evil, evil, [evil])
        + html.table([evil, "n"], [[evil, 1], [[evil], 2]], numeric=("n",))
        + html.text(evil)
    )


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_text_is_only_text(evil: str) -> None:
    seen = Seen(pieces(evil))
    assert seen.tags <= {"div", "span", "b", "table", "thead", "tbody", "tr", "th", "td", "wbr"}
    assert seen.attributes <= {"style", "scope"}
    assert evil in "".join(seen.text)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="<>&\"'/=! abconerscript-", max_size=40))
def test_any_text_is_shown_as_it_is_and_makes_no_tag(content: str) -> None:
    seen = Seen(html.header("kind", content, [content]))
    assert seen.tags - {"wbr"} == {"div", "span", "b"}
    assert "".join(seen.text) == f"kind{' ' * bool(content)}{content} · {content}"


def test_table_shows_twenty_rows_and_says_the_rest() -> None:
    page = html.table(["n"], [[n] for n in range(25)])
    assert page.count("<td") == 20
    assert "5 more rows" in page
    assert "more rows" not in html.table(["n"], [[n] for n in range(20)])


def test_numeric_columns_are_right_aligned() -> None:
    page = html.table(["name", "n"], [["a", 1]], numeric=("n",))
    assert page.count("text-align:right") == 2
    assert page.count("text-align:left") == 2


def test_row_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        html.table(["a", "b"], [["only one"]])


def test_long_text_is_cut_in_the_middle() -> None:
    page = "".join(Seen(html.text("a" * 600 + "b" * 600, limit=1000)).text)
    assert page == "a" * 500 + "\n… 200 characters …\n" + "b" * 500


def test_text_at_the_limit_is_whole() -> None:
    assert "…" not in html.text("a" * 1000, limit=1000)


def test_cut_does_not_break_an_escape() -> None:
    seen = Seen(html.text("<" * 100, limit=10))
    assert seen.tags == {"div"}


def test_plain_columns_are_aligned() -> None:
    shown = html.columns(("name", "n"), [("a", 1), ("long", 100)], numeric=("n",))
    assert shown == "name    n\na       1\nlong  100"


def test_plain_columns_without_rows_are_the_names() -> None:
    assert html.columns(("name", "n"), []) == "name  n"


def test_no_colours_of_its_own() -> None:
    assert "color:" not in pieces("x").replace("background:none", "")
    assert not re.search(
        r"#[0-9a-f]{3,6}\b", html.header("a", "b") + html.table(["n"], [[1]]) + html.text("c")
    )


def test_a_cell_may_be_indented_and_have_quiet_text_and_a_bar() -> None:
    cell = html.Cell("b<", depth=2, prefix="a&: ", suffix=" · c", share=0.25)
    assert str(cell) == "a&: b< · c"
    page = html.table(("n",), [(cell,), (html.Cell("plain"),)])
    assert ">a&amp;: </span>b&lt;<span" in page
    assert "padding-left:40px" in page and "transparent 25%" in page
    assert page.count("linear-gradient") == 1


def test_a_table_may_show_more_rows() -> None:
    rows = [(str(n),) for n in range(30)]
    assert html.table(("n",), rows, limit=30).count("<tr") == 31
    assert "5 more rows" in html.table(("n",), rows, limit=25)


def test_a_cut_text_says_how_to_get_the_whole() -> None:
    shown = html.text("a" * 30, limit=20, whole="hit.content")
    assert "… 10 characters, all of it: hit.content …" in shown
    assert html.cut_text("a" * 20, 20, "hit.content") == "a" * 20


def test_left_out_rows_say_how_to_get_them() -> None:
    assert "3 more rows: <code" in html.more(html.MAX_ROWS + 3, "hits[20:]")
    assert html.more(html.MAX_ROWS, "hits[20:]") == ""


@given(st.text(max_size=200))
def test_a_long_word_breaks_and_nothing_else_changes(content: str) -> None:
    seen = Seen(html.breakable(content))
    assert seen.tags <= {"wbr"}
    parts = html.breakable(content).split("<wbr>")
    assert unescape("".join(parts)) == content
    words = [word for part in parts for word in unescape(part).split()]
    assert all(len(word) <= html.MAX_UNBROKEN for word in words)


def test_leading_spaces_of_a_cell_stay() -> None:
    assert "white-space:pre-wrap" in html.table(["name"], [["    indented"]])


def test_a_long_text_in_a_column_of_numbers_breaks() -> None:
    wide = html.table(["n"], [["x" * 99]], numeric=("n",)).partition("<tbody>")[2]
    assert "white-space:nowrap" not in wide
