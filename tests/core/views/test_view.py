"""View: the same parts as text and as static HTML."""

from __future__ import annotations

from conduit_lab.core.views import html
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed


class Shown(Viewed):
    def __init__(self, view: View) -> None:
        self.view = view

    def _view(self) -> View:
        return self.view


ROWS = [("a", "1"), ("<b>", "12")]
TABLE = Table(("name", "count"), ROWS, numeric=("count",))


def test_the_text_has_the_header_then_every_part() -> None:
    inner = View("Inner", "i")
    shown = Shown(View("Outer", "o", ["2 rows"], [TABLE], "running", children=[inner]))
    assert repr(shown).split("\n") == [
        "Outer 'o' · 2 rows",
        "name  count",
        "a         1",
        "<b>      12",
        "running",
        "Inner 'i'",
    ]


def test_the_bundle_has_both_forms_and_everything_in_html_is_escaped() -> None:
    view = View("<i>", "<u>", ["<s>"], [TABLE], "<p>", image='x"><script>')
    bundle = Shown(view)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    for raw in ("<i>", "<u>", "<s>", "<p>", "<script>"):
        assert raw not in bundle["text/html"]


def test_rows_that_are_not_shown_are_counted_in_both_forms() -> None:
    table = Table(("n",), [(str(n),) for n in range(html.MAX_ROWS + 3)])
    assert table.plain().endswith("\n3 more rows")
    assert len(table.plain().split("\n")) == html.MAX_ROWS + 2
    assert "3 more rows" in table.html()
    cut = Table(("n",), [("0",)], total=html.MAX_ROWS + 5)
    assert cut.plain().endswith("\n5 more rows") and "5 more rows" in cut.html()


def test_an_empty_table_is_left_out() -> None:
    view = View("a", tables=[Table(("n",), [])])
    assert view.plain() == "a"
    assert "<table" not in view.html()


def test_an_own_repr_is_the_text_of_the_bundle() -> None:
    class Short(Shown):
        def __repr__(self) -> str:
            return "short"

    assert Short(View("long"))._repr_mimebundle_()["text/plain"] == "short"
