from __future__ import annotations

from conduit_lab.core.trace.span_groups import span_groups
from tests.core.trace.made import span


def test_few_spans_are_a_row_each() -> None:
    root = span("all", 0, 9, span("a", 0, 1, span("b", 0, 1)), span("a", 1, 2))
    assert [(g.depth, g.name) for g in span_groups(root, 4)] == [
        (0, "all"),
        (1, "a"),
        (2, "b"),
        (1, "a"),
    ]


def test_of_many_spans_repeated_siblings_and_their_children_are_a_row() -> None:
    loop = [span("a", n, n + 1, span("b", n, n + 1), span("c", n, n + 1)) for n in range(3)]
    root = span("all", 0, 9, *loop, span("last", 8, 9))
    assert [(g.depth, g.name) for g in span_groups(root, 4)] == [
        (0, "all"),
        (1, "a × 3"),
        (2, "b × 3"),
        (2, "c × 3"),
        (1, "last"),
    ]
