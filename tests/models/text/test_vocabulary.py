"""Vocabulary: a tokenizer of another model is refused with both sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.models.load import load_model
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.models.text.tokenizer import Tokenizer as Own
from conduit_lab.models.text.vocabulary import Vocabulary
from tests.models import classifiers
from tests.models.text import embedders, rerankers

MINILM = Path(__file__).parents[3] / "data" / "models" / "minilm"


def sized(tokens: int) -> Tokenizer:
    """Return a tokenizer of this many tokens."""
    return classifiers.bert(*(f"word{i}" for i in range(tokens - len(classifiers.PIECES))))


def check(
    path: Path, tokenizer: Tokenizer, rows: int | None = None, config: Any = None, named: Any = None
) -> Own:
    tokenizer.save(str(path / "tokenizer.json"))
    own = Own(path / "tokenizer.json", 16)
    Vocabulary("model", config or {}, named or {}, rows).check(own)
    return own


@pytest.mark.parametrize(
    ("tokens", "rows"),
    [
        (30_522, 30_522),  # BERT
        (30_522, 30_528),  # nomic-embed, padded to a multiple of 64
        (50_280, 50_368),  # ModernBERT
        (32_100, 32_128),  # T5
        (25, 32),
        (25, 64),
        (257, 384),
        # in the proportion of multilingual MiniLM (250 002 of 250 037) and of mDeBERTa (250 101 of
        # 251 000)
        (25_000, 25_004),
        (25_010, 25_100),
        (12_800, 12_810),  # DeBERTa: 128 000 of 128 100
    ],
)
def test_a_table_may_have_some_rows_more(tmp_path: Path, tokens: int, rows: int) -> None:
    check(tmp_path, sized(tokens), rows=rows)
    check(tmp_path, sized(tokens), config={"vocab_size": rows})


@pytest.mark.parametrize(
    ("tokens", "rows"),
    [(8000, 30_522), (28_996, 30_522), (30_000, 31_090), (200, 257), (30_522, 119_547)],
)
def test_a_smaller_vocabulary_is_another_models(tmp_path: Path, tokens: int, rows: int) -> None:
    message = (
        f"model has a tokenizer of {tokens} tokens and a model of {rows}: "
        "the tokenizer.json belongs to another"
    )
    with pytest.raises(ModelLoadError, match=message):
        check(tmp_path, sized(tokens), rows=rows)
    with pytest.raises(ModelLoadError, match=message):
        check(tmp_path, sized(tokens), config={"vocab_size": rows})
    with pytest.raises(
        ModelLoadError, match=message
    ):  # the table decides, regardless of the config
        check(tmp_path, sized(tokens), rows=rows, config={"vocab_size": tokens})


@pytest.mark.parametrize("rows", [26, 29])
def test_a_larger_vocabulary_is_another_models(tmp_path: Path, rows: int) -> None:
    with pytest.raises(
        ModelLoadError, match=f"tokens up to 29: its table has {rows} tokens.*another model"
    ):
        check(tmp_path, sized(30), rows=rows)
    with pytest.raises(
        ModelLoadError, match=f"a tokenizer of 30 tokens and a model of {rows}: .*another model"
    ):
        check(tmp_path, sized(30), config={"vocab_size": rows})


def test_added_tokens_without_a_row_are_plain_text(tmp_path: Path) -> None:
    tokenizer = sized(30)
    tokenizer.add_tokens([AddedToken("<image>", special=True), AddedToken("<mine>")])
    own = check(tmp_path, tokenizer, rows=30)
    plain = sized(30).encode("a <image> b <mine>").ids
    assert own.ids(["a <image> b <mine>"]) == [plain]
    assert own.vocabulary_size == 30
    assert max(plain) < 30
    kept = check(tmp_path, tokenizer, rows=31)
    assert kept.ids(["a <image> <mine>"])[0][2] == 30


def test_added_tokens_that_each_text_needs_must_have_a_row(tmp_path: Path) -> None:
    pieces = [piece for piece in classifiers.PIECES if piece not in ("[CLS]", "[SEP]")]
    tokenizer = classifiers.bert("[CLS]", "[SEP]", pieces=pieces)
    check(tmp_path, tokenizer, rows=25)
    with pytest.raises(ModelLoadError, match="another model"):
        check(tmp_path, tokenizer, rows=23)


@pytest.mark.parametrize(
    ("config", "named", "message"),
    [
        ({"pad_token_id": 4}, {}, "has pad_token_id 4 in config.json, and 0 in tokenizer.json"),
        ({"pad_token_id": 1}, {}, "has pad_token_id 1 in config.json, and 0"),
        ({"cls_token_id": 9}, {}, "has cls_token_id 9 in config.json, and 2"),
        (
            {"sep_token_id": 9},
            {"sep_token": {"content": "[SEP]"}},
            "has sep_token_id 9 in config.json, and 3",
        ),
        (
            {},
            {"added_tokens_decoder": {"5": {"content": "[MASK]", "special": True}}},
            r"has the token '\[MASK\]' at 5 in tokenizer_config.json, and 'b' in tokenizer.json",
        ),
        (
            {},
            {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "[UNK]"},
            "has no </s>, <pad>",
        ),
    ],
)
def test_special_tokens_that_disagree_are_another_models(
    tmp_path: Path, config: Any, named: Any, message: str
) -> None:
    with pytest.raises(
        ModelLoadError, match=f"model {message}.*: the tokenizer.json belongs to another model"
    ):
        check(tmp_path, sized(25), config=config, named=named)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (
            {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 2},
            {},
        ),  # bge-large-zh has the latter two
        ({"pad_token_id": None, "cls_token_id": -1, "sep_token_id": "3"}, {}),
        ({"pad_token_id": 49_407}, {}),  # for a token that this tokenizer does not have
        ({"pad_token_id": 2}, {"pad_token": "[CLS]"}),
        (
            {},
            {
                "cls_token": "[CLS]",
                "sep_token": "[SEP]",
                "pad_token": "[PAD]",
                "mask_token": "[MASK]",
            },
        ),
        (
            {},
            {
                "cls_token": None,
                "added_tokens_decoder": {"0": {"content": "[PAD]", "special": True}, "99": {}},
            },
        ),
        ({}, {"added_tokens_decoder": []}),
        ({"vocab_size": None}, {}),
        ({"vocab_size": True}, {}),
    ],
)
def test_special_tokens_that_only_differ_in_habit_are_not(
    tmp_path: Path, config: Any, named: Any
) -> None:
    check(tmp_path, sized(25), config=config, named=named)


def test_minilm_with_another_models_vocabulary_is_refused(tmp_path: Path) -> None:
    for file in (
        "config.json",
        "model.onnx",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
    ):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).symlink_to(MINILM / file)
    sized(5000).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelLoadError, match="a tokenizer of 5000 tokens and a model of 30522"):
        load_model(tmp_path, device="cpu")


def test_every_kind_of_folder_checks_its_tokenizer(tmp_path: Path) -> None:
    folders = [
        embedders.folder(tmp_path / "embedder", table=np.ones((300, 2), np.float32)),
        rerankers.folder(tmp_path / "reranker", worth=[1.0] * 300),
    ]
    for name, by_token in (("ForSequenceClassification", False), ("ForTokenClassification", True)):
        table = np.ones((300, 3), np.float32)
        folders.append(
            classifiers.folder(
                tmp_path / name, sized(25), table, head=f"Bert{name}", by_token=by_token
            )
        )
    for folder in folders:
        with pytest.raises(ModelLoadError, match=r"tokens and a model of 300: .*another model"):
            load_model(folder, device="cpu")


def test_configs_beside_the_tokenizer_are_read(tmp_path: Path) -> None:
    folder = embedders.folder(
        tmp_path / "model", special_tokens_map={"bos_token": "<s>", "eos_token": "</s>"}
    )
    with pytest.raises(ModelLoadError, match=r"has no </s>, <s> in tokenizer\.json"):
        Embedder(folder).open()
