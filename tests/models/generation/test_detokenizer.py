from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from conduit_lab.models.generation.detokenizer import IncrementalDetokenizer, TokenBytes

SENTENCES = [
    "the kettle is on the stove, and the pan is on the table.",
    "Der Kessel ist heiß; das Öl auch, sagt die Köchin.",
    "ケトルは熱いです。 the lid don't fit 🫖🫖 👩‍🍳",
    "  two  spaces\nand\ta tab END of it",
]
LETTERS = sorted({character for sentence in SENTENCES for character in sentence})


@cache
def byte_level() -> Any:
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_tokens([AddedToken("a tool é"), AddedToken("<tool>")])
    return tokenizer


@cache
def sentencepiece() -> Any:
    """The tokenizer type of the first Llama: metaspaces, and bytes for unknown characters."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", *"abcdefghijklmnopqrstuvwxyzDKÖß.,é", "▁t", "▁th", "▁the", "▁▁"]
    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e"), ("▁", "▁")]
    model = models.BPE(
        {piece: id for id, piece in enumerate(pieces)},
        merges,
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer: Any = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return tokenizer


@cache
def metaspace() -> Any:
    tokenizer: Any = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


@cache
def wordpiece() -> Any:
    tokenizer: Any = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=["[UNK]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


@cache
def suffixed() -> Any:
    """A tokenizer that marks the end of a word, as the first GPT's does."""
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder()
    trainer = trainers.BpeTrainer(vocab_size=150, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def test_special_tokens_are_found_in_any_of_the_texts() -> None:
    token = byte_level().token_to_id("</s>")
    assert TokenBytes(byte_level()).special_in(["a", "b</s>"]) == {token: "</s>"}


EVERY = [byte_level, sentencepiece, metaspace, wordpiece, suffixed]


def deltas(tokenizer: Any, ids: list[int], stop: tuple[str, ...] = ()) -> list[str]:
    text = IncrementalDetokenizer(tokenizer, stop)
    return [*(text.push(id) for id in ids), text.flush()]


@pytest.mark.parametrize("tokenizer", EVERY)
@settings(deadline=None)
@given(data=st.data())
def test_deltas_of_a_text_equal_the_tokenizers_decoding(tokenizer: Any, data: Any) -> None:
    text = data.draw(st.one_of(st.sampled_from(SENTENCES), st.text(LETTERS), st.text()))
    ids = tokenizer().encode(text).ids
    assert "".join(deltas(tokenizer(), ids)) == tokenizer().decode(ids)


@pytest.mark.parametrize("tokenizer", [byte_level, metaspace, wordpiece, suffixed])
@settings(deadline=None)
@given(data=st.data())
def test_deltas_of_any_tokens_equal_the_tokenizers_decoding(tokenizer: Any, data: Any) -> None:
    size = tokenizer().get_vocab_size()
    ids = data.draw(st.lists(st.integers(0, size - 1)))
    assert "".join(deltas(tokenizer(), ids)) == tokenizer().decode(ids)


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12))
def test_deltas_of_any_pieces_and_ascii_bytes_equal_the_tokenizers_decoding(
    ids: list[int],
) -> None:
    tokenizer = sentencepiece()
    # invalid UTF-8 is not compared: the tokenizer corrupts the valid bytes next to it
    ids = [id for id in ids if not 3 + 0x80 <= id < 3 + 0x100 and id < tokenizer.get_vocab_size()]
    assert "".join(deltas(tokenizer, ids)) == tokenizer.decode(ids)


@pytest.mark.parametrize("tokenizer", EVERY)
@settings(deadline=None)
@given(data=st.data())
def test_text_after_a_prompt_continues_the_tokenizers_decoding(tokenizer: Any, data: Any) -> None:
    backend = tokenizer()
    ids = backend.encode(
        "a " + data.draw(st.one_of(st.sampled_from(SENTENCES), st.text(LETTERS)))
    ).ids
    cut = data.draw(st.integers(1, len(ids)))
    while not backend.decode(ids[:cut]).strip("\ufffd") or backend.decode(ids[:cut]).endswith(
        "\ufffd"
    ):
        cut += 1  # the prompt ends with a complete character
        if cut > len(ids):
            return
    if not TokenBytes(backend).visible(ids[cut - 1]):
        return  # a text starts after a special token
    text = IncrementalDetokenizer(backend, after=ids[cut - 1])
    said = "".join([*map(text.push, ids[cut:]), text.flush()])
    assert backend.decode(ids[:cut]) + said == backend.decode(ids)


def test_every_character_round_trips_through_byte_level_tokens() -> None:
    text = "".join(map(chr, [*range(0x3000), *range(0x1F600, 0x1F650)]))
    assert "".join(deltas(byte_level(), byte_level().encode(text).ids)) == text


GOTHIC = "𐍈"  # a character in no training sentence: four bytes, four tokens


@pytest.mark.parametrize("tokenizer", [byte_level, sentencepiece])
def test_character_is_complete_with_its_last_token(tokenizer: Any) -> None:
    ids = tokenizer().encode(f"x{GOTHIC}").ids
    assert deltas(tokenizer(), ids)[-6:] == ["x", "", "", "", GOTHIC, ""]


def test_incomplete_character_is_replaced_at_the_end() -> None:
    ids = byte_level().encode(GOTHIC).ids
    assert deltas(byte_level(), ids[:2]) == ["", "", "\ufffd"]


def test_invalid_utf8_is_replaced() -> None:
    begin, *_, end = byte_level().encode(GOTHIC).ids
    letter = byte_level().token_to_id("x")
    assert deltas(byte_level(), [begin, letter]) == ["", "\ufffdx", ""]
    assert deltas(byte_level(), [end, letter]) == ["\ufffd", "x", ""]


def test_spaces_are_between_words_and_not_before_the_first() -> None:
    ids = sentencepiece().encode("the the  the").ids
    assert "".join(deltas(sentencepiece(), ids)) == "the the  the"
    assert deltas(sentencepiece(), ids)[0] == "the"
    ids = wordpiece().encode("the kettle, the pan.").ids
    assert "".join(deltas(wordpiece(), ids)) == wordpiece().decode(ids)
    assert deltas(wordpiece(), ids)[:1] == ["the"]


def test_special_and_unknown_tokens_add_nothing() -> None:
    ids = byte_level().encode("the pan").ids
    assert "".join(deltas(byte_level(), [0, *ids, 10**6, 1])) == "the pan"


def test_token_bytes_are_shared_by_sequences() -> None:
    pieces = TokenBytes(byte_level())
    for sentence in SENTENCES:
        text = IncrementalDetokenizer(pieces)
        assert (
            "".join(text.push(id) for id in byte_level().encode(sentence).ids) + text.flush()
            == sentence
        )


# Stop strings


def before_first(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    """Return a text up to the stop string that is complete first, read character by character."""
    for end in range(len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(stop):
                return text[: end - len(stop)], True
    return text, False


@pytest.mark.parametrize("tokenizer", [byte_level, sentencepiece, wordpiece])
@settings(deadline=None)
@given(data=st.data())
def test_text_ends_before_the_stop_sequence_whatever_the_token_boundaries(
    tokenizer: Any, data: Any
) -> None:
    few = st.text("ab é🦉.", max_size=12)
    ids = tokenizer().encode(data.draw(few)).ids
    stops = tuple(
        data.draw(st.lists(st.text("ab é🦉.", min_size=1, max_size=4), min_size=1, max_size=3))
    )
    text = IncrementalDetokenizer(tokenizer(), stops)
    got = "".join([*(text.push(id) for id in ids), text.flush()])
    assert (got, text.stopped) == before_first(tokenizer().decode(ids), stops)


def test_only_a_possible_start_of_a_stop_sequence_is_held_back() -> None:
    ids = [byte_level().token_to_id(letter) for letter in "aENxEND"]
    assert deltas(byte_level(), ids, ("END",)) == ["a", "", "", "ENx", "", "", "", ""]
    assert deltas(byte_level(), ids[:3], ("END",)) == ["a", "", "", "EN"]


def test_stop_sequence_spells_the_longest_special_token() -> None:
    tokenizer: Any = Tokenizer.from_str(byte_level().to_str())
    tokenizer.add_special_tokens(["<e", "<e>"])
    text = IncrementalDetokenizer(tokenizer, ("<e>",))
    assert text.push(tokenizer.token_to_id("<e>")) == ""
    assert text.stopped


def test_byte_level_decoder_with_further_steps() -> None:
    tokenizer: Any = Tokenizer.from_str(byte_level().to_str())
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("t", "T")])
    ids = tokenizer.encode("that kettle").ids
    assert "".join(deltas(tokenizer, ids)) == tokenizer.decode(ids) == "ThaT keTTle"


def test_nothing_is_added_after_the_stop_sequence() -> None:
    text = IncrementalDetokenizer(byte_level(), ("b",))
    letters = [byte_level().token_to_id(letter) for letter in "abab"]
    assert [text.push(id) for id in letters] == ["a", "", "", ""]
    assert text.stopped
    assert text.flush() == ""


def test_cost_of_a_push_does_not_grow_with_the_text() -> None:
    class Counted:
        """A tokenizer that records the number of tokens of each decoding."""

        def __init__(self) -> None:
            self.lengths: list[int] = []

        def __getattr__(self, name: str) -> Any:
            return getattr(metaspace(), name)

        def decode(self, ids: list[int]) -> str:
            self.lengths.append(len(ids))
            return str(metaspace().decode(ids))

    counted = Counted()
    ids = metaspace().encode(SENTENCES[0] * 20).ids
    text = IncrementalDetokenizer(counted, ("never there",))
    decodings = []
    for id in ids:
        text.push(id)
        decodings.append(len(counted.lengths))
    assert max(counted.lengths) <= 2
    assert max(after - before for before, after in pairwise(decodings)) <= 2
