"""The view of a generation and of a stream: figures, text, alternatives and branches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from conduit_lab.models.generation.generation_call import GenerationCall
from conduit_lab.models.generation.generation_view import MAX_BRANCHES, MAX_UNSURE_TOKENS
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.generation.token_stream import TokenStream
from tests.models.generation.writers import DECODERS


@pytest.fixture(scope="module")
def writer() -> Iterator[Generator]:
    made = Generator(DECODERS / "llama", device="cpu", rows=4).open()
    yield made
    made.unload()


def ended(stream: TokenStream) -> TokenStream:
    stream.wait(20)
    return stream


def shown(value: object) -> str:
    return str(value._repr_mimebundle_()["text/html"])  # type: ignore[attr-defined]


def words(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html)


def test_a_generation_shows_its_figures_and_its_text(writer: Generator) -> None:
    made = writer.generate("Our return policy", max_tokens=9)
    text = words(shown(made))
    assert re.search(r"tokens/s · first [\d.]+ [mµ]?s · 9 of 9 · prompt \d+ tokens", text)
    assert "Our return policy" in text
    assert shown(made).count("<em ") == sum(
        len(t) > 0 and t.probability < 0.99 for t in made.tokens
    )
    assert made._repr_mimebundle_()["text/plain"] == made


def test_a_stream_shows_its_state_and_its_progress(writer: Generator) -> None:
    stream = ended(writer.stream("Our return policy", max_tokens=9))
    assert re.search(r"✓ done · [\d.\u2009]+ tokens/s · first .* · 9 of 9", words(shown(stream)))
    assert stream._repr_mimebundle_()["text/plain"].endswith(stream.text)
    assert "<details" not in shown(stream)


def test_a_running_stream_is_shown(writer: Generator) -> None:
    stream = writer.stream("Our", max_tokens=190, logit_bias={0: -100, 2: -100})
    next(iter(stream))
    assert "of 190" in words(shown(stream))
    stream.cancel()
    assert "■ cancelled" in words(shown(stream))


def test_alternatives_that_were_asked_for_are_folded(writer: Generator) -> None:
    stream = ended(writer.stream("Our return policy", max_tokens=9))
    for position in range(8):
        stream.alternatives(position)
    html = shown(stream)
    assert f"alternatives of {MAX_UNSURE_TOKENS} tokens" in words(html)
    titles = [int(place) for place in re.findall(r"position (\d+), after", words(html))]
    unsure = sorted(range(8), key=lambda place: stream.tokens[place].logprob)
    assert titles == sorted(unsure[:MAX_UNSURE_TOKENS])
    assert "cut by greedy" in words(html)


def test_branches_are_folded_with_their_own_branches(writer: Generator) -> None:
    stream = ended(writer.stream("Our return policy", max_tokens=9))
    first = ended(stream.branch(3, " the"))
    ended(first.branch(5, " and"))
    html = shown(stream)
    folded = re.findall(r"branch at (\d): (\S+) · (\d+ tokens?) · ✓ done", words(html))
    assert [(at, count) for at, _, count in folded] == [("3", "6 tokens"), ("5", "4 tokens")]
    assert html.count("<details") == 2
    assert shown(first).count("<details") == 1


def test_branches_beyond_the_limit_are_counted(writer: Generator) -> None:
    stream = ended(writer.stream("Our", max_tokens=2))
    for token in range(MAX_BRANCHES + 3):
        ended(stream.branch(1, 40 + token))
    html = shown(stream)
    assert html.count("<details") == MAX_BRANCHES
    assert "3 more branches: stream.branches" in words(html)


def test_a_failed_stream_shows_its_error(
    writer: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(ids: object) -> None:
        raise RuntimeError("<out of memory>")

    monkeypatch.setattr(writer._parts().decoder, "step", fail)
    stream = ended(writer.stream("Our return policy", max_tokens=9))
    assert "RuntimeError: &lt;out of memory&gt;" in words(shown(stream))


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("as it is", ""),
        ([1, 2, 3], ""),
        ([{"role": "user", "content": "Hello?"}], "Hello?\n"),
        (
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Hello?"}]},
            ],
            "system: Be brief.\nuser: Hello?\n",
        ),
    ],
)
def test_a_chat_is_shown_as_its_messages_without_the_tokens_of_its_template(
    prompt: Any, shown: str
) -> None:
    assert GenerationCall(prompt)._conversation == shown
