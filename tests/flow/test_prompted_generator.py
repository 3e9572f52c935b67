"""A generator is asked with the prompt and the options of its Rag: whole, in chunks, counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from conduit_lab.flow.prompt_template import PromptTemplate
from conduit_lab.flow.prompted_generator import PromptedGenerator


class Echo:
    """A generator that repeats its prompt; a token is a word."""

    name = "echo"
    context = 20

    def __init__(self) -> None:
        self.closed = 0

    def generate(self, query: Any = "", context: Sequence[str] = (), **options: Any) -> str:
        return f"{query}|{'+'.join(context)}|{options}"

    def count_tokens(self, query: Any = "", context: Sequence[str] = ()) -> int:
        return len([query, *context])


class Streaming(Echo):
    """One that streams."""

    def stream(self, query: Any = "", context: Sequence[str] = (), **_: Any) -> Iterator[str]:
        try:
            yield from (query, *context)
        finally:
            self.closed += 1


def test_the_question_the_passages_and_the_options_are_given() -> None:
    asked = PromptedGenerator(Echo(), None, {"max_tokens": 3})
    assert asked.text("q", ["a", "b"]) == "q|a+b|{'max_tokens': 3}"
    assert list(asked.chunks("q", ["a"])) == ["q|a|{'max_tokens': 3}"]  # it does not stream
    assert asked.tokens("q", ["a", "b"]) == 3


def test_a_template_is_the_prompt() -> None:
    asked = PromptedGenerator(Echo(), PromptTemplate("{context}: {query}"), {})
    assert "a\n\nb: q" in asked.text("q", ["a", "b"])


def test_chunks_come_one_by_one_and_an_abandoned_stream_is_closed() -> None:
    generator = Streaming()
    asked = PromptedGenerator(generator, None, {})
    assert list(asked.chunks("q", ["a", "b"])) == ["q", "a", "b"]
    chunks = asked.chunks("q", ["a", "b"])
    next(chunks)
    chunks.close()
    assert generator.closed == 2


@pytest.mark.parametrize(("max_tokens", "most"), [(4, 15), (100, 9)])
def test_passages_fit_beside_the_answer_which_takes_half_at_most(
    max_tokens: int, most: int
) -> None:
    fits = PromptedGenerator(Echo(), None, {"max_tokens": max_tokens}).fits("q")
    assert fits(["a"] * most)
    assert not fits(["a"] * (most + 1))


def test_a_generator_that_counts_nothing_takes_all() -> None:
    class Plain:
        name = "plain"

        def generate(self, query: Any, context: Sequence[str], **_: Any) -> str:
            return ""

    asked = PromptedGenerator(Plain(), None, {})
    assert asked.tokens("q", ["a"]) == 0
    assert asked.fits("q")(["a"] * 1000)
