"""Kinds: the class of a model folder, from its configs and its graph's outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.models.config import read_config
from conduit_lab.models.generation.decoder_folder import is_decoder
from conduit_lab.models.graphs import find_graphs
from conduit_lab.runtime.sessions.text_graph import TextGraph, read_text_graph

if TYPE_CHECKING:
    from conduit_lab.models.generation.generator import Generator
    from conduit_lab.models.text.embedder import Embedder
    from conduit_lab.models.text.reranker import Reranker
    from conduit_lab.models.text.text_classifier import TextClassifier
    from conduit_lab.models.text.token_classifier import TokenClassifier

AnyFolder: TypeAlias = "Embedder | Generator | Reranker | TextClassifier | TokenClassifier"

_EMBEDDING, _GENERATION, _SEQUENCE, _TOKEN = "embedding", "generation", "sequence", "token"
_SCORE, _TEXT = "score", "text"  # the two heads of a sequence
_CLASSES = {
    _EMBEDDING: "text.embedder.Embedder",
    _GENERATION: "generation.generator.Generator",
    _SCORE: "text.reranker.Reranker",
    _TEXT: "text.text_classifier.TextClassifier",
    _TOKEN: "text.token_classifier.TokenClassifier",
}
_CLASSIFIERS = (_SEQUENCE, _TOKEN)
_ENCODE = (
    "export the encoder alone, with optimum-cli export onnx --task feature-extraction, for an "
    "Embedder"
)
_ANSWER = "a question-answering model: its logits say where in a passage an answer starts and ends"
_MASKED = f"a masked language model: its logits score the tokens for a masked position; {_ENCODE}"
_SEQ2SEQ = "a sequence-to-sequence model, an encoder and a decoder in one"
_SPEECH = "a speech recognition model"
# The first key contained in an architecture's name decides its head; a value with spaces is the
# reason why it is not supported.
_HEADS = {
    "SequenceClassification": _SEQUENCE,
    "TokenClassification": _TOKEN,
    "QuestionAnswering": _ANSWER,
    "MaskedLM": _MASKED,
    "WithLMHead": _MASKED,
    "ForPreTraining": (
        f"a model in pre-training, whose logits are those of its training tasks; {_ENCODE}"
    ),
    "NextSentencePrediction": (
        "a next-sentence model: its logits say whether one sentence follows another"
    ),
    "MultipleChoice": "a multiple-choice model: its logits rate the choices of a question",
    "CausalLM": _GENERATION,
    "LMHead": _GENERATION,
    "ImageClassification": "an image classifier",
    "ObjectDetection": "an object detection model for images",
    "Segmentation": "a segmentation model for images",
    "DepthEstimation": "a depth estimation model for images",
    "AudioClassification": "an audio classifier",
    "AudioFrameClassification": "an audio classifier",
    "XVector": "a speaker verification model",
    "ForCTC": _SPEECH,
    "SpeechSeq2Seq": _SPEECH,
    "Vision2Seq": "an image-to-text model",
    "Seq2SeqLM": _SEQ2SEQ,
    "MTModel": _SEQ2SEQ,
}
# outputs of a graph without a head
_BODY = ("last_hidden_state", "token_embeddings", "sentence_embedding")
_INPUTS = {
    "pixel_values": "an image model: its graph takes pixel_values",
    "input_values": "an audio model: its graph takes input_values",
    "input_features": "an audio model: its graph takes input_features",
    "decoder_input_ids": _SEQ2SEQ,
}
# keys of a cross-encoder's config.json
_CROSS_ENCODER = ("sentence_transformers", "sbert_ce_default_activation_function")
_SENTENCES = re.compile(
    r"modules\.json|sentence_\w+_config\.json|config_sentence_transformers\.json|1_Pooling"
)
# With more logits per token, and no head in a config, it is a language model.
_MAX_LABELS = 1024


def kind_of_folder(path: Path, variant: str | None = None) -> type[AnyFolder]:
    """Return the class of a model folder; raise `ModelLoadError` naming an unsupported kind.

    The first of `architectures` in config.json decides the head, unless the graph's outputs show
    that it was exported without one. Without an entry, sentence-transformers' files decide, then
    the outputs.
    """
    config = read_config(path / "config.json")
    own = read_config(path / "config_sentence_transformers.json").get("model_type")
    crossed = own == "CrossEncoder" or any(key in config for key in _CROSS_ENCODER)
    head = _architecture(config) or (_SEQUENCE if crossed else None)
    sentences = not crossed and any(_SENTENCES.fullmatch(file.name) for file in path.iterdir())
    if sentences and head not in _CLASSIFIERS:  # an embedder may be based on any language model
        return _class(_EMBEDDING)
    if (path / "genai_config.json").is_file() or head == _GENERATION:
        return _class(_GENERATION)
    graph = _graph(path, variant)
    if any(name in graph.outputs for name in _BODY) and (
        "logits" not in graph.outputs or head not in _CLASSIFIERS
    ):
        head = _EMBEDDING
    elif head is None:
        head = _GENERATION if is_decoder(path) else _by_graph(graph, config)
    if head == _SEQUENCE:
        return _classifier(config, graph, crossed=crossed)
    if head in _CLASSES:
        return _class(head)
    raise ModelLoadError(
        f"{display(path)} holds {head}. Folders that load are those of embedders, rerankers, text "
        "and token classifiers and text generators; load_model(folder / 'model.onnx') runs any "
        "graph on arrays"
    )


def _class(head: str) -> type[AnyFolder]:
    """Return the class of a head; import its module only now to start faster."""
    module, _, name = _CLASSES[head].rpartition(".")
    kind: type[AnyFolder] = getattr(import_module(f"conduit_lab.models.{module}"), name)
    return kind


def _architecture(config: Mapping[str, Any]) -> str | None:
    """Return the head named in config.json, or None."""
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    if "ConditionalGeneration" in name:  # multimodal decoders have this name too
        return _SEQ2SEQ if config.get("is_encoder_decoder") else _GENERATION
    return next((head for part, head in _HEADS.items() if part in name), None)


def _graph(path: Path, variant: str | None) -> TextGraph:
    """Return the facts of the folder's graph, empty if it is missing, which opening reports."""
    found = find_graphs(path).get(variant or "")
    return TextGraph() if found is None else read_text_graph(found)


def _by_graph(graph: TextGraph, config: Mapping[str, Any]) -> str:
    """Return the head indicated by the graph's inputs and outputs."""
    for name, reason in _INPUTS.items():
        if name in graph.inputs:
            return reason
    if {"start_logits", "end_logits"} <= set(graph.outputs):
        return _ANSWER
    rank, width = graph.outputs.get("logits", (None, None))
    if rank == 3:
        return (
            _MASKED if width == config.get("vocab_size") or (width or 0) > _MAX_LABELS else _TOKEN
        )
    return _SEQUENCE if rank == 2 else _EMBEDDING


def _classifier(config: Mapping[str, Any], graph: TextGraph, *, crossed: bool) -> type[AnyFolder]:
    """Return the class for a head with one row of logits per text: one label is a rerank score.

    With a `problem_type` it is a classifier: transformers writes that for the heads it trains, and
    rerankers are trained with other libraries.
    """
    stated = [width for rank, width in graph.outputs.values() if rank == 2 and width]
    labels = config.get("id2label")
    named = len(labels) if isinstance(labels, dict) else config.get("num_labels", 2)
    count = stated[0] if stated else named
    alone = (
        config.get("problem_type") in ("regression", "multi_label_classification") and not crossed
    )
    return _class(_SCORE if count == 1 and not alone else _TEXT)
