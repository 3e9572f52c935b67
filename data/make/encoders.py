"""Make tests/real/encoders: tiny text encoders and classifiers with real architectures.

Weights are random; tokenizers are trained on the handbook. The expected vectors, probabilities and
entities come from transformers on torch, the graphs from optimum-onnx, each in its own environment
(see `decoders.py`):

    genai/bin/python data/make/encoders.py optimum/bin/python [name …]
"""

# The checks run without torch and transformers.
# mypy: ignore-errors
import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import torch
import transformers as hf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import decoders as joiners

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "tests" / "real" / "encoders"
HANDBOOK = ROOT / "data" / "handbook"
VOCABULARY = 400
POSITIONS = 40  # maximum tokens of a text
TEXTS = (
    "The kettle is dead.",
    "Où est ma commande? It left Zürich on Monday, they said.",
    "Refund",
    "A customer who bought a fridge three years ago asks whether the guarantee still holds for the "
    "compressor, the door and the light, and whether the shop in Leeds or the one in York sends "
    "somebody to look at it.",
)
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_SHAPE |= {"intermediate_size": 64, "max_position_embeddings": POSITIONS}
_OFFSET = {
    "max_position_embeddings": POSITIONS + 2,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
_DISTILBERT = {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
_DISTILBERT |= {"max_position_embeddings": POSITIONS}
_NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
ENVIRONMENT = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}


class Kind(NamedTuple):
    """A transformers class, its configuration, its tokenizer and the exporter's task."""

    model: str
    config: str
    arguments: dict[str, Any]
    tokenizer: str
    task: str = "feature-extraction"


def labels(*names: str) -> dict[str, Any]:
    """Return the configuration of a head with these labels."""
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
    }


MOODS = labels("negative", "neutral", "positive")
ARCHITECTURES = {
    "bert": Kind("BertModel", "BertConfig", _SHAPE, "wordpiece"),
    "distilbert": Kind("DistilBertModel", "DistilBertConfig", _DISTILBERT, "wordpiece"),
    "electra": Kind("ElectraModel", "ElectraConfig", {**_SHAPE, "embedding_size": 16}, "wordpiece"),
    "mpnet": Kind("MPNetModel", "MPNetConfig", {**_SHAPE, **_OFFSET}, "wordpiece <s>"),
    "roberta": Kind("RobertaModel", "RobertaConfig", {**_SHAPE, **_OFFSET}, "bytes"),
    "xlm-roberta": Kind("XLMRobertaModel", "XLMRobertaConfig", {**_SHAPE, **_OFFSET}, "unigram"),
    "mood": Kind(
        "BertForSequenceClassification",
        "BertConfig",
        _SHAPE | MOODS,
        "wordpiece",
        "text-classification",
    ),
    "topics": Kind(
        "RobertaForSequenceClassification",
        "RobertaConfig",
        {**_SHAPE, **_OFFSET, **MOODS, "problem_type": "multi_label_classification"},
        "bytes",
        "text-classification",
    ),
    "names": Kind(
        "DistilBertForTokenClassification",
        "DistilBertConfig",
        _DISTILBERT | labels(*_NAMES),
        "wordpiece",
        "token-classification",
    ),
}


def main(optimum: str, *names: str) -> None:
    """Make the folders of some or all architectures; `optimum` is the Python with optimum-onnx."""
    for name in names or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as place:
            make(name, ARCHITECTURES[name], optimum, Path(place))


def make(name: str, kind: Kind, optimum: str, place: Path) -> None:
    """Make one architecture's folder: graph, configs, tokenizer and golden.json."""
    tokenizer = make_tokenizer(kind.tokenizer)
    torch.manual_seed(0)
    model = getattr(hf, kind.model)(getattr(hf, kind.config)(**kind.arguments)).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.25)
    golden = [{"text": text, **expected(model, tokenizer, kind.task, text)} for text in TEXTS]
    source, made = place / name, place / "onnx"
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    how = [optimum, "-m", "optimum.exporters.onnx", "--model", source, "--task", kind.task, made]
    subprocess.run([str(part) for part in how], env=ENVIRONMENT, check=True)
    target = TARGET / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    onnx.save(onnx.load(made / "model.onnx"), target / "model.onnx")
    shutil.copy(made / "config.json", target / "config.json")
    tokens = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    (target / "tokenizer.json").write_text(
        json.dumps(tokens, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (target / "golden.json").write_text(
        json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    print(name, sum(file.stat().st_size for file in target.iterdir()), "bytes")


def make_tokenizer(kind: str) -> Any:
    """Train an architecture's kind of tokenizer: WordPiece, byte-level BPE or Unigram."""
    files = [str(file) for file in sorted(HANDBOOK.glob("*/*.md"))]
    if kind == "wordpiece":
        first, pad, last, unknown, mask = "[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"
        specials = [pad, unknown, first, last, mask]
    else:
        first, pad, last, unknown, mask = specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    if kind.startswith("wordpiece"):
        backend = Tokenizer(models.WordPiece(unk_token=unknown))
        backend.normalizer = normalizers.BertNormalizer(lowercase=True)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = joiners.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=VOCABULARY, special_tokens=specials, show_progress=False
        )
    elif kind == "bytes":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = joiners.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=specials,
            initial_alphabet=alphabet,
            show_progress=False,
        )
    else:
        backend = Tokenizer(models.Unigram())
        backend.normalizer = normalizers.NFKC()
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = joiners.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=VOCABULARY, special_tokens=specials, unk_token=unknown, show_progress=False
        )
    backend.train(files, trainer)
    ids = [(token, backend.token_to_id(token)) for token in (first, last)]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=f"{first} $A {last} $B:1 {last}:1", special_tokens=ids
    )
    names = {"bos_token": first, "cls_token": first, "eos_token": last, "sep_token": last}
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=backend, **names, pad_token=pad, unk_token=unknown, mask_token=mask
    )


def expected(model: Any, tokenizer: Any, task: str, text: str) -> dict[str, Any]:
    """Return transformers' outputs for a text truncated to the model's positions."""
    inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=POSITIONS)
    inputs.pop("token_type_ids", None)
    values: dict[str, Any] = {"ids": inputs.input_ids[0].tolist()}
    with torch.no_grad():
        output = model(**inputs)
    if task == "feature-extraction":
        vector = output.last_hidden_state[0].mean(0)
        return values | {"vector": rounded(vector / vector.norm())}
    if task == "text-classification":
        several = model.config.problem_type == "multi_label_classification"
        return values | {
            "scores": rounded(
                output.logits[0].sigmoid() if several else output.logits[0].softmax(-1)
            )
        }
    if len(values["ids"]) == POSITIONS:
        return values  # the pipeline does not truncate
    pipeline = hf.pipeline(task, model=model, tokenizer=tokenizer, aggregation_strategy="first")
    found = [
        (e["entity_group"], round(float(e["score"]), 6), e["start"], e["end"])
        for e in pipeline(text)
    ]
    return values | {"entities": found}


def rounded(values: Any) -> list[float]:
    """Return a tensor's numbers, rounded to six digits."""
    return [round(float(value), 6) for value in values]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("optimum", help="the Python with optimum-onnx")
    parser.add_argument("name", nargs="*", help=", ".join(ARCHITECTURES))
    arguments = parser.parse_args()
    main(arguments.optimum, *arguments.name)
