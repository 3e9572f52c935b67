"""Reranker: scores of pairs, truncation, and folders that are not cross-encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import ModelInputError, ModelLoadError
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span_facts import remarks
from conduit_lab.models.load import load_model
from conduit_lab.models.text.reranker import Reranker
from conduit_lab.models.text.tokenized_model import MAX_WINDOW_TEXTS
from tests.models.text import embedders, rerankers

words = st.lists(st.sampled_from(["kettle", "pan", "lid", "Kettle", "unknown"]), max_size=6).map(
    " ".join
)


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    return Reranker(
        rerankers.folder(tmp_path_factory.mktemp("models") / "overlap"), device="cpu"
    ).open()


def test_a_passage_is_scored_by_the_words_it_shares_with_the_query(reranker: Reranker) -> None:
    scores = reranker.score("kettle lid", ["pan", "lid", "a kettle and a lid"])
    assert scores.dtype == np.float32
    assert scores.tolist() == [0, 1, 6]


@settings(max_examples=60, deadline=None)
@given(query=words, passages=st.lists(words, max_size=40))
def test_batching_and_padding_change_no_score(
    reranker: Reranker, query: str, passages: list[str]
) -> None:
    assert reranker.score(query, passages).tolist() == [
        rerankers.score(query, passage) for passage in passages
    ]


def test_more_pairs_than_a_window_keep_their_places(reranker: Reranker) -> None:
    passages = ["kettle", "lid", "pan pan"] * (MAX_WINDOW_TEXTS // 3 + 10)
    assert reranker.score("kettle pan", passages).tolist() == [5, 0, 6] * (
        MAX_WINDOW_TEXTS // 3 + 10
    )


def test_pairs_run_unbatched_where_batching_changes_a_score(tmp_path: Path) -> None:
    reranker = Reranker(rerankers.folder(tmp_path / "model", compared=True), device="cpu")
    assert reranker.score("kettle", ["kettle", "pan", "kettle kettle"]).tolist() == [
        0,
        0,
        0,
    ]  # each its run's best


def test_of_two_classes_the_score_is_how_far_the_second_is_above_the_first(tmp_path: Path) -> None:
    reranker = Reranker(rerankers.folder(tmp_path / "model", classes=2), device="cpu")
    assert reranker.score("kettle lid", ["pan", "lid", "kettle"]).tolist() == [0, 1, 5]


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_tokens_come_in_the_graphs_own_type(tmp_path: Path, dtype: str) -> None:
    reranker = Reranker(rerankers.folder(tmp_path / "model", dtype=dtype), device="cpu")
    assert reranker.score("kettle", ["kettle"]).tolist() == [5]


def test_a_graph_may_do_without_the_types_of_tokens(tmp_path: Path) -> None:
    folder = rerankers.folder(tmp_path / "model", inputs=("input_ids", "attention_mask"))
    assert Reranker(folder, device="cpu").score("kettle", ["kettle"]).tolist() == [0]


def test_a_pair_that_is_too_long_is_truncated_and_the_trace_reports_it(reranker: Reranker) -> None:
    long = "pan " * 11 + "lid kettle kettle"
    with recorder.record("cell") as recorded:
        scores = reranker.score("kettle lid", [long[4:], long, "lid"])
    assert scores.tolist() == [1, 0, 1]
    assert remarks(recorded["overlap"].attributes) == "2 of 3 passages cut at 16 tokens"
    assert recorded["overlap"].kind == "predict"
    assert recorded["overlap"].gave is scores


def test_cut_pairs_are_counted_over_all_windows(
    reranker: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conduit_lab.models.text.reranker.MAX_WINDOW_TEXTS", 2)
    with recorder.record("cell") as recorded:
        reranker.score("kettle", ["pan " * 30, "lid", "lid", "pan " * 30, "lid"])
    assert remarks(recorded["overlap"].attributes) == "2 of 5 passages cut at 16 tokens"


def test_a_length_is_the_tokenizers_and_no_more_than_the_model_has_positions(
    tmp_path: Path,
) -> None:
    folder = rerankers.folder(tmp_path / "model")
    embedders.write(folder / "tokenizer_config.json", {"model_max_length": 12})
    assert Reranker(folder, device="cpu").max_length == 12
    embedders.write(folder / "tokenizer_config.json", {"model_max_length": 10**30})
    assert Reranker(folder, device="cpu").max_length == 16
    assert (
        Reranker(rerankers.folder(tmp_path / "bare", config=None), device="cpu").max_length == 512
    )


def test_a_graph_may_lie_in_the_folder_onnx_and_have_variants(tmp_path: Path) -> None:
    folder = rerankers.folder(tmp_path / "model", graph="onnx/model.onnx")
    rerankers.folder(folder, graph="onnx/model_small.onnx", worth=[0, 1, 1, 1, 0, 0, 0, 0])
    assert Reranker(folder, device="cpu").score("kettle", ["kettle"]).tolist() == [5]
    assert Reranker(folder, device="cpu", variant="small").score("kettle", ["kettle"]).tolist() == [
        1
    ]
    with pytest.raises(
        ModelLoadError, match=r"no model_int8.onnx in .*; there is model.onnx, model_small.onnx"
    ):
        Reranker(folder, device="cpu", variant="int8").open()


def test_no_passages_have_no_scores(reranker: Reranker) -> None:
    assert reranker.score("kettle", []).shape == (0,)


def test_empty_texts_and_lone_surrogates_are_scored(reranker: Reranker) -> None:
    assert reranker.score("", ["", "kettle"]).tolist() == [0, 0]
    assert reranker.score("\ud800 kettle", ["kettle \udfff"]).tolist() == [5]


@pytest.mark.parametrize(
    ("query", "passages", "got"),
    [
        (None, ["a"], "a text as query, got NoneType"),
        ("a", "kettle", "a list of texts as passages, got str"),
        ("a", None, "a list of texts as passages, got NoneType"),
        ("a", ["b", None], "texts as passages, got a list of NoneType, str"),
        ("a", ["b", 3, b"c"], "got a list of bytes, int, str"),
    ],
)
def test_anything_but_text_is_refused(
    reranker: Reranker, query: Any, passages: Any, got: str
) -> None:
    with pytest.raises(ModelInputError, match=got):
        reranker.score(query, passages)


def test_as_a_stage_it_takes_query_and_passages_together(reranker: Reranker) -> None:
    value = {"query": "kettle", "passages": ["kettle", "pan"]}
    assert reranker(value).tolist() == [5, 0]
    assert [scores.tolist() for scores in reranker.batch([value, value])] == [[5, 0], [5, 0]]
    with pytest.raises(ModelInputError, match=r"got \{'query': 'kettle'\}"):
        reranker({"query": "kettle"})


def test_it_is_measured_with_its_passages_repeated(reranker: Reranker) -> None:
    timings = reranker.benchmark(
        {"query": "kettle", "passages": ["kettle"]}, batch_sizes=[1, 4], seconds=0.02
    )
    assert [timing.rows for timing in timings] == [1, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"classes": 4},
            r"gives float32 \[32, 4\] for 32 pairs: expected one score or two classes",
        ),
        ({"worth": [0, 5, 3]}, "does not take its tokenizer's tokens up to 7"),
        (
            {"inputs": ("input_ids", "attention_mask", "pixels")},
            "not a cross-encoder: its graph has the inputs",
        ),
        (
            {"config": {"max_position_embeddings": 3}},
            "adds 3 tokens to each pair: a length of 3 is too few",
        ),
    ],
)
def test_a_folder_of_another_model_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelLoadError, match=message):
        Reranker(rerankers.folder(tmp_path / "model", **change), device="cpu").open()


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = rerankers.folder(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelLoadError, match="no tokenizer at"):
        Reranker(folder, device="cpu").open()


@pytest.mark.parametrize("content", ["[]", "{", ""])
def test_a_broken_config_is_refused(tmp_path: Path, content: str) -> None:
    folder = rerankers.folder(tmp_path / "model")
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelLoadError, match=r"config.json (is not JSON|holds a list)"):
        Reranker(folder, device="cpu").open()


def test_its_repr_opens_nothing(tmp_path: Path) -> None:
    reranker = Reranker(rerankers.folder(tmp_path / "<b>"), device="cpu")
    assert repr(reranker).endswith("not opened)")
    assert "not opened yet" in reranker._repr_mimebundle_()["text/html"]
    reranker.score("kettle", ["kettle"])
    shown = reranker._repr_mimebundle_()["text/html"]
    assert "16 tokens" in shown
    assert "&lt;b&gt;" in shown
    assert repr(reranker).endswith("cpu)")


def test_load_model_knows_its_folder(tmp_path: Path) -> None:
    reranker = load_model(rerankers.folder(tmp_path / "model"), device="cpu", lazy=True)
    assert isinstance(reranker, Reranker)
    assert reranker.name == "model"
