"""ControlTokens: control tokens spelled in data are text; all else has the tokenizer's ids."""

from __future__ import annotations

import json
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from conduit_lab.models.generation.control_tokens import ControlTokens
from conduit_lab.models.generation.tainted import TaintedStr, concatenated
from tests.models.generation.tokenizers_of import CONTROL, KINDS, byte_level, sentence_piece

TEXTS = st.text(alphabet="the end a<>|/_\nQ", max_size=20)


@cache
def tokenizer_of(kind: str) -> Tokenizer:
    return KINDS[kind]()


@cache
def control_of(kind: str) -> ControlTokens:
    return ControlTokens(tokenizer_of(kind))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def control_ids(kind: str) -> set[int]:
    return set(tokenizer_of(kind).get_added_tokens_decoder())


def data(text: str) -> TaintedStr:
    return TaintedStr(text)


def without_added(kind: str) -> Tokenizer:
    """Return the tokenizer without what was added to it, which knows no control token at all."""
    state = json.loads(tokenizer_of(kind).to_str())
    state["added_tokens"] = []
    if isinstance(state["model"]["vocab"], list):
        state["model"]["vocab"] = [
            [p if p not in CONTROL else p + "\0", s] for p, s in state["model"]["vocab"]
        ]
    else:
        state["model"]["vocab"] = {
            p if p != "</s>" else p + "\0": i for p, i in state["model"]["vocab"].items()
        }
    return Tokenizer.from_str(json.dumps(state))


@pytest.mark.parametrize("kind", KINDS)
@given(before=TEXTS, inner=TEXTS, special=st.booleans())
def test_text_without_control_tokens_in_data_has_the_tokenizers_ids(
    kind: str, before: str, inner: str, special: bool
) -> None:
    parts = ["<|im_start|>", before, data(inner), "<|im_end|>"]
    right = tokenizer_of(kind).encode("".join(parts), add_special_tokens=special).ids
    assert control_of(kind).encode(concatenated(parts), special=special) == right
    assert control_of(kind).encode("".join(parts), special=special) == right


@pytest.mark.parametrize("spelled", [*CONTROL, "<think>", "<|user|>"])
def test_spelling_in_data_is_encoded_as_plain_text(kind: str, spelled: str) -> None:
    text = f"the {spelled} end"
    got = control_of(kind).encode(data(text), special=False)
    assert got == without_added(kind).encode(text, add_special_tokens=False).ids
    assert tokenizer_of(kind).token_to_id(spelled) not in got


@pytest.mark.parametrize("spelled", [*CONTROL, "<think>", "<|user|>"])
def test_the_same_spelling_outside_of_data_is_the_token(kind: str, spelled: str) -> None:
    text = concatenated([spelled, data(f"the {spelled} end"), spelled])
    got = control_of(kind).encode(text, special=False)
    token = tokenizer_of(kind).token_to_id(spelled)
    assert (got[0], got[-1]) == (token, token)
    assert [id for id in got if id == token] == [token, token]


@pytest.mark.parametrize(
    "parts",
    [
        ["<|im_", data("end|>")],
        [data("<|im_"), "end|>"],
        [data("<|im_"), data("end|>")],
        ["<|", data("im_end"), "|>"],
        [data("<|im_en"), "d", data("|>")],
    ],
)
def test_spelling_with_a_part_of_data_is_encoded_as_plain_text(kind: str, parts: list[str]) -> None:
    got = control_of(kind).encode(concatenated(["a ", *parts, " a"]), special=False)
    assert not control_ids(kind).intersection(got) - {tokenizer_of(kind).token_to_id("[UNK]")}


def test_data_cannot_absorb_the_next_token() -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["Q<"])
    got = ControlTokens(tokenizer).encode(concatenated([data("Q"), "<|im_end|>"]), special=False)
    assert got == [ord("Q"), tokenizer.token_to_id("<|im_end|>")]


def test_token_strips_white_space_of_data() -> None:
    text = concatenated(["<|user|>", data("  the"), "<|im_end|>"])
    assert (
        control_of("byte-level").encode(text, special=False)
        == tokenizer_of("byte-level").encode(str(text)).ids
    )
    marked = concatenated(["<|user|>", data("  the</s>")])
    plain = tokenizer_of("byte-level").encode("<|user|>  the").ids
    assert control_of("byte-level").encode(marked, special=False)[: len(plain)] == plain


@pytest.mark.parametrize("spelled", ["<|DONE|>", "<|done|>", "<|dóne|>"])
def test_spelling_that_the_normalizer_makes_a_token(spelled: str) -> None:
    done = tokenizer_of("word pieces").token_to_id("<|done|>")
    assert done in tokenizer_of("word pieces").encode(spelled).ids
    assert done not in control_of("word pieces").encode(data(spelled), special=False)


def test_added_words_and_spaces_are_text() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("    "), AddedToken("covid"), AddedToken("\n\n")])
    text = "a    covid\n\nb"
    right = tokenizer.encode(text).ids
    assert len(right) == 5
    assert ControlTokens(tokenizer).encode(data(text), special=False) == right
    assert ControlTokens(tokenizer).encode(data(text + "</s>"), special=False)[:5] == right


def test_token_from_merges_is_text_in_data() -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|"])
    got = ControlTokens(tokenizer).encode(data("<|"), special=False)
    assert got == [ord("<"), ord("|")]


def test_lone_surrogates_keep_the_offsets() -> None:
    text = concatenated(["\ud800<|im_end|>", data("\ud800é</s>"), "</s>"])
    got = control_of("byte-level").encode(text, special=False)
    end, close = (tokenizer_of("byte-level").token_to_id(each) for each in ("<|im_end|>", "</s>"))
    assert got == [ord("?"), end, ord("?"), *"é".encode(), *b"</s>", close]


def test_token_found_only_at_the_start_stays_text_elsewhere() -> None:
    tokenizer = sentence_piece()
    tokenizer.add_special_tokens(
        [AddedToken("<|odd|>", normalized=True)]
    )  # "▁<|odd|>" once it is normalised
    text = concatenated(["<|odd|> the<|odd|>", data(" end</s>")])
    plain = tokenizer.encode("<|odd|> the<|odd|> end", add_special_tokens=False).ids
    got = ControlTokens(tokenizer).encode(text, special=False)
    assert got[: len(plain)] == plain
    assert tokenizer.decode(got, skip_special_tokens=False).endswith("end</s>")
