"""found_card: a heading, a snippet around the match, and the metadata that differs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from conduit_lab.vectors.found_card import SNIPPET_CHARACTERS, found_card, heading_of
from conduit_lab.vectors.hits import Hit, Hits
from conduit_lab.vectors.store import VectorStore
from tests.core.views.test_html import EVIL, Seen

METADATA = {"title": "Refunds", "heading": "Refunds > How long", "line": 3, "start": 0, "end": 9}


def marks(html: str) -> list[str]:
    return re.findall("<em[^>]*>(.*?)</em>", html)


def test_title_and_headings_lead_and_offsets_are_left_out() -> None:
    card = found_card("# Refunds\n\n## How long\n\nFive **days**.", METADATA, "a#0")
    assert card.title == "Refunds › How long" and card.facts == ["line: 3"]
    assert card.pieces[0].plain() == "Five days."
    assert heading_of({"title": "T", "heading": "A > B"}) == "T › A › B"
    assert found_card("x", {}, "a#0").title == "a#0"


def test_the_snippet_is_around_the_match_with_its_words_marked() -> None:
    text = "Filler of a page. " * 60 + "Refunds take five days. " + "More of it. " * 60
    card = found_card(text, {}, "a", "How long does a refund take?")
    plain = card.pieces[0].plain()
    assert plain.startswith("… Refunds take five days.") and plain.endswith(" …")
    assert len(plain) <= SNIPPET_CHARACTERS + 4
    assert marks(card.html()) == ["Refunds", "take"]


def test_a_match_in_a_long_sentence_is_shown() -> None:
    text = "word " * 300 + "<refund> " + "word " * 300
    assert marks(found_card(text, {}, "a", "refunds").html()) == ["refund"]
    assert marks(found_card("x" * 5000 + " refund", {}, "a", "refunds").html()) == ["refund"]


def test_without_a_match_it_is_the_beginning() -> None:
    assert found_card("One. Two.", {}, "a", "kettle").pieces[0].plain() == "One. Two."
    assert found_card(None, {}, "a", "kettle").pieces[0].plain() == "no text"


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_text_is_only_text(evil: str) -> None:
    hit = Hit(id=evil, score=2.0, content=f"{evil} word", metadata={evil: evil})
    hits = Hits([hit, Hit(hit, metadata={evil: "b"})], evil, evil, None, f"{evil} word")
    for view in (hits._view(), hit._view()):
        seen = Seen(view.html())
        assert seen.tags <= {"div", "span", "b", "em", "wbr"} and seen.attributes <= {"style"}


def test_hits_know_their_query() -> None:
    with VectorStore(2, name="notes") as store:
        store.add("a", [1.0, 0.0], {"k": 1}, "The kettle boils.")
        store.add("b", [0.9, 0.1], {"k": 1}, "The kettles leak.")
        words = store.search("kettle", mode="lexical")
        assert words.query == "kettle" and "hits for 'kettle' in notes" in repr(words)
        html = words._repr_mimebundle_()["text/html"]
        assert sorted(marks(html)) == ["kettle", "kettles"]
        assert html.count("k: 1") == 1 and "all: k: 1" in html
        vectors = store.search([1.0, 0.0])
        assert vectors.query is None
        assert "query: an embedding" in vectors._repr_mimebundle_()["text/html"]
        entry = store["a"]._repr_mimebundle_()
        assert "The kettle boils." in entry["text/html"] and "2 values" in entry["text/html"]
        assert entry["text/plain"].startswith("Entry(id='a'")


def test_hits_by_meaning_know_their_query_and_fused_ones_their_similarities() -> None:
    class Lengths:
        dimension = 2

        def encode(self, texts: Any) -> Any:
            made = [[1.0, len(text)] for text in ([texts] if isinstance(texts, str) else texts)]
            return np.array(made[0] if isinstance(texts, str) else made, np.float32)

    with VectorStore(embedder=Lengths()) as store:
        store.add("a", None, {}, "The kettle boils.")
        store.add("b", None, {}, "Mugs.")
        dense = store.search("kettle")
        fused = store.search("kettle", mode="hybrid")
    assert (dense.query, fused.query) == ("kettle", "kettle")
    assert fused.similarities == {hit.id: hit.score for hit in dense}


def test_distances_have_the_longest_bar_first() -> None:
    hits = Hits([Hit(id=str(n), score=n, content="", metadata={}) for n in (1.0, 2.0, 4.0)])
    assert re.findall(r"\.35\) ([\d.]+)%,", hits._view().html()) == ["100.0", "50.0", "25.0"]
