"""Token streams: alternatives to their tokens, their text, constraints and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import InputError
from conduit_lab.core.trace.recorder import record
from conduit_lab.models.generation.generator import Generator
from tests.models.generation.chains import chain
from tests.models.generation.token_streams import (
    PROMPT,
    WARM,
    chained,
    ended,
    id_list,
    prefilled,
    prompt_ids,
    until,
)
from tests.models.generation.tokenizers_of import LETTER_OF, byte_level, metaspace, sentence_piece
from tests.models.generation.writers import DECODERS


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def writer(request: pytest.FixtureRequest) -> Iterator[Generator]:
    """A cache of one buffer, and one that grows."""
    made = Generator(DECODERS / request.param, device="cpu", rows=4).open()
    yield made
    made.unload()


@pytest.fixture(scope="module")
def llama() -> Iterator[Generator]:
    made = Generator(DECODERS / "llama", device="cpu", rows=4).open()
    yield made
    made.unload()


# Alternatives


@pytest.mark.parametrize("how", [{}, WARM])
def test_alternatives_are_those_of_the_step(writer: Generator, how: dict[str, Any]) -> None:
    stream = ended(writer.stream(PROMPT, max_tokens=12, logprobs=5, **how))
    for token in stream.tokens:
        found = {each.id: each for each in stream.alternatives(token.position)}
        assert found[token.id].cut is None
        assert found[token.id].probability == pytest.approx(token.probability, abs=1e-4)
        for id, logprob in token.tops:
            assert found[id].probability == pytest.approx(np.exp(logprob), abs=1e-4)


def test_alternatives_equal_a_run_over_the_whole_text(llama: Generator) -> None:
    stream = ended(llama.stream(PROMPT, max_tokens=12))
    found = {each.id: each.probability for each in stream.alternatives(7)}
    ids = [*prompt_ids(llama), *id_list(stream)[:7]]
    decoder = Generator(DECODERS / "llama", device="cpu", rows=1).open()._parts().decoder
    with decoder.held():
        logits = decoder.prefill(0, ids).astype(np.float64)
    raw = np.exp(logits) / np.exp(logits).sum()
    assert set(np.argsort(-raw)[:12].tolist()) <= set(found)
    assert found == pytest.approx({id: raw[id] for id in found}, abs=1e-4)


def test_alternatives_are_computed_once(writer: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ended(writer.stream(PROMPT, max_tokens=12))
    runs = prefilled(writer, monkeypatch)
    assert stream.alternatives(9) is stream.alternatives(9)
    assert runs == [1]
    assert list(stream.known) == [9]


def test_alternatives_of_a_running_stream_use_its_cache(
    llama: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = llama.stream(PROMPT, max_tokens=190, logit_bias={0: -100, 2: -100})
    until(lambda: stream.count > 10)
    runs = prefilled(llama, monkeypatch)
    first = stream.alternatives(4)
    assert not stream.finished
    assert runs == [1]
    stream.cancel()
    assert stream.tokens[4].id in {each.id for each in first}


def test_alternatives_in_a_callback_are_refused(llama: Generator) -> None:
    problems = []

    def ask(stream: Any) -> None:
        try:
            stream.alternatives(0)
        except RuntimeError as error:
            problems.append(str(error))

    stream = llama.stream(PROMPT, max_tokens=200, logit_bias={0: -100, 2: -100})
    stream.on_end(ask)
    until(lambda: bool(problems))
    assert "call them from another thread" in problems[0]


# Text


def test_the_prompt_is_its_text(llama: Generator) -> None:
    assert llama.stream(PROMPT, max_tokens=1).prompt == PROMPT
    chat = llama.stream([{"role": "user", "content": "Hello"}], max_tokens=1)
    assert chat.prompt == "Hello\n"  # without the tokens of its template
    assert type(chat.prompt) is str
    ids = prompt_ids(llama, "Kettle")
    assert llama.stream(ids, max_tokens=1).prompt == "Kettle"
    asked = llama.stream(query="How?", context=["So."], max_tokens=1)
    assert "How?" in asked.prompt
    assert asked.result(20).prompt == asked.prompt


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 99), position=st.integers(0, 23), token=st.integers(3, 380))
def test_common_text_and_own_text_are_the_whole(
    llama: Generator, seed: int, position: int, token: int
) -> None:
    root = ended(llama.stream("Kettle", max_tokens=24, temperature=1.5, seed=seed))
    position %= len(root.tokens)
    branch = root.branch(position, token)
    own = "".join(each.text for each in branch)
    common = "".join(each.text for each in root.tokens[:position])
    assert common + own == branch.text == branch.result()
    decoded = llama._parts().tokenizer.backend.decode(
        [*prompt_ids(llama, "Kettle"), *id_list(branch)]
    )
    assert decoded == "Kettle" + branch.text


EMOJI = [LETTER_OF[byte] for byte in "🙂".encode()]


@pytest.fixture
def bytes_writer(tmp_path: Path) -> Iterator[Generator]:
    """A writer of an emoji, whose bytes are four tokens, and of a word."""
    tokenizer = byte_level()
    made = chained(tmp_path, tokenizer, "x", *EMOJI, "end", "</s>")
    yield made
    made.unload()


def test_a_branch_inside_a_character(bytes_writer: Generator) -> None:
    root = ended(bytes_writer.stream("x", max_tokens=8))
    assert root.text == "🙂end"
    backend = bytes_writer._parts().tokenizer.backend
    last = ended(root.branch(3, backend.token_to_id(LETTER_OF[0x83])))
    assert last.text[0] == "🙃"
    broken = ended(root.branch(2, backend.token_to_id("end")))
    assert broken.text.startswith("\ufffdend")


def test_alternatives_inside_a_character_have_its_text(bytes_writer: Generator) -> None:
    root = ended(bytes_writer.stream("x", max_tokens=8))
    chosen = [
        next(each.text for each in root.alternatives(place) if each.id == root.tokens[place].id)
        for place in range(6)
    ]
    assert chosen == [r"\xf0", r"\xf0\x9f", r"\xf0\x9f\x99", "🙂", "end", "</s>"]


def test_a_stop_sequence_across_the_branch(tmp_path: Path) -> None:
    tokenizer = byte_level()
    writer = chained(tmp_path, tokenizer, "x", "a", "b", "c", "d", "e", "</s>")
    root = ended(writer.stream("x", max_tokens=8, stop=["be", "cde"]))
    assert (root.text, root.result().finish_reason) == ("ab", "stop")
    branch = ended(root.branch(2, "e"))
    assert (branch.text, branch.result().finish_reason) == ("a", "stop")
    typed = ended(root.branch(2, "xbey"))
    assert typed.text == "abx"
    writer.unload()


@pytest.mark.parametrize("make", [sentence_piece, metaspace, byte_level])
def test_typed_text_is_written_as_it_is(tmp_path: Path, make: Callable[[], Any]) -> None:
    tokenizer = make()
    writer = Generator(
        chain(tmp_path, tokenizer, [0], noise=1.0, eos_token_id=2), device="cpu"
    ).open()
    root = ended(writer.stream("the fox", max_tokens=30, logit_bias={2: -100}))
    for text in ("end", " the", "the quick fox", "  a", "\n", "ä🙂", "<|im_end|>"):
        branch = ended(root.branch(0, text))
        shown = "" if text == "<|im_end|>" else text
        assert "".join(branch.tokens[: len(branch._request.chosen)]) == shown
    writer.unload()


# Constraints


def test_a_constraint_holds_in_a_branch(llama: Generator) -> None:
    root = ended(llama.stream(PROMPT, regex=r"(red|green|blue) [0-9]{3}", max_tokens=20))
    first = next(each for each in root.alternatives(0) if each.cut == "greedy")
    branch = ended(root.branch(0, first))
    color, _, number = branch.text.partition(" ")
    assert color in ("red", "green", "blue")
    assert number.isdigit()
    digits = next(at for at, token in enumerate(root.tokens) if token.text[-1:].isdigit())
    cut = {each.cut for each in root.alternatives(digits)}
    assert cut <= {None, "greedy", "constraint"}
    other = ended(root.branch(digits, "7"))
    assert other.text[: other.text.index(" ") + 2].endswith(" 7")
    assert len(other.text.partition(" ")[2]) == 3
    with pytest.raises(InputError, match=r"the constraint does not allow the token .* position 0"):
        root.branch(0, "x")


def test_a_typed_text_may_complete_a_constraint(llama: Generator) -> None:
    root = ended(llama.stream(PROMPT, choices=["yes", "no", "never"], max_tokens=20))
    result = ended(root.branch(0, "never")).result()
    assert (result, result.finish_reason) == ("never", "stop")
    with pytest.raises(InputError, match="the constraint does not allow"):
        root.branch(0, "yesno")


# Errors and traces


def test_a_wrong_position_is_named(llama: Generator) -> None:
    root = ended(llama.stream(PROMPT, max_tokens=4))
    given: list[Any] = [-1, 4, True, 1.0]
    for wrong in given:
        for call in (root.branch, root.alternatives):
            with pytest.raises(InputError, match=r"expects a position from 0 to 3.* got"):
                call(wrong)


def test_a_wrong_token_is_named(llama: Generator) -> None:
    root = ended(llama.stream(PROMPT, max_tokens=4))
    wrong: list[tuple[Any, str]] = [
        (llama.vocabulary, "expects tokens from 0 to"),
        (-1, "expects tokens from 0 to"),
        (1.5, "expects a token as its id, an Alternative or a text, got float"),
        (True, "got bool"),
        ("", "a non-empty text"),
        ("far too long for what is left", "a text of at most 2 tokens at position 2"),
    ]
    for token, message in wrong:
        with pytest.raises(InputError, match=message):
            root.branch(2, token)
    assert root.branches == []


def test_a_stream_without_a_token_says_so(llama: Generator) -> None:
    with llama._parts().scheduler._changed:
        stream = llama.stream(PROMPT, max_tokens=4)
        with pytest.raises(InputError, match="the stream has none yet: wait for the first"):
            stream.branch(0, 9)
    ended(stream)


def test_a_branch_is_a_span_of_its_own(llama: Generator) -> None:
    with record("test") as trace:
        root = ended(llama.stream(PROMPT, max_tokens=4))
        branch = ended(root.branch(2, 9))
    own = trace.spans("llama")
    assert [span.output for span in own] == [root.result(), branch.result()]
    assert own[1].input == [*prompt_ids(llama), *id_list(root)[:2], 9]


def test_a_branch_is_named_by_its_token(llama: Generator) -> None:
    root = ended(llama.stream("Kettle", max_tokens=4))
    branch = ended(root.branch(2, "the"))
    assert (root.name, branch.name) == ("Kettle", "Kettle › the")
    assert ended(branch.branch(3, " or")).name == "Kettle › or"
