"""TextFiles: the maximum of tokens, by config, tokenizer and graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.models.load import load_model
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.models.text.text_files import TextFiles
from tests.models.text import embedders
from tests.models.text.embedders import write
from tests.runtime import graphs

ROBERTA = {"max_position_embeddings": 514, "pad_token_id": 1}


def length(
    path: Path, config: dict[str, Any], named: dict[str, Any] | None = None, own: int | None = None
) -> int:
    write(path / "config.json", config)
    write(path / "tokenizer_config.json", named or {})
    return TextFiles(path, path / "model.onnx").max_length(77, own)


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 3}, 512),
        *[
            ({"model_type": name} | ROBERTA, 512)
            for name in (
                "roberta",
                "xlm-roberta",
                "camembert",
                "mpnet",
                "data2vec-text",
                "xlm-roberta-xl",
                "luke",
            )
        ],
        ({"architectures": ["XLMRobertaForSequenceClassification"]} | ROBERTA, 512),
        ({"architectures": ["MPNetModel"]} | ROBERTA, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514}, 512),
        (
            {"model_type": "roberta", "max_position_embeddings": 130, "pad_token_id": 1},
            128,
        ),  # BERTweet
        ({"model_type": "longformer", "max_position_embeddings": 4098, "pad_token_id": 1}, 4096),
        ({"model_type": "roberta", "max_position_embeddings": 66, "pad_token_id": 0}, 65),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "nomic_bert", "n_positions": 8192}, 8192),
        ({"model_type": "t5"}, 77),
        ({"model_type": "bert", "max_position_embeddings": -1}, 77),
        ({"model_type": "bert", "max_position_embeddings": 10**30}, 77),
    ],
)
def test_positions_behind_the_paddings_are_not_counted(
    tmp_path: Path, config: dict[str, Any], tokens: int
) -> None:
    assert length(tmp_path, config) == tokens


@pytest.mark.parametrize(
    ("named", "own", "tokens"),
    [
        ({"model_max_length": 128}, None, 128),
        ({"model_max_length": 514}, None, 512),
        ({"model_max_length": 10**30}, None, 512),
        ({"model_max_length": 1e30}, None, 512),
        ({"model_max_length": 128.0}, None, 128),
        ({"model_max_length": 1000000000000000019884624838656}, None, 512),
        ({"model_max_length": "128"}, None, 512),
        ({"model_max_length": 0}, None, 512),
        ({"model_max_length": 128}, 256, 256),
        ({}, 514, 512),
    ],
)
def test_the_tokenizers_limit_counts_up_to_the_positions(
    tmp_path: Path, named: dict[str, Any], own: int | None, tokens: int
) -> None:
    assert length(tmp_path, {"model_type": "roberta"} | ROBERTA, named, own) == tokens


def positions_graph(path: Path, rows: int, offset: int, *, by_padding: bool = False) -> None:
    """Write an encoder with positions from `offset`, or from padding's, 1, like RoBERTa."""
    node = graphs.node
    if by_padding:
        nodes = [
            node("Equal", ["input_ids", "one"], ["is"]),
            node("Not", ["is"], ["not"]),
            node("Cast", ["not"], ["n"], to=7),
            node("CumSum", ["n", "one"], ["c"]),
            node("Mul", ["c", "n"], ["cn"]),
            node("Add", ["cn", "one"], ["places"]),
        ]
    else:
        nodes = [
            node("Shape", ["input_ids"], ["shape"]),
            node("Gather", ["shape", "one"], ["tokens"], axis=0),
            node("Range", ["offset", "end", "one"], ["places"]),
            node("Add", ["tokens", "offset"], ["end"]),
        ]
        nodes = [nodes[0], nodes[1], nodes[3], nodes[2]]
    nodes += [
        node("Gather", ["positions", "places"], ["p"]),
        node("Gather", ["words", "input_ids"], ["w"]),
        node("Add", ["w", "p"], ["last_hidden_state"]),
    ]
    table = np.random.default_rng(0).standard_normal((rows, 2)).astype(np.float32)
    graphs.save(
        path,
        nodes,
        [
            graphs.value(name, ["batch", "tokens"], "int64")
            for name in ("input_ids", "attention_mask")
        ],
        [graphs.value("last_hidden_state", ["batch", "tokens", 2])],
        [
            graphs.constant("one", np.array(1)),
            graphs.constant("offset", np.array(offset)),
            graphs.constant("positions", table),
            graphs.constant("words", embedders.TABLE),
        ],
    )


@pytest.mark.parametrize(
    ("rows", "offset", "by_padding", "tokens"),
    [(20, 0, False, 20), (20, 2, False, 18), (20, 0, True, 18)],
)
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"max_position_embeddings": 512},
        {"model_type": "roberta", "max_position_embeddings": 20},
    ],
)
def test_the_graphs_own_table_decides(
    tmp_path: Path, rows: int, offset: int, by_padding: bool, tokens: int, config: dict[str, Any]
) -> None:
    folder = embedders.folder(tmp_path / "model", config=config | {"vocab_size": 6})
    positions_graph(folder / "model.onnx", rows, offset, by_padding=by_padding)
    embedder = load_model(folder, device="cpu")
    assert isinstance(embedder, Embedder)
    assert embedder.max_length == tokens
    cut = embedder.encode("pan " * 300)
    np.testing.assert_allclose(cut, embedder.encode("pan " * tokens), rtol=1e-6)
    assert not np.allclose(cut, embedder.encode("pan " * (tokens - 1)))


@pytest.mark.parametrize(
    ("config", "padding"),
    [
        ({"pad_token_id": 5}, 5),
        ({}, 0),
        ({"pad_token_id": 6}, 0),
        ({"pad_token_id": -1}, 0),
        ({"pad_token_id": None}, 0),
    ],
)
def test_padding_is_the_models_id_where_its_table_has_it(
    tmp_path: Path, config: dict[str, Any], padding: int
) -> None:
    folder = embedders.folder(tmp_path, config=config)
    assert TextFiles(folder, folder / "model.onnx").padding == padding
