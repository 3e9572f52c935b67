"""The kind of a model's folder: by its configs and its graph's outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab import App
from conduit_lab.core.errors import ModelLoadError
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.kinds import kind_of_folder
from conduit_lab.models.load import load_model
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.models.text.reranker import Reranker
from conduit_lab.models.text.text_classifier import TextClassifier
from conduit_lab.models.text.token_classifier import TokenClassifier
from tests.models import classifiers
from tests.models.text.embedders import POOLING, TRANSFORMER, write

TOKENIZER = classifiers.bert()
TWO: dict[str, Any] = {"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}}
ONE: dict[str, Any] = {"id2label": {"0": "LABEL_0"}}


def made(path: Path, head: str | None, width: int = 2, **options: Any) -> Path:
    logits = np.ones((TOKENIZER.get_vocab_size(), width), np.float32)
    return classifiers.folder(path, TOKENIZER, logits, head=head, **options)


@pytest.mark.parametrize(
    ("head", "width", "config", "kind"),
    [
        ("DistilBertForSequenceClassification", 2, TWO, TextClassifier),
        ("RobertaForSequenceClassification", 3, {}, TextClassifier),  # NLI
        ("BertForSequenceClassification", 6, {}, TextClassifier),
        ("Qwen2ForSequenceClassification", 4, {}, TextClassifier),
        ("BertForSequenceClassification", 1, ONE, Reranker),
        ("XLMRobertaForSequenceClassification", 1, {}, Reranker),
        ("BertForSequenceClassification", 1, ONE | {"problem_type": "regression"}, TextClassifier),
        (
            "BertForSequenceClassification",
            1,
            ONE | {"problem_type": "multi_label_classification"},
            TextClassifier,
        ),
        (
            "BertForSequenceClassification",
            1,
            ONE | {"problem_type": "regression", "sentence_transformers": {"version": "5.1"}},
            Reranker,
        ),
        (
            "BertForSequenceClassification",
            3,
            {"sentence_transformers": {"version": "5.1"}},
            TextClassifier,
        ),
    ],
)
def test_a_head_with_one_label_is_a_score_and_one_with_several_a_classifier(
    tmp_path: Path, head: str, width: int, config: dict[str, Any], kind: type
) -> None:
    assert type(load_model(made(tmp_path / "model", head, width, **config))) is kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("BertForTokenClassification", TokenClassifier),
        ("XLMRobertaForTokenClassification", TokenClassifier),
        ("BertModel", TokenClassifier),  # the graph has logits that config.json does not mention
        (None, TokenClassifier),
    ],
)
def test_logits_by_token_are_a_token_classifiers(
    tmp_path: Path, head: str | None, kind: type
) -> None:
    assert type(load_model(made(tmp_path / "model", head, 5, by_token=True))) is kind


@pytest.mark.parametrize(
    "files",
    [{"genai_config.json": {}}, {"config.json": {"architectures": ["LlamaForCausalLM"]}}],
)
def test_a_language_model_is_known_by_one_config(tmp_path: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        write(tmp_path / name, content)
    assert kind_of_folder(tmp_path) is Generator


def test_a_language_model_with_hidden_states_beside_its_logits_is_a_generator(
    tmp_path: Path,
) -> None:
    outputs = ["logits", "last_hidden_state"]
    folder = made(tmp_path / "model", "LlamaForCausalLM", 4, by_token=True, outputs=outputs)
    assert kind_of_folder(folder) is Generator


@pytest.mark.parametrize("outputs", [["last_hidden_state"], ["token_embeddings"]])
@pytest.mark.parametrize(
    "head",
    [
        "BertForSequenceClassification",
        "BertForTokenClassification",
        "JinaBertForMaskedLM",
        "BertForQuestionAnswering",
        "BertModel",
        "T5EncoderModel",
        "SomethingNew",
        None,
    ],
)
def test_a_graph_without_its_head_is_an_embedders(
    tmp_path: Path, head: str | None, outputs: list[str]
) -> None:
    folder = made(tmp_path / "model", head, 4, by_token=True, outputs=outputs)
    embedder = load_model(folder, device="cpu")
    assert type(embedder) is Embedder
    assert embedder.encode("a").shape == (4,)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("BertForTokenClassification", TokenClassifier),
        ("BertForMaskedLM", Embedder),
        ("BertModel", Embedder),
    ],
)
def test_a_graph_with_logits_and_what_is_before_them_is_what_its_config_says(
    tmp_path: Path, head: str, kind: type
) -> None:
    folder = made(
        tmp_path / "model", head, 4, by_token=True, outputs=["logits", "last_hidden_state"]
    )
    assert type(load_model(folder, device="cpu")) is kind


@pytest.mark.parametrize("head", ["JinaBertForMaskedLM", "Qwen3ForCausalLM", "BertModel"])
@pytest.mark.parametrize(
    "files", ["modules.json", "1_Pooling/config.json", "sentence_bert_config.json"]
)
def test_sentence_transformers_files_make_a_language_model_an_embedder(
    tmp_path: Path, head: str, files: str
) -> None:
    folder = made(tmp_path / "model", head, 4, by_token=True, outputs=["output"])
    listed = [{"type": kind, "path": part} for kind, part in (TRANSFORMER, POOLING)]
    write(folder / files, listed if files == "modules.json" else {})
    write(folder / "1_Pooling" / "config.json", {})
    assert type(load_model(folder)) is Embedder


@pytest.mark.parametrize(("width", "kind"), [(1, Reranker), (3, TextClassifier)])
@pytest.mark.parametrize("head", ["BertForSequenceClassification", None])
def test_a_cross_encoders_config_is_no_embedders(
    tmp_path: Path, width: int, kind: type, head: str | None
) -> None:
    folder = made(tmp_path / "model", head, width)
    write(folder / "config_sentence_transformers.json", {"model_type": "CrossEncoder"})
    write(folder / "modules.json", [{"type": TRANSFORMER[0], "path": ""}])
    assert type(load_model(folder)) is kind


@pytest.mark.parametrize(("width", "kind"), [(1, Reranker), (2, TextClassifier)])
def test_logits_by_text_need_no_config(tmp_path: Path, width: int, kind: type) -> None:
    assert type(load_model(made(tmp_path / "model", None, width))) is kind


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("BertForQuestionAnswering", "a question-answering model: its logits say where"),
        ("DistilBertForMaskedLM", "a masked language model: .* --task feature-extraction"),
        ("BertForPreTraining", "a model in pre-training"),
        ("ElectraForPreTraining", "a model in pre-training"),
        ("BertForNextSentencePrediction", "a next-sentence model"),
        ("RobertaForMultipleChoice", "a multiple-choice model"),
        ("ViTForImageClassification", "an image classifier"),
        ("DetrForObjectDetection", "an object detection model"),
        ("SegformerForSemanticSegmentation", "a segmentation model"),
        ("Wav2Vec2ForCTC", "a speech recognition model"),
        ("ASTForAudioClassification", "an audio classifier"),
        ("MarianMTModel", "a sequence-to-sequence model"),
    ],
)
def test_other_heads_are_refused_with_what_they_are(tmp_path: Path, head: str, told: str) -> None:
    with pytest.raises(
        ModelLoadError, match=rf"model holds {told}.*load_model\(folder / 'model.onnx'\)"
    ):
        load_model(made(tmp_path / "model", head, 30, by_token=True), lazy=True)


def test_an_encoder_with_a_decoder_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path / "model", "T5ForConditionalGeneration", is_encoder_decoder=True)
    write(folder / "generation_config.json", {})
    with pytest.raises(
        ModelLoadError, match="holds a sequence-to-sequence model, an encoder and a decoder in one"
    ):
        load_model(folder)


@pytest.mark.parametrize(
    ("outputs", "width", "told"),
    [
        (["start_logits", "end_logits"], 3, "a question-answering model"),
        (["logits"], 2000, "a masked language model"),
        (["logits"], len(classifiers.PIECES), "a masked language model"),
    ],
)
def test_heads_are_known_by_their_outputs_without_architectures(
    tmp_path: Path, outputs: list[str], width: int, told: str
) -> None:
    folder = made(
        tmp_path / "model",
        None,
        width,
        by_token=True,
        outputs=outputs,
        vocab_size=len(classifiers.PIECES),
    )
    with pytest.raises(ModelLoadError, match=f"holds {told}"):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "told"),
    [("pixel_values", "an image model"), ("input_features", "an audio model")],
)
def test_a_graph_that_takes_no_text_is_refused(tmp_path: Path, name: str, told: str) -> None:
    inputs = ["input_ids", "attention_mask", name]
    folder = made(tmp_path / "model", "SomeModel", by_token=True, inputs=inputs, outputs=["out"])
    with pytest.raises(ModelLoadError, match=told):
        load_model(folder)


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["LlamaForCausalLM"]},
        {"architectures": ["Gemma3ForConditionalGeneration"]},
    ],
)
def test_decoders_stay_generators(tmp_path: Path, config: dict[str, Any]) -> None:
    write(tmp_path / "config.json", config)
    assert kind_of_folder(tmp_path) is Generator


def test_logits_are_no_vectors(tmp_path: Path) -> None:
    folder = made(tmp_path / "model", "BertForMaskedLM", 4, by_token=True)
    with pytest.raises(ModelLoadError, match="is not an embedding model: its graph returns logits"):
        Embedder(folder).open()


def test_an_app_declares_the_same_kinds(tmp_path: Path) -> None:
    made(tmp_path / "mood", "BertForSequenceClassification", **TWO)
    model = App("desk", root=tmp_path).load_model("mood")
    assert type(model) is TextClassifier
    assert model.held is None
