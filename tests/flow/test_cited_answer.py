"""CitedAnswer: an ordinary dict, displayed with the sources of its sentences."""

from __future__ import annotations

import copy
import json
import pickle
import re
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.trace.value_snapshot import snapshot
from conduit_lab.export.literals import is_literal, literal
from conduit_lab.flow.call_key import CallKeys
from conduit_lab.flow.citation import citations
from conduit_lab.flow.cited_answer import CitedAnswer
from conduit_lab.serving import codec
from tests.core.views.test_html import EVIL, Seen

TEXT = "# Refunds\n\n**A refund** takes five days. The bank needs three more."
SENTENCES = st.lists(st.sampled_from(["refunds", "take", "days.", "The", "bank\n", "# A", "7"]))


def source(text: str = TEXT, **metadata: Any) -> dict[str, Any]:
    return {"id": "a", "score": 1.0, **metadata, "span": [0, len(text)], "text": text}


@pytest.fixture
def answer() -> CitedAnswer:
    return CitedAnswer("A refund takes five days.", [source()], "How long?", 0.7, 0.38, {"a": 0.7})


def test_it_is_a_dict_everywhere(answer: CitedAnswer) -> None:
    plain = {"response": "A refund takes five days.", "sources": [source()]}
    assert answer == plain and repr(answer) == repr(plain)
    assert json.dumps(answer) == json.dumps(plain) and codec.dumps(answer) == codec.dumps(plain)
    assert CallKeys.of(blake2b(), answer) == CallKeys.of(blake2b(), plain)
    assert is_literal(answer) and literal(answer) == literal(plain)
    for again in (pickle.loads(pickle.dumps(answer)), copy.deepcopy(answer)):
        assert again == plain and again.question == "How long?"


def test_a_trace_keeps_it_as_it_was(answer: CitedAnswer) -> None:
    kept = snapshot(answer)
    answer["sources"][0]["text"] = "changed"
    answer["response"] = "changed"
    assert type(kept) is CitedAnswer and kept.best == 0.7
    assert kept == {"response": "A refund takes five days.", "sources": [source()]}


def test_a_sentence_has_its_place_in_a_source(answer: CitedAnswer) -> None:
    (cited,) = answer.citations
    assert answer["response"][slice(*cited.at)] == "A refund takes five days."
    assert TEXT[cited.start : cited.end] == "**A refund** takes five days."


@settings(max_examples=100, deadline=None)
@given(SENTENCES, st.lists(SENTENCES, max_size=3))
def test_the_marked_text_is_that_of_the_source(said: list[str], texts: list[list[str]]) -> None:
    sources = [source(" ".join(words)) for words in texts]
    made = CitedAnswer(" ".join(said), sources)
    cited = [(c.source, c.start, c.end) for c in made.citations]
    wanted = [sources[place]["text"][start:end] for place, start, end in sorted(set(cited))]
    marked = re.findall("<em[^>]*>(.*?)</em>", made._view().html(), re.DOTALL)
    # each once around its mark and once in the whole passage
    assert sorted(marked) == sorted(wanted * 2) and all(wanted)


def test_a_sentence_without_half_of_its_words_in_a_source_has_none() -> None:
    assert citations("Kettles boil water daily and refund.", [TEXT]) == []
    assert citations("It is so.", [TEXT]) == []
    assert [c.source for c in citations("The bank needs it.", ["No.", TEXT, TEXT])] == [1]


def test_it_shows_its_heading_similarity_and_mark() -> None:
    heading = {"title": "Refunds", "heading": "Refunds > How long"}
    long = "Before. " * 60 + TEXT[11:] + " After." * 60
    made = CitedAnswer("A refund takes five days.", [source(long, **heading)], "Q?", 0.7)
    made.similarities = {"a": 0.7}
    html = made._view().html()
    assert "Refunds › How long" in html and ">0.700<" in html
    assert html.index(">… Before.") < html.index("<em") < html.index("…</div>")
    assert "How long? " not in made._view().plain()


def test_unknown_says_how_near_the_best_passage_was() -> None:
    shown = CitedAnswer("I do not know.", [], "Q?", 0.123, 0.38)._view().plain()
    assert "The nearest passage scored 0.12; an answer needs 0.38." in shown
    assert "No passage" in CitedAnswer("I do not know.", [])._view().plain()


def test_it_shows_what_is_left_of_it(answer: CitedAnswer) -> None:
    del answer["sources"]
    assert answer._view().plain().startswith("Answer · 0 sources\nHow long?\nA refund")
    answer.clear()
    assert answer._repr_mimebundle_()["text/plain"] == "{}"


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_text_is_only_text(evil: str) -> None:
    made = CitedAnswer(f"{evil} word.", [source(f"{evil} word.", title=evil, k=evil)], evil)
    seen = Seen(made._view().html())
    assert seen.tags <= {"div", "span", "b", "sup", "em", "details", "summary"}
    assert seen.attributes <= {"style"}
