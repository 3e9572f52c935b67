"""TokenClassifier on other tokenizers: pieces of sentences, and bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from tests.models.text.taggers import BIO, found, made


def metaspace() -> Tokenizer:
    """Return a tokenizer like XLM-RoBERTa's."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0), (".", -3.0)]
    pieces += [
        (piece, -2.0) for piece in ("▁anna", "▁new", "▁york", "er", "▁so", "zoe", "東", "京", "ly")
    ]
    pieces += [(character, -9.0) for character in "anewyorkszl,"]
    made = Tokenizer(models.Unigram(pieces, unk_id=3))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    made.decoder = decoders.Metaspace()
    made.add_special_tokens(["<s>", "<pad>", "</s>"])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return made


def byte_level() -> Tokenizer:
    """Return a tokenizer like RoBERTa's, whose tokens hold the blank before a word."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [
        ("Ġ", "a"),
        ("Ġa", "n"),
        ("Ġan", "n"),
        ("Ġann", "a"),
        ("a", "n"),
        ("an", "n"),
        ("ann", "a"),
    ]
    vocabulary = {token: i for i, token in enumerate([*alphabet, *(a + b for a, b in merges)])}
    made = Tokenizer(models.BPE(vocabulary, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    made.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[(token, made.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    return made


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("so anna.", [("PER", "anna")]),  # the full stop is in the same piece of text
        ("annaer new york so", [("PER", "annaer"), ("LOC", "new york")]),
        ("so 東京", [("LOC", "東京")]),
        ("ａｎｎａ so", [("PER", "ａｎｎａ")]),  # full-width, which NFKC makes narrow
        ("  anna  ", [("PER", "anna")]),
    ],
)
def test_pieces_of_sentences_have_no_blanks_in_their_spans(
    tmp_path: Path, text: str, entities: Any
) -> None:
    model = made(
        tmp_path / "model",
        {"▁anna": 1, "▁new": 3, "▁york": 4, "東": 3, "京": 4},
        BIO,
        metaspace(),
        pad_token_id=1,
    )
    got = model.predict(text)
    assert found(got) == entities
    assert all(text[entity.start : entity.end] == entity.text for entity in got)


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("anna  anna", [("PER", "anna"), ("PER", "anna")]),
        ("é anna, anna😀", [("PER", "anna"), ("PER", "anna")]),
        ("annaé x", [("PER", "annaé")]),  # two bytes, two tokens, one character
    ],
)
def test_bytes_of_a_character_stay_together(tmp_path: Path, text: str, entities: Any) -> None:
    got = made(tmp_path / "model", {"Ġanna": 1, "anna": 1}, BIO, byte_level()).predict(text)
    assert found(got) == entities
    assert all(text[entity.start : entity.end] == entity.text for entity in got)
