"""Make data/models/reranker: a reranker of question and passage from MiniLM's own weights.

No package contains a trained cross-encoder, and none is trained here. The score is the mean, over
the words of the question, of the similarity to the most similar word of the passage: the late
interaction of ColBERT (Khattab and Zaharia 2020, arXiv:2004.12832), with the hidden states of
all-MiniLM-L6-v2, which was not trained for it. The folder has the same form as a trained
cross-encoder: pairs in, scores out.

Run it as ``python data/make/reranker.py [folder]`` after data/make/minilm.py.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MODELS = Path(__file__).resolve().parents[1] / "models"
SOURCE = MODELS / "minilm"
TARGET = MODELS / "reranker"
MAX_LENGTH = 512  # tokens of question and passage together: MiniLM's positions
CLS, SEP = 101, 102  # BERT's markers around a text, not words

README = """# Reranker of MiniLM's weights

Made by data/make/reranker.py, which says how, of `data/models/minilm`; the weights' licence is Apache-2.0, its model
card lies there. It was not trained to tell what answers a question.
"""


class Pairs:
    """MiniLM's graph, in which nodes for pairs replace some of the original nodes."""

    def __init__(self, source: Any) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(source)
        self.graph = self.model.graph
        self.added: list[Any] = []
        self.count = 0

    def constant(self, value: NDArray[Any]) -> str:
        """Store an array and return its name."""
        self.count += 1
        self.graph.initializer.append(numpy_helper.from_array(value, f"pair_constant_{self.count}"))
        return f"pair_constant_{self.count}"

    def axes(self, *axes: int) -> str:
        """Store axes and return their name."""
        return self.constant(np.array(axes, np.int64))

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        self.count += 1
        output = output or f"pair_{kind}_{self.count}"
        self.added.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def floats(self, name: str) -> str:
        """Add a cast to float32."""
        return self.node("Cast", name, to=TensorProto.FLOAT)

    def replaced(self, first_input: str) -> Any:
        """Return the node to replace, found by its first input."""
        return next(node for node in self.graph.node if node.input[0] == first_input)

    def put(self, old: Any) -> None:
        """Replace a node by the added nodes, which compute its output."""
        place = [node.name for node in self.graph.node].index(old.name)
        nodes = list(self.graph.node)
        self._set(nodes[:place] + self.added + nodes[place + 1 :])

    def end(self, last: int) -> None:
        """Replace all nodes after index `last` by the added ones."""
        self._set(list(self.graph.node)[: last + 1] + self.added)
        used = {name for node in self.graph.node for name in node.input}
        kept = [weight for weight in self.graph.initializer if weight.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _set(self, nodes: list[Any]) -> None:
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        self.added = []


def build_model(source: Any) -> Any:
    """Return MiniLM's graph, converted to a model of text pairs.

    Inputs: input_ids, attention_mask, token_type_ids (1 for tokens of the passage), int64
    [batch, sequence]; both texts have their own [CLS] and [SEP]. Output: logits, float32 [batch,
    1], from -1 to 1.
    """
    pairs = Pairs(source)
    zero, one = pairs.constant(np.array(0, np.int64)), pairs.constant(np.array(1, np.int64))

    # MiniLM was trained only on tokens of type 0
    types = pairs.replaced("embeddings.token_type_embeddings.weight")
    pairs.node(
        "Gather", types.input[0], pairs.node("Mul", "token_type_ids", zero), output=types.output[0]
    )
    pairs.put(types)

    # positions start at 0 again in the passage
    positions = pairs.replaced("embeddings.position_embeddings.weight")
    length = pairs.node("Squeeze", pairs.node("Shape", "input_ids", start=1, end=2))
    asked = pairs.node("Mul", "attention_mask", pairs.node("Sub", one, "token_type_ids"))
    before = pairs.node("Mul", "token_type_ids", pairs.node("ReduceSum", asked, pairs.axes(1)))
    places = pairs.node("Sub", pairs.node("Range", zero, length, one), before)
    pairs.node("Gather", positions.input[0], places, output=positions.output[0])
    pairs.put(positions)

    # attention only within the token's own text; MiniLM's graph adds -1e4 to masked scores
    bias = next(node for node in pairs.graph.node if node.op_type == "Unsqueeze")
    columns, rows = (pairs.node("Unsqueeze", "token_type_ids", pairs.axes(axis)) for axis in (1, 2))
    there = pairs.node("Unsqueeze", pairs.floats("attention_mask"), pairs.axes(1))
    seen = pairs.node("Mul", pairs.floats(pairs.node("Equal", rows, columns)), there)
    pairs.node("Unsqueeze", _hidden(pairs, seen), pairs.axes(1), output=bias.output[0])
    pairs.put(bias)

    last = max(
        place for place, node in enumerate(pairs.graph.node) if node.op_type == "LayerNormalization"
    )
    _late_interaction(pairs, pairs.graph.node[last].output[0])
    pairs.end(last)
    del pairs.graph.output[:]
    pairs.graph.output.append(
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])
    )
    return pairs.model


def _late_interaction(pairs: Pairs, states: str) -> None:
    """Append the mean, over question words, of the similarity to the nearest passage word."""
    one = pairs.constant(np.array(1, np.int64))
    around = [
        pairs.node("Equal", "input_ids", pairs.constant(np.array(token, np.int64)))
        for token in (CLS, SEP)
    ]
    is_word = pairs.node("Cast", pairs.node("Not", pairs.node("Or", *around)), to=TensorProto.INT64)
    words = pairs.node("Mul", "attention_mask", is_word)
    passage = pairs.floats(pairs.node("Mul", words, "token_type_ids"))
    question = pairs.floats(pairs.node("Mul", words, pairs.node("Sub", one, "token_type_ids")))
    unit = pairs.node("Div", states, pairs.node("ReduceL2", states, axes=[2]))
    similar = pairs.node("MatMul", unit, pairs.node("Transpose", unit, perm=[0, 2, 1]))
    others = pairs.node("Unsqueeze", _hidden(pairs, passage), pairs.axes(1))
    best = pairs.node("ReduceMax", pairs.node("Add", similar, others), axes=[2], keepdims=0)
    lowest = pairs.constant(np.array(-1, np.float32))  # for a passage without words
    best = pairs.node("Max", best, lowest)
    total = pairs.node("ReduceSum", pairs.node("Mul", best, question), pairs.axes(1))
    count = pairs.node("ReduceSum", question, pairs.axes(1))
    pairs.node(
        "Div",
        total,
        pairs.node("Max", count, pairs.constant(np.array(1, np.float32))),
        output="logits",
    )


def _hidden(pairs: Pairs, mask: str) -> str:
    """Add a bias: 0 where the float mask is 1, and -1e4 where it is 0."""
    less = pairs.node("Sub", mask, pairs.constant(np.array(1, np.float32)))
    return pairs.node("Mul", less, pairs.constant(np.array(1e4, np.float32)))


def pair_template(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Return MiniLM's tokenizer.json with separate [CLS] and [SEP] for the passage of a pair."""
    post = tokenizer["post_processor"]
    second = [
        {kind: {**part, "type_id": 1} for kind, part in piece.items()} for piece in post["single"]
    ]
    second[1]["Sequence"]["id"] = "B"
    changed = {**tokenizer, "post_processor": {**post, "pair": [*post["single"], *second]}}
    return {**changed, "padding": None, "truncation": None}


def make(target: Path = TARGET, source: Path = SOURCE) -> None:
    """Make the folder; replace an older one only if this script made it."""
    if not (source / "model.onnx").is_file():
        raise SystemExit(f"{source.name} is missing: run data/make/minilm.py first")
    mark = target / "README.md"
    if target.exists() and not (mark.is_file() and mark.read_text("utf-8") == README):
        raise SystemExit(
            f"{target.name} holds something that this script did not make: move it away and rerun"
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".reranker-") as place:
        new = Path(place) / "reranker"
        new.mkdir()
        onnx.save_model(build_model(onnx.load(str(source / "model.onnx"))), str(new / "model.onnx"))
        onnx.checker.check_model(str(new / "model.onnx"))
        tokenizer = json.loads((source / "tokenizer.json").read_text("utf-8"))
        (new / "tokenizer.json").write_text(
            json.dumps(pair_template(tokenizer), ensure_ascii=False), "utf-8"
        )
        config = {
            "architectures": ["BertForSequenceClassification"],
            "max_position_embeddings": MAX_LENGTH,
        }
        (new / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        (new / "README.md").write_text(README, "utf-8")
        if target.exists():
            shutil.move(target, Path(place) / "old")
        new.rename(target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=TARGET)
    make(parser.parse_args().folder.resolve())
