"""Embedder prompts: by name, by text, by default, in and out of the pooling."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import ModelInputError
from conduit_lab.models.text.embedder import Embedder
from tests.models.text.embedders import (
    WORDS,
    mean,
    pooled_graph,
    prompted,
    vectors,
)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({}, "query pan"),
        ({"prompt_name": "double"}, "lid kettle pan"),
        ({"prompt_name": "none"}, "pan"),
        ({"prompt": "lid "}, "lid pan"),
        ({"prompt": ""}, "pan"),
        ({"prompt": "\ud800 "}, "spoon pan"),
    ],
)
def test_prompt_comes_before_each_text(tmp_path: Path, how: Any, text: str) -> None:
    np.testing.assert_allclose(
        prompted(tmp_path).encode(["pan", "pan"], **how), [mean(text)] * 2, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("config", "prompt"),
    [
        ({"prompts": {"query": "pan ", "passage": "lid "}}, "lid "),
        ({"prompts": {"passage": "lid ", "document": "kettle "}}, "kettle "),
        ({"prompts": {"corpus": "lid ", "query": "kettle "}}, "lid "),
        ({"prompts": {"query": "pan "}, "default_prompt_name": "query"}, "pan "),
        ({"prompts": {"query": "pan "}}, ""),
    ],
)
def test_document_prompt_is_the_prefix_of_encode_document(
    tmp_path: Path, config: Any, prompt: str
) -> None:
    embedder = prompted(tmp_path, config_sentence_transformers=config)
    assert embedder.document_prompt == prompt
    np.testing.assert_allclose(embedder.encode_document("spoon"), mean(prompt + "spoon"), rtol=1e-6)


@pytest.mark.parametrize("special", [(), ("[CLS]", "[SEP]")])
def test_pooling_may_leave_the_prompt_out(tmp_path: Path, special: tuple[str, ...]) -> None:
    embedder = prompted(tmp_path, include=False, special=special)
    end = [[0, 100]] if special else []  # the last special token stays
    expected = [np.mean([*vectors(text), *end], axis=0) for text in ("pan", "lid pan kettle")]
    np.testing.assert_allclose(
        embedder.encode(["pan", "lid pan kettle"], prompt_name="double"), expected, rtol=1e-6
    )


def test_prompt_that_fills_the_length_leaves_nothing_to_pool(tmp_path: Path) -> None:
    embedder = prompted(tmp_path, include=False, sentence_bert_config={"max_seq_length": 2})
    assert embedder.encode("pan", prompt_name="double").tolist() == [0, 0]


def test_graph_that_pools_takes_no_prompt_that_pooling_leaves_out(tmp_path: Path) -> None:
    embedder = prompted(tmp_path, include=False)
    pooled_graph(embedder.path / "model.onnx")
    assert embedder.encode("pan", prompt="").tolist() == [0, 1]
    with pytest.raises(ModelInputError, match="its graph pools by itself: it takes no prompt"):
        embedder.encode("pan")


def test_default_prompt_is_for_calls_in_every_form(tmp_path: Path) -> None:
    embedder = prompted(tmp_path)
    for got in (embedder("pan"), embedder.batch(["pan"])[0], asyncio.run(embedder.acall("pan"))):
        np.testing.assert_allclose(got, mean("query pan"), rtol=1e-6)
    assert [feed["input_ids"].tolist() for feed in embedder.feeds(["pan"])] == [
        [[WORDS["query"], WORDS["pan"]]]
    ]


def test_queries_and_documents_have_prompts_of_their_own_where_the_folder_names_them(
    tmp_path: Path,
) -> None:
    prompts = {"prompts": {"query": "query ", "passage": "lid "}}
    embedder = prompted(tmp_path, config_sentence_transformers=prompts)
    np.testing.assert_allclose(embedder.encode_query("pan"), mean("query pan"), rtol=1e-6)
    np.testing.assert_allclose(embedder.encode_document(["pan"]), [mean("lid pan")], rtol=1e-6)


def test_without_such_prompts_queries_and_documents_are_texts(embedder: Embedder) -> None:
    for encode in (embedder.encode_query, embedder.encode_document):
        assert encode("pan").tolist() == embedder.encode("pan").tolist()


def test_tokens_are_counted_beyond_max_length(tmp_path: Path) -> None:
    embedder = prompted(
        tmp_path, special=("[CLS]", "[SEP]"), sentence_bert_config={"max_seq_length": 4}
    )
    assert embedder.count_tokens("pan " * 10) == 12
    assert embedder.count_tokens("") == 2


def test_unknown_prompt_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        ModelInputError, match="'words' has no prompt 'passage': it has query, double, none"
    ):
        prompted(tmp_path).encode("pan", prompt_name="passage")


def test_unknown_prompt_is_refused_where_there_are_none(embedder: Embedder) -> None:
    with pytest.raises(
        ModelInputError, match="'words' has no prompt 'query': it has none of its own; pass prompt="
    ):
        embedder.encode("pan", prompt_name="query")


def test_prompt_is_one_text(embedder: Embedder) -> None:
    with pytest.raises(ModelInputError, match="expects prompt_name or prompt, got both"):
        embedder.encode("pan", prompt_name="query", prompt="q")
    with pytest.raises(ModelInputError, match="expects a text as prompt, got int"):
        embedder.encode("pan", prompt=3)  # type: ignore[arg-type]
