"""Mermaid: text that draws any label, and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.views.mermaid import flowchart


def test_nodes_and_edges_are_lines() -> None:
    nodes = [
        ("a", "text", "stadium"),
        ("b", "minilm\n1.2 ms", "box"),
        ("c", "even?", "diamond"),
        ("d", "all", "round"),
        ("e", "1", "circle"),
        ("f", "sub", "subroutine"),
    ]
    edges = [("a", "b", ""), ("b", "c", "float32 [batch, 384]")]
    assert flowchart(nodes, edges, "TB").split("\n") == [  # type: ignore[arg-type]
        "flowchart TB",
        '    a(["text"])',
        '    b["minilm<br>1.2 ms"]',
        '    c{"even?"}',
        '    d("all")',
        '    e(("1"))',
        '    f[["sub"]]',
        "    a --> b",
        '    b -->|"float32 [batch, 384]"| c',
    ]


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ('say "a"', "say #34;a#34;"),
        ("<b>&amp;", "#60;b#62;#38;amp;"),
        ("#35;", "#35;35;"),
        ("`code`", "#96;code#96;"),
        ("a\\nb", "a#92;#8203;nb"),
        ("a\x1b\u202eb", "a#27;#8238;b"),
        ("größe → 中", "größe → 中"),
        ("  much   room ", "much room"),
        ("", " "),
        ("1. one", "1#46; one"),
        ("- one", "#45; one"),
        ("1.5 ms - 2", "1.5 ms - 2"),
    ],
)
def test_a_label_is_shown_as_it_is(label: str, text: str) -> None:
    assert flowchart([("a", label, "box")], []) == f'flowchart LR\n    a["{text}"]'


@given(st.text())
def test_no_label_ends_early(label: str) -> None:
    lines = flowchart([("a", label, "box")], [("a", "a", label)]).split("\n")
    assert re.fullmatch(r'    a\["[^"`\\]*"\]', lines[1])
    assert re.fullmatch(r'    a -->(\|"[^"`\\]*"\|)? a', lines[2])
    assert len(lines) == 3


@pytest.mark.parametrize("name", ["", "1", "a b", "end", 'a"', "a-->b"])
def test_an_id_is_a_plain_word(name: str) -> None:
    with pytest.raises(ValueError, match="expects letters, digits and underscores, got"):
        flowchart([(name, "label", "box")], [])
    with pytest.raises(ValueError, match="expects letters, digits and underscores, got"):
        flowchart([], [("a", name, "")])
