"""Tree: nodes as text with branches, as a table, and as boxes with arrows."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from conduit_lab.core.views.boxes import drawing
from conduit_lab.core.views.tree import TreeNode
from conduit_lab.core.views.view import View

LEAF = TreeNode("topic", "Model", "float32 [batch, 384]", "Prediction", seconds=0.0005)
FORK = TreeNode(
    "both",
    "Parallel",
    gives="dict",
    facts=("timeout=2.0",),
    edge="first",
    children=(TreeNode("a", "Model", edge="a"), TreeNode("b", "Model", edge="left")),
    arrangement="parallel",
)
ROOT = TreeNode("pipe", "Sequential", "text", "dict", seconds=0.001, children=(LEAF, FORK), more=3)
HOSTILE = '<script>"&'


class Balance(HTMLParser):
    """Checks that every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def texts(page: str) -> list[str]:
    return [text for text in re.sub(r"<[^>]*>", "\n", page).split("\n") if text.strip("\xa0")]


def test_the_text_has_branches_and_aligned_columns() -> None:
    assert ROOT.plain().split("\n") == [
        "├─ topic             Model                    float32 [batch, 384] → Prediction   500 µs",
        "├─ first: both       Parallel · timeout=2.0   ? → dict",
        "│  ├─ a              Model",
        "│  └─ left: b        Model",
        "└─ … 3 more stages",
    ]


def test_columns_without_content_are_left_out() -> None:
    root = TreeNode("pipe", children=(TreeNode("a", "Function"), TreeNode("bb", "Function")))
    assert root.plain() == "├─ a    Function\n└─ bb   Function"
    assert texts(root.html()) == ["stage", "kind", "a", "Function", "bb", "Function"]


def test_the_table_indents_by_padding_and_has_bars_for_the_time() -> None:
    page = ROOT.html()
    assert texts(page)[:7] == ["stage", "kind", "values", "time", "topic", "Model", LEAF.values]
    assert page.count("padding-left:20px") == 2
    assert page.count("transparent 50%") == 1
    assert "… 3 more stages" in page


def test_a_share_is_at_most_the_whole_and_0_where_a_time_is_not_known() -> None:
    assert LEAF.share(0.001) == 0.5
    assert LEAF.share(0.0001) == 1.0
    assert LEAF.share(None) == LEAF.share(0.0) == FORK.share(1.0) == 0.0


def test_the_drawing_has_boxes_arrows_and_the_values_between_them() -> None:
    labels = ["text", "▸", "topic", "Model · 500 µs", "Prediction", "▸", "both"]
    page = drawing(ROOT).replace("&nbsp;", "")
    assert [text.strip() for text in texts(page)] == [
        *labels,
        "Parallel · timeout=2.0",
        *("a", "a", "Model", "left", "b", "Model"),
        *("dict", "▸", "… 3 more stages", "▸", "dict"),
    ]


def test_a_joining_stage_comes_after_its_siblings() -> None:
    members = (TreeNode("m1"), TreeNode("vote", joins=True), TreeNode("m2"))
    root = TreeNode("pipe", children=members, arrangement="parallel")
    assert texts(drawing(root)) == ["m1", "m2", "▸", "vote"]


def test_spare_stages_and_choices_are_labelled() -> None:
    stages = (TreeNode("a", edge="x"), TreeNode("b", edge="y"))
    assert texts(drawing(TreeNode("f", children=stages, arrangement="fallback"))) == [
        *("a", "else", "b")
    ]
    assert texts(drawing(TreeNode("r", children=stages, arrangement="choice"))) == [
        *("x", "a", "y", "b")
    ]


def test_a_view_shows_the_header_the_drawing_and_the_table() -> None:
    page = View("Sequential", "pipe", tree=ROOT).html()
    assert page.index("<b>pipe</b>") < page.index("▸") < page.index("<table")
    assert View("Sequential", "pipe", tree=TreeNode("pipe")).plain() == "Sequential 'pipe'"
    assert "<table" not in View("Sequential", "pipe", tree=TreeNode("pipe")).html()


def test_everything_is_escaped_and_an_untrusted_notebook_keeps_all_of_it() -> None:
    leaf = TreeNode(HOSTILE, HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), 1.0, HOSTILE)
    for arrangement in ("chain", "parallel", "choice", "fallback"):
        inner = TreeNode(
            HOSTILE,
            HOSTILE,
            facts=(HOSTILE,),
            children=(leaf, leaf, TreeNode(HOSTILE, joins=True)),
            more=1,
            arrangement=arrangement,
        )
        root = TreeNode(HOSTILE, takes=HOSTILE, gives=HOSTILE, children=(inner, leaf), seconds=2.0)
        page = View("Sequential", HOSTILE, tree=root).html()
        tags = Balance(page).tags
        # JupyterLab's sanitiser drops others, such as svg
        assert tags <= {"div", "span", "b", "table", "thead", "tbody", "tr", "th", "td"}
        # and most functions in a style
        styles = "".join(re.findall('style="([^"]*)"', page))
        assert set(re.findall(r"[\w-]+(?=\()", styles)) <= {"var", "rgba", "linear-gradient"}
