from __future__ import annotations

from typing import Any

import numpy as np

from conduit_lab.core.trace.trace_graph import MAX_GRAPH_NODES
from tests.core.trace.made import span, trace

vector, other = np.arange(4.0), np.ones(4)
answers = ["first answer", "second answer"]


def edges(chart: str) -> list[str]:
    """Return the edges with names in place of ids, in order."""
    lines = [line.strip() for line in chart.splitlines()[1:]]
    names = {}
    for line in lines:
        if "--" not in line:
            name = line.split("[")[0].split("(")[0]
            names[name] = line.split('"')[1]
    found = []
    for line in (line for line in lines if "--" in line):
        tail, *label, head = line.replace("-->", " ").split()
        words = " ".join(label).strip('|"')
        found.append(f"{names[tail]} -{words}-> {names[head]}")
    return sorted(found)


def test_edges_follow_the_values_and_have_the_time_of_their_stage() -> None:
    recorded = trace(
        span("minilm", 0, 1, given="the text", gave=vector),
        span("topic", 1, 3, given=vector, gave=answers[0]),
        span("mood", 3, 7, given=vector, gave=answers[1]),
        seconds=7,
        given={"text": "the text"},
        gave={"topic": answers[0], "mood": answers[1]},
    )
    assert edges(recorded.to_mermaid()) == [
        "input --> minilm",
        "minilm -1.00 s-> mood",
        "minilm -1.00 s-> topic",
        "mood -4.00 s-> output",
        "topic -2.00 s-> output",
    ]


def test_where_no_edge_is_known_the_order_of_the_calls_stands_in() -> None:
    recorded = trace(span("a", 0, 1), span("b", 1, 3), span("c", 2, 3), seconds=3)
    assert edges(recorded.to_mermaid()) == [
        "a -then · 1.00 s-> b",
        "a -then · 1.00 s-> c",
        "b -2.00 s-> output",
        "c -1.00 s-> output",
        "input -then-> a",
    ]


def test_a_value_may_be_read_and_given_back() -> None:
    encode = span("minilm", 0, 1, gave=vector)
    recorded = trace(encode, span("topic", 1, 3, given=vector), seconds=3, gave=[vector])
    assert edges(recorded.to_mermaid()) == [
        "input -then-> minilm",
        "minilm -1.00 s-> output",
        "minilm -1.00 s-> topic",
    ]


def test_a_combinator_is_drawn_as_its_stages() -> None:
    members = [
        span("m1", 1, 2, given=vector, gave=answers[0]),
        span("m2", 2, 3, given=vector, gave=answers[1]),
    ]
    recorded = trace(
        span("minilm", 0, 1, gave=vector),
        span("ensemble", 1, 4, *members, given=vector, gave=other),
        span("after", 4, 5, given=other, gave=answers[0]),
        seconds=5,
        gave=answers[0],
    )
    assert edges(recorded.to_mermaid()) == [
        "after -1.00 s-> output",
        "input -then-> minilm",
        "m1 -1.00 s-> after",
        "m2 -1.00 s-> after",
        "minilm -1.00 s-> m1",
        "minilm -1.00 s-> m2",
    ]


def test_many_stages_of_one_name_are_one_node() -> None:
    loop: list[Any] = []
    for n in range(MAX_GRAPH_NODES):
        value = np.full(2, n)
        loop += [span("encode", 2 * n, 2 * n + 1, gave=value)]
        loop += [span("topic", 2 * n + 1, 2 * n + 2, given=value)]
    chart = trace(*loop, seconds=2.0 * MAX_GRAPH_NODES).to_mermaid()
    assert f"encode × {MAX_GRAPH_NODES}" in chart
    assert f"encode × {MAX_GRAPH_NODES} -30.0 s-> topic × {MAX_GRAPH_NODES}" in edges(chart)


def test_many_names_are_bounded() -> None:
    loop = [span(f"n{n}", n, n + 1) for n in range(200)]
    chart = trace(*loop, seconds=200).to_mermaid()
    assert chart.count('["n') == MAX_GRAPH_NODES
    assert "170 more" in chart


def test_a_call_without_stages_is_one_node_and_hostile_names_are_text() -> None:
    assert trace(seconds=1, name="alone").to_mermaid() == 'flowchart LR\n    s0["alone"]'
    chart = trace(span('"]; click <b>', 0, 1, error=ValueError()), seconds=1).to_mermaid()
    assert "<b>" not in chart and chart.count('"') == 10
    assert "✕" in chart


def test_a_running_stage_says_so() -> None:
    assert "running" in trace(span("a", 0, None), seconds=1).to_mermaid()
