"""Shortener: a prefix has exactly the first tokens of the whole text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from conduit_lab.models.text.shortening import Shortener
from conduit_lab.models.text.tokenizer import Tokenizer as Own
from tests.models import classifiers

LENGTH = 6  # tokens: texts of more than 192 characters are shortened
WORDS = [
    "anna",
    "new",
    "york",
    "东京",
    "é",
    "e\u0301",
    "[SEP]",
    "ab",
    "ﬃ",
    "😀",
    "İ",
    "\u0000",
    "²",
    "\u200d",
    "한국",
    "12",
]


def bert() -> Tokenizer:
    return classifiers.bert()


def cased() -> Tokenizer:
    made = classifiers.bert()
    made.normalizer = None
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def word_level() -> Tokenizer:
    made = Tokenizer(models.WordLevel({"anna": 0, "new": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


MERGES = [
    ("a", "b"),
    ("ab", "ab"),
    ("abab", "ab"),
    ("a", "a"),
    ("aa", "aa"),
    ("b", "b"),
    ("Ġ", "a"),
    ("n", "e"),
]


def byte_level(*, split: bool = True) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*alphabet, *(a + b for a, b in MERGES)])}
    made = Tokenizer(models.BPE(vocabulary, MERGES))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split)
    made.add_special_tokens([AddedToken("[SEP]", special=True), AddedToken("<s>", special=True)])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A <s>",
        pair="<s> $A <s> $B <s>",
        special_tokens=[("<s>", made.token_to_id("<s>"))],
    )
    return made


def whole() -> Tokenizer:
    """Return a tokenizer like Llama 2's: a text is one piece for byte-pair encoding."""
    vocabulary = {"<unk>": 0, "<s>": 1} | {f"<0x{byte:02X}>": 2 + byte for byte in range(256)}
    for piece in ("▁", "a", "b", "n", "e", "▁a", "ab", "abab", "nn"):
        vocabulary[piece] = len(vocabulary)
    merges = [("▁", "a"), ("a", "b"), ("ab", "ab"), ("n", "n")]
    made = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.ByteFallback()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return made


def unigram() -> Tokenizer:
    """Return a tokenizer like XLM-RoBERTa's."""
    pieces = [
        ("<s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -3.0),
        ("▁anna", -2.0),
        ("new", -2.5),
        ("ab", -2.2),
        ("aba", -2.4),
    ]
    pieces += [("baba", -3.5), ("ffi", -2.0), *((character, -4.0) for character in "abnewyork")]
    made = Tokenizer(models.Unigram(pieces, unk_id=1))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A <s>", pair="<s> $A <s> $B <s>", special_tokens=[("<s>", 0)]
    )
    return made


KINDS: list[Callable[[], Tokenizer]] = [bert, cased, word_level, byte_level, whole, unigram]
RUNS = st.tuples(
    st.sampled_from([*WORDS, "a", "ab", "b", "x", " ", "\n", "-", "aab"]), st.integers(1, 400)
).map(lambda run: run[0] * run[1])
TEXTS = st.lists(st.sampled_from([*WORDS, " ", "  ", "\n", ",", "'s"]) | RUNS, max_size=40).map(
    "".join
)


def made(path: Path, backend: Tokenizer) -> tuple[Own, Tokenizer]:
    """Return the package's tokenizer, and one that truncates after tokenising all."""
    backend.save(str(path / "tokenizer.json"))
    own = Own(path / "tokenizer.json", LENGTH)
    backend.enable_truncation(LENGTH)
    return own, backend


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Own, Tokenizer]:
    return made(tmp_path_factory.mktemp("tokenizer"), request.param())


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=TEXTS, other=TEXTS)
@example(text="x" * 3000 + " anna new york", other="anna")
@example(text="x" * 5000 + "²" + "x" * 5000 + " anna", other=" " * 5000 + "anna " * 300)
@example(text="ab" * 4000, other="aab" * 4000)
@example(text="\n" * 4000 + "anna", other="e\u0301" * 3000)
@example(text="ﬃ" * 3000, other="东京" * 3000)
@example(text="", other="anna" * 3000 + "[SEP]" * 40)
def test_the_tokens_are_those_of_the_whole_text(
    both: tuple[Own, Tokenizer], text: str, other: str
) -> None:
    own, backend = both
    assert own.ids([text, other]) == [backend.encode(text).ids, backend.encode(other).ids]
    got = own.encode([text, other])
    assert [(e.ids, e.type_ids) for e in got] == [
        (e.ids, e.type_ids) for e in map(backend.encode, (text, other))
    ]


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=TEXTS, other=TEXTS, ends=st.tuples(st.integers(0, 64), st.integers(0, 64)))
@example(text="anna " * 20, other="anna " * 20, ends=(64, 64))
@example(text="anna " * 20, other="anna " * 20, ends=(64, 60))
@example(text="anna " * 20, other="anna " * 20, ends=(60, 64))
def test_of_a_pair_the_longer_text_keeps_a_token_more(
    both: tuple[Own, Tokenizer], text: str, other: str, ends: tuple[int, int]
) -> None:
    own, backend = both
    text, other = (
        text[: ends[0]],
        other[: ends[1]],
    )  # the backend combines each window with every other
    got, expected = own.encode([(text, other)])[0], backend.encode(text, other)
    assert (got.ids, got.type_ids, bool(got.overflowing)) == (
        expected.ids,
        expected.type_ids,
        bool(expected.overflowing),
    )


BIG = 400_000


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (bert, "anna, new york " * (BIG // 15)),
        (bert, "x" * BIG),
        (bert, "é" * BIG),
        (bert, "0123456789" * (BIG // 10)),
        (bert, " " * BIG),
        (bert, "东京" * (BIG // 2)),
        (bert, "x" * (BIG // 2) + " " * (BIG // 2) + "anna"),
        (cased, "xyz1" * (BIG // 4)),
        (byte_level, "ab" * (BIG // 2)),
        (byte_level, " anna" * (BIG // 5)),
        (whole, "ab ab " * (BIG // 6)),
        (whole, "😀" * BIG),
        (unigram, "new" * (BIG // 3)),
        (unigram, "anna new " * (BIG // 9)),
    ],
)
def test_at_most_a_few_times_max_length_is_tokenised(
    kind: Callable[[], Tokenizer], text: str
) -> None:
    backend = kind()
    backend.enable_truncation(LENGTH)
    counted = _Counting(backend)
    assert len(Shortener(counted, LENGTH)(text)) < 5000
    assert counted.characters < 20_000


class _Counting:
    """A backend that counts the characters it is given."""

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        self.characters = 0

    def encode(self, text: str, **options: Any) -> Any:
        self.characters += len(text)
        return self._backend.encode(text, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def test_an_added_token_within_letters_is_found(tmp_path: Path) -> None:
    backend = bert()
    backend.add_tokens([AddedToken("zz", normalized=False)])
    own, plain = made(tmp_path, backend)
    text = "x" * 4000 + "zz" + "x" * 40_000 + " anna"
    assert own.ids([text]) == [plain.encode(text).ids]
    assert plain.token_to_id("zz") in plain.encode(text).ids


def test_tokens_longer_than_the_first_attempt_need_more_of_the_text(tmp_path: Path) -> None:
    pieces = [
        ("a" * 2**i, "a" * 2**i) for i in range(7)
    ]  # up to 128 characters; 48 are tried first
    vocabulary = {"a" * 2**i: i for i in range(8)} | {"b": 8}
    own, plain = made(tmp_path, Tokenizer(models.BPE(vocabulary, pieces)))
    for text in ("a" * 50_000, "a" * 49_999 + "b", "ab" * 20_000):
        assert own.ids([text]) == [plain.encode(text).ids]


def test_a_text_that_is_counted_is_not_shortened(tmp_path: Path) -> None:
    bert().save(str(tmp_path / "tokenizer.json"))
    assert len(Own(tmp_path / "tokenizer.json", 2**30).ids(["anna " * 5000])[0]) == 5002


def test_windows_are_of_the_whole_text(tmp_path: Path) -> None:
    bert().save(str(tmp_path / "tokenizer.json"))
    for stride in (0, 1, 2):
        (first,) = Own(tmp_path / "tokenizer.json", LENGTH, stride=stride).encode(["anna " * 5000])
        assert [first, *first.overflowing][-1].offsets[-2] == (24_995, 24_999)


def test_files_are_read_as_they_are(tmp_path: Path) -> None:
    """A file with its own truncation, on the left, and with a stride."""
    path = tmp_path / "tokenizer.json"
    bert().save(str(path))
    content = json.loads(path.read_text("utf-8"))
    content["truncation"] = {
        "direction": "Left",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 1,
    }
    path.write_text(json.dumps(content), "utf-8")
    assert Own(path, LENGTH).ids(["new york " + "anna " * 5000]) == [[2, 11, 12, 10, 10, 3]]
