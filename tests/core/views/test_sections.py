"""Sections, code to copy and named views."""

from __future__ import annotations

from conduit_lab.core.views.pieces import Line
from conduit_lab.core.views.sections import Code, Named, Sections
from conduit_lab.core.views.view import Table, View


def test_code_is_indented_text_below_its_note_and_escaped_html() -> None:
    code = Code(["a < b", "c"], "copy:")
    assert code.plain() == "copy:\n    a < b\n    c"
    assert "a &lt; b\nc</pre>" in code.html()
    assert Code(["a\nb"]).plain() == "    a\n    b"


def test_sections_are_apart_in_text_and_columns_in_html() -> None:
    sections = Sections([[Table(("a",), [("1",)]), Line("")], [Line("b")]])
    assert sections.plain() == "\na\n1\n\nb"
    assert sections.html().count("flex:1 1 440px") == 2


def test_one_line_stays_beside_its_name_and_a_view_goes_below() -> None:
    assert Named("<a>", Line("b")).plain() == "<a>: b"
    view = View("Table", "t", tables=[Table(("a",), [("1",)])])
    assert Named("key", view).plain() == "key:\n  Table 't'\n  a\n  1"
    assert "&lt;a&gt;" in Named("<a>", Line("b")).html()
