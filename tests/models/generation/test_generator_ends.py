"""Start and end of a generation: leading spaces, stop sequences, models without an end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from conduit_lab.core.errors import InputError, ModelInputError, ModelLoadError
from conduit_lab.models.generation.generator import Generator
from tests.models.generation.chains import chain
from tests.models.generation.tokenizers_of import (
    LETTER_OF,
    byte_level,
    metaspace,
    sentence_piece,
    unigram,
)


@contextmanager
def opened(
    path: Path, tokenizer: Tokenizer, tokens: list[int], **config: Any
) -> Iterator[Generator]:
    writer = Generator(chain(path, tokenizer, tokens, **config), device="cpu").open()
    yield writer
    writer.unload()


def ids(tokenizer: Tokenizer, *tokens: str) -> list[int]:
    found = [tokenizer.token_to_id(token) for token in tokens]
    assert None not in found
    return [id for id in found if id is not None]


# Leading spaces


@pytest.mark.parametrize("tokenizer", [sentence_piece(), metaspace()])
def test_text_after_a_word_starts_with_its_space(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = ids(tokenizer, "▁the", "▁quick", "▁fox", "</s>")
    with opened(tmp_path, tokenizer, path, eos_token_id=2) as writer:
        assert writer.generate("the") == " quick fox"
        assert [token.text for token in writer.stream("the")] == [" quick", " fox", ""]
        assert writer.generate(path[:1]) == " quick fox"


def test_text_after_an_empty_prompt_has_no_space(tmp_path: Path) -> None:
    tokenizer = sentence_piece()
    path = ids(tokenizer, "<s>", "▁quick", "▁fox", "</s>")
    with opened(tmp_path, tokenizer, path, eos_token_id=2, bos_token_id=1) as writer:
        assert writer.generate("") == "quick fox"
        assert writer.generate(path[:2]) == " fox"


def test_text_after_a_control_token_has_no_space(tmp_path: Path) -> None:
    tokenizer = sentence_piece()
    path = ids(tokenizer, "<|im_start|>", "▁quick", "▁fox", "</s>")
    with opened(tmp_path, tokenizer, path, eos_token_id=2) as writer:
        assert writer.generate(path[:1]) == "quick fox"


def test_pieces_of_a_unigram_model_keep_their_spaces(tmp_path: Path) -> None:
    tokenizer = unigram()
    path = ids(tokenizer, "end", "▁the", "a", "</s>")
    with opened(tmp_path, tokenizer, path, eos_token_id=path[-1]) as writer:
        assert writer.generate(path[:1]) == " thea"


def test_line_break_before_the_text_is_not_a_space(tmp_path: Path) -> None:
    tokenizer = sentence_piece()
    path = ids(tokenizer, "<0x0A>", "▁quick", "</s>")
    with opened(tmp_path, tokenizer, path, eos_token_id=2) as writer:
        assert writer.generate(path[:1]) == " quick"


@pytest.mark.parametrize("stop", [" quick", " ", " quick fox", " qui"])
def test_stop_sequence_may_start_with_the_first_space(tmp_path: Path, stop: str) -> None:
    tokenizer = sentence_piece()
    path = ids(tokenizer, "▁the", "▁quick", "▁fox", "</s>")
    with opened(tmp_path, tokenizer, path, eos_token_id=2) as writer:
        result = writer.generate("the", stop=stop)
        assert (result, result.finish_reason) == ("", "stop")


# Stop strings that contain special tokens


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("<|im_end|>", "hi"),
        ("<|im_end|>\n", "hi"),
        ("i<|im_end|>", "h"),
        ("i<|im_end|>\n", "h"),
        ("<|im_end|>\n<|im_start|>", "hi"),
        ("\n<|im_start|>", "hi"),
        (["?", "<|im_start|>"], "hi\n"),
        ("<|im_end|><|im_start|>", "hi\n!?"),
        ("<|im_end|>!", "hi\n!?"),
        ("</s>", "hi\n!?"),
    ],
)
def test_stop_sequence_of_special_tokens(tmp_path: Path, stop: Any, text: str) -> None:
    tokenizer = byte_level()
    tokens = [
        ord(">"),
        *b"hi",
        *ids(tokenizer, "<|im_end|>"),
        ord("\n"),
        *ids(tokenizer, "<|im_start|>"),
    ]
    with opened(tmp_path, tokenizer, [*tokens, *b"!?", *ids(tokenizer, "</s>")]) as writer:
        result = writer.generate(">", stop=stop, max_tokens=8)
        assert result == text
        assert "".join(writer.stream(">", stop=stop, max_tokens=8)) == text
        assert result.finish_reason == ("length" if text == "hi\n!?" and stop != "</s>" else "stop")


def test_stop_sequence_generated_letter_by_letter(tmp_path: Path) -> None:
    tokenizer = byte_level()
    with opened(tmp_path, tokenizer, [*b"ah</s>"]) as writer:
        assert writer.generate("a", stop="</s>") == "h"
        assert writer.generate("a", stop="</s>!", max_tokens=5) == "h</s>"


# Ends


def test_choices_need_no_end_of_sequence(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_str(byte_level().to_str())
    with opened(tmp_path, tokenizer, [], noise=1.0) as writer:
        for seed in range(4):
            result = writer.generate(">", choices=["yes", "no"], temperature=2.0, seed=seed)
            assert (str(result) in ("yes", "no"), result.finish_reason) == (True, "stop")
        assert writer.generate(">", regex="ab?c", max_tokens=9) in ("abc", "ac")
        assert writer.generate(">", json_schema={"type": "boolean"}, max_tokens=9) in (
            "true",
            "false",
        )


def test_choices_need_no_special_token(tmp_path: Path) -> None:

    tokenizer = Tokenizer(
        models.BPE(vocab={letter: byte for byte, letter in LETTER_OF.items()}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    with opened(tmp_path, tokenizer, [], noise=1.0) as writer:
        assert writer.generate(">", choices=["yes", "no"]) in ("yes", "no")


def test_shorter_choice_may_end_at_a_special_token(tmp_path: Path) -> None:
    tokenizer = byte_level()
    with opened(
        tmp_path, tokenizer, [ord(">"), ord("a"), *ids(tokenizer, "<|im_start|>")], noise=0.1
    ) as writer:
        assert writer.generate(">", choices=["a", "ab"]) in ("a", "ab")


@pytest.mark.parametrize("given", [{"regex": "a{1000000}"}, {"regex": "(a{1000}){1000}"}])
def test_too_costly_pattern_is_an_input_error(tmp_path: Path, given: dict[str, Any]) -> None:
    with (
        opened(tmp_path, byte_level(), [], noise=1.0) as writer,
        pytest.raises(InputError, match="cannot"),
    ):
        writer.generate(">", max_tokens=8, **given)


# More tokens than logits


def test_tokens_without_logits_are_never_generated(tmp_path: Path) -> None:
    tokenizer = byte_level()
    width = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<image>", "<pad>", "<video>"])
    with opened(tmp_path, tokenizer, [*b">ab"], logits=width, noise=0.1) as writer:
        assert writer.vocabulary == width
        assert writer.generate(">", max_tokens=2) == "ab"
        assert (
            max(
                token.id
                for token in writer.generate(">", max_tokens=40, temperature=5.0, seed=1).tokens
            )
            < width
        )
        assert writer.generate(">", choices=["yes", "no"]) in ("yes", "no")


def test_token_without_embedding_is_rejected_in_a_prompt(tmp_path: Path) -> None:
    tokenizer = byte_level()
    width = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<image>"])
    with opened(tmp_path, tokenizer, [*b">ab"], logits=width) as writer:
        with pytest.raises(ModelInputError, match=f"token {width} .*'<image>'"):
            writer.generate("<image>>", max_tokens=1)
        with pytest.raises(ModelInputError, match=f"0 to {width - 1}"):
            writer.generate([width], max_tokens=1)
        assert writer.generate(query="<image>>", context=[], max_tokens=1)


def test_token_with_an_embedding_but_no_logit_is_accepted_in_a_prompt(tmp_path: Path) -> None:
    tokenizer = byte_level()
    width = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<image>"])
    with opened(tmp_path, tokenizer, [width, *b"ab"], logits=width, embedded=width + 1) as writer:
        assert writer.generate("<image>", max_tokens=2) == "ab"
        assert writer.generate([width], max_tokens=2, repetition_penalty=1.5) == "ab"
        with pytest.raises(InputError, match="logit_bias"):
            writer.generate(">", logit_bias={width: 1.0})


def test_tokenizer_of_another_model_is_rejected(tmp_path: Path) -> None:
    folder = chain(tmp_path, byte_level(), [*b">ab"], logits=200)
    with pytest.raises(ModelLoadError, match="belongs to another model"):
        Generator(folder, device="cpu").open()
