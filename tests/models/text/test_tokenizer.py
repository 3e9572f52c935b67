from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.models.text.tokenizer import MAX_TOKENIZER_BYTES, Tokenizer, pad_rows
from tests.models.text import embedders

CLS_SEP = ("[CLS]", "[SEP]")  # 6 and 7


def made(
    path: Path,
    special: tuple[str, ...] = (),
    max_length: int = 16,
    *,
    lower_case: bool = False,
    **parts: Any,
) -> Tokenizer:
    return Tokenizer(
        embedders.tokenizer(path / "tokenizer.json", special, **parts),
        max_length,
        lower_case=lower_case,
    )


def test_text_becomes_ids_with_the_special_tokens(tmp_path: Path) -> None:
    tokenizer = made(tmp_path, CLS_SEP)
    assert tokenizer.ids(["pan lid", "", "spoon"]) == [[6, 2, 3, 7], [6, 7], [6, 0, 7]]
    assert tokenizer.vocabulary_size == 8


def test_padding_and_truncation_of_the_file_are_not_used(tmp_path: Path) -> None:
    padding = {
        "strategy": {"Fixed": 12},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[UNK]",
    }
    truncation = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    tokenizer = made(tmp_path, padding=padding, truncation=truncation)
    assert tokenizer.ids(["pan pan pan pan"]) == [[2, 2, 2, 2]]


def test_text_is_cut_and_keeps_its_last_special_token(tmp_path: Path) -> None:
    assert made(tmp_path, CLS_SEP, max_length=4).ids(["pan lid kettle"]) == [[6, 2, 3, 7]]


def test_windows_of_a_text_overlap_by_at_most_half(tmp_path: Path) -> None:
    file = embedders.tokenizer(tmp_path / "tokenizer.json", CLS_SEP)
    tokenizer = Tokenizer(file, 5, stride=10)
    assert tokenizer.stride == 1
    (first,) = tokenizer.encode(["pan lid kettle pan lid"])
    windows = [window.ids[1:-1] for window in (first, *first.overflowing)]
    assert windows[0] == [2, 3, 1]
    assert windows[1][0] == 1


@pytest.mark.parametrize("length", [1, 2])
def test_length_without_room_for_text_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(
        ModelLoadError, match=f"adds 2 tokens to each text: a max_seq_length of {length} is too few"
    ):
        made(tmp_path, CLS_SEP, max_length=length)


def test_text_is_made_lower_case_where_that_is_asked_for(tmp_path: Path) -> None:
    assert made(tmp_path).ids(["Kettle"]) == [[5]]
    assert made(tmp_path, CLS_SEP, lower_case=True).ids(["Kettle [CLS]"]) == [[6, 1, 6, 7]]


def test_lower_case_comes_before_the_files_own_normaliser(tmp_path: Path) -> None:
    replace = {"type": "Replace", "pattern": {"String": "kettle"}, "content": "pan"}
    assert made(tmp_path, normalizer=replace, lower_case=True).ids(["Kettle"]) == [[2]]


def test_lone_surrogate_is_an_unknown_word(tmp_path: Path) -> None:
    tokenizer = made(tmp_path)
    assert tokenizer.ids(["pan \ud800 lid"]) == [[2, 0, 3]]
    assert tokenizer.prompt_tokens("\udfff") == 1


@pytest.mark.parametrize(("special", "tokens"), [((), 2), (CLS_SEP, 3)])
def test_prompt_tokens_include_leading_special_tokens(
    tmp_path: Path, special: tuple[str, ...], tokens: int
) -> None:
    assert made(tmp_path, special).prompt_tokens("query pan ") == tokens


def test_missing_tokenizer_is_named_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"no tokenizer at .*tokenizer\.json.*save_pretrained"):
        Tokenizer(tmp_path / "tokenizer.json", 16)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"version": "1.0"}', b"null"])
def test_broken_tokenizer_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json is not a readable tokenizer\.json"):
        Tokenizer(tmp_path / "tokenizer.json", 16)


def test_tokenizer_whose_parts_do_not_fit_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = embedders.tokenizer(tmp_path / "tokenizer.json", CLS_SEP)
    content = json.loads(path.read_text())
    del content["post_processor"]["special_tokens"]["[SEP]"]
    embedders.write(path, content)
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json is not a readable"):
        Tokenizer(path, 16)
    capfd.readouterr()  # tokenizers may have printed a panic


def test_huge_tokenizer_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(MAX_TOKENIZER_BYTES + 1)
    with pytest.raises(
        ModelLoadError,
        match=r"tokenizer\.json has 128 MB: the limit of a tokenizer\.json is 128 MB",
    ):
        Tokenizer(path, 16)


@given(st.lists(st.lists(st.integers(1, 99), max_size=7), min_size=1, max_size=6))
def test_padding_is_at_the_end_and_marked(rows: list[list[int]]) -> None:
    ids, mask = pad_rows(rows)
    assert ids.dtype == mask.dtype == np.int64
    assert ids.shape == mask.shape == (len(rows), max(1, *map(len, rows)))
    for row, row_ids, row_mask in zip(rows, ids.tolist(), mask.tolist(), strict=True):
        rest = [0] * (len(row_ids) - len(row))
        assert row_ids == row + rest
        assert row_mask == [1] * len(row) + rest
