"""Embedder folders: each config is followed, or refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from conduit_lab.models.text.embedder import Embedder
from tests.models.text.embedders import (
    NORMALIZE,
    POOLING,
    ST,
    TRANSFORMER,
    close,
    folder,
    pooled_graph,
    refused,
    unit,
    vectors,
    write,
)
from tests.runtime import graphs

DENSE = (ST + "Dense", "2_Dense")
IDENTITY = "torch.nn.modules.linear.Identity"


def add_dense(path: Path, weight: Any) -> None:
    write(path / "config.json", {"activation_function": IDENTITY})
    save_file({"linear.weight": np.asarray(weight, np.float32)}, path / "model.safetensors")


# Without modules.json


def test_mean_of_unit_length_is_the_default(tmp_path: Path) -> None:
    close(Embedder(folder(tmp_path)).encode(["kettle pan", "lid"]), unit([1, 1]), unit([3, 4]))


def test_pooling_follows_its_config(tmp_path: Path) -> None:
    close(
        Embedder(folder(tmp_path, pooling={"pooling_mode": "max"})).encode(["lid query"]),
        unit([3, 12]),
    )


def test_vector_of_a_graph_that_pools_is_left_as_it_is(tmp_path: Path) -> None:
    pooled_graph(folder(tmp_path) / "model.onnx")
    close(Embedder(tmp_path).encode(["lid kettle"]), [3, 4])


def test_finished_vector_comes_before_tokens(tmp_path: Path) -> None:
    both(folder(tmp_path) / "model.onnx")
    close(Embedder(tmp_path).encode(["lid kettle"]), [3, 4])


# With modules.json


def test_vectors_keep_their_length_where_no_module_says_otherwise(tmp_path: Path) -> None:
    embedder = Embedder(folder(tmp_path, modules=[TRANSFORMER, POOLING], pooling={}))
    close(embedder.encode(["lid", "kettle lid"]), [3, 4], [2, 2])


def test_modules_follow_each_other(tmp_path: Path) -> None:
    modules = [
        TRANSFORMER,
        POOLING,
        DENSE,
        NORMALIZE,
        (ST + "Dense", "4_Dense"),
        (ST + "Dropout", "5_Dropout"),
    ]
    folder(tmp_path, modules=modules, pooling={"pooling_mode": ["cls", "lasttoken"]})
    add_dense(tmp_path / "2_Dense", [[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    add_dense(tmp_path / "4_Dense", [[2, 0, 0]])
    embedder = Embedder(tmp_path)
    first, last = vectors("lid pan")
    close(embedder.encode(["lid pan"]), 2 * unit([first[1] + last[0], first[0], last[1]])[:1])
    assert embedder.dimension == 1
    assert embedder.encode([]).shape == (0, 1)


def test_newer_names_of_the_modules_are_known(tmp_path: Path) -> None:
    modules = [
        ("sentence_transformers.base.modules.transformer.Transformer", ""),
        ("sentence_transformers.sentence_transformer.modules.pooling.Pooling", "1_Pooling"),
        ("sentence_transformers.base.modules.normalize.Normalize", "2_Normalize"),
    ]
    close(
        Embedder(folder(tmp_path, modules=modules, pooling={"pooling_mode": "cls"})).encode(
            ["lid pan"]
        ),
        unit([3, 4]),
    )


def test_transformer_may_have_a_folder_of_its_own(tmp_path: Path) -> None:
    folder(tmp_path / "0_Transformer", sentence_bert_config={"max_seq_length": 1})
    write(
        tmp_path / "modules.json",
        [{"type": t, "path": p} for t, p in ((TRANSFORMER[0], "0_Transformer"), POOLING)],
    )
    write(tmp_path / "1_Pooling" / "config.json", {})
    close(Embedder(tmp_path).encode(["lid pan"]), [3, 4])


def test_graph_that_pools_is_not_pooled_again_but_normalised(tmp_path: Path) -> None:
    folder(tmp_path, modules=[TRANSFORMER, POOLING, NORMALIZE], pooling={"pooling_mode": "mean"})
    pooled_graph(tmp_path / "model.onnx")
    embedder = Embedder(tmp_path)
    close(embedder.encode(["lid query"]), unit([3, 12]))
    assert "in the graph, unit length" in str(embedder._facts())


@pytest.mark.parametrize(
    ("weight", "vector"), [([[1, 1], [1, 0], [0, 1]], [7, 3, 4]), ([[2, 0], [0, 2]], [3, 4])]
)
def test_dense_layer_after_a_graph_that_pools_depends_on_its_width(
    tmp_path: Path, weight: Any, vector: Any
) -> None:
    folder(tmp_path, modules=[TRANSFORMER, POOLING, DENSE], pooling={})
    pooled_graph(tmp_path / "model.onnx")
    add_dense(tmp_path / "2_Dense", weight)
    close(Embedder(tmp_path).encode(["lid"]), vector)


def test_tokens_come_before_a_finished_vector(tmp_path: Path) -> None:
    both(
        folder(tmp_path, modules=[TRANSFORMER, POOLING], pooling={"pooling_mode": "lasttoken"})
        / "model.onnx"
    )
    close(Embedder(tmp_path).encode(["lid kettle"]), [1, 0])


def both(path: Path) -> None:
    """A graph with a vector per text, the maximum, and then one per token."""
    graphs.save(
        path,
        [
            graphs.node("Gather", ["table", "input_ids"], ["token_embeddings"]),
            graphs.node(
                "ReduceMax", ["token_embeddings"], ["sentence_embedding"], axes=[1], keepdims=0
            ),
        ],
        [
            graphs.value(name, ["batch", "tokens"], "int64")
            for name in ("input_ids", "attention_mask")
        ],
        [
            graphs.value("sentence_embedding", ["batch", 2]),
            graphs.value("token_embeddings", ["batch", "tokens", 2]),
        ],
        [
            graphs.constant(
                "table", np.array([[90, -80], [1, 0], [0, 1], [3, 4], [0, 0], [0, 0]], np.float32)
            )
        ],
    )


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        (
            [TRANSFORMER, (ST + "CNN", "1_CNN")],
            r"modules\.json lists the unknown module 'sentence_transformers\.models\.CNN'",
        ),
        (
            [("custom_st.Transformer", "")],
            "lists the unknown module 'custom_st.Transformer'",
        ),
        (
            [POOLING, TRANSFORMER],
            "lists Pooling, Transformer: expected a Transformer, then a Pooling",
        ),
        ([TRANSFORMER, NORMALIZE, POOLING], "lists Transformer, Normalize, Pooling"),
        (
            [TRANSFORMER, NORMALIZE],
            r"gives one vector per token, and its modules\.json has no Pooling",
        ),
        ([TRANSFORMER, (ST + "Pooling", "../1_Pooling")], "lists the module folder '../1_Pooling'"),
        ([TRANSFORMER, (ST + "Pooling", "..\\1_Pooling")], "lists the module folder"),
        ([TRANSFORMER, (ST + "Pooling", "/etc")], "lists the module folder '/etc'"),
        ([TRANSFORMER, (ST + "Pooling", 3)], "lists the module folder 3"),
        (
            [TRANSFORMER, (ST + "Pooling", "9_Pooling")],
            r"no .*9_Pooling/config\.json: modules\.json names it",
        ),
        ([], r"modules\.json is not a list of modules"),
    ],
)
def test_modules_that_cannot_be_followed_are_refused(
    tmp_path: Path, modules: Any, reason: str
) -> None:
    refused(folder(tmp_path, modules=modules, pooling={}), reason)


def test_dense_layer_of_another_width_is_refused(tmp_path: Path) -> None:
    folder(tmp_path, modules=[TRANSFORMER, POOLING, DENSE], pooling={})
    add_dense(tmp_path / "2_Dense", np.ones((2, 3)))
    refused(tmp_path, r"has a dense 3 → 2 \(identity\) after a vector of 2")


@pytest.mark.parametrize("kind", ["SparseEncoder", "CrossEncoder"])
def test_another_kind_of_model_is_refused(tmp_path: Path, kind: str) -> None:
    refused(
        folder(tmp_path, config_sentence_transformers={"model_type": kind}),
        f"holds a {kind}: expected",
    )


@pytest.mark.parametrize(
    "name",
    [
        "modules",
        "config",
        "sentence_bert_config",
        "tokenizer_config",
        "config_sentence_transformers",
    ],
)
@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b'"text"'])
def test_broken_config_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (folder(tmp_path) / f"{name}.json").write_bytes(content)
    refused(tmp_path, rf"{name}\.json (is not JSON|holds a str|is not a list of modules)")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"prompts": ["a"]}, "has the prompts"),
        ({"prompts": {"query": 3}}, "has the prompts .*expected a text for each name"),
        (
            {"prompts": {"query": "q"}, "default_prompt_name": "other"},
            "has the default prompt 'other': expected one of its prompts, query",
        ),
        ({"default_prompt_name": ["query"]}, r"has the default prompt \['query'\]: .* it has none"),
    ],
)
def test_invalid_prompts_are_refused(tmp_path: Path, config: Any, reason: str) -> None:
    refused(folder(tmp_path, config_sentence_transformers=config), reason)
