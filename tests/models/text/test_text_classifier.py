"""TextClassifier: answers equal the same computation in NumPy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from conduit_lab import Prediction, TextClassifier
from conduit_lab.core.errors import ModelInputError, ModelLoadError, ModelRunError
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span_facts import remarks
from conduit_lab.models.load import load_model
from conduit_lab.serving import codec
from tests.models import classifiers
from tests.runtime import graphs

TOKENIZER = classifiers.bert()
ROWS = {
    "good": [2.0, -1, 0],
    "bad": [-1.0, 3, 0],
    "so": [0.5, 0, 1],
    "a": [0, 0, 0.25],
    "[CLS]": [0.1, 0, 0],
}
LOGITS = classifiers.table(TOKENIZER, 3, ROWS)
LABELS = {"10": "ten", "2": "two", "0": "zero"}  # as text they would be sorted 0, 10, 2
HEAD = "BertForSequenceClassification"
WORDS = ["good", "bad", "so", "a", "unknown", "zoely", "東京", ","]


def made(path: Path, **options: Any) -> TextClassifier:
    options = {"head": HEAD, "id2label": LABELS} | options
    labels = options.pop("labels", None)
    tokenizer = options.pop("tokenizer", TOKENIZER)
    folder = classifiers.folder(path, tokenizer, options.pop("logits", LOGITS), **options)
    model = load_model(folder, device="cpu", labels=labels)
    assert isinstance(model, TextClassifier)
    return model


def logits(text: str, other: str | None = None) -> Any:
    """Return the sums of the tokens' logits, those of a second text ten times."""
    encoding = TOKENIZER.encode(text) if other is None else TOKENIZER.encode(text, other)
    weights = 1 + 9 * np.array(encoding.type_ids)
    return weights @ LOGITS[encoding.ids].astype(np.float64)


@pytest.fixture(scope="module")
def mood(tmp_path_factory: pytest.TempPathFactory) -> TextClassifier:
    return made(tmp_path_factory.mktemp("models") / "mood")


def test_a_text_has_a_prediction_with_all_probabilities(mood: TextClassifier) -> None:
    prediction = mood.predict("so good")
    assert isinstance(prediction, Prediction)
    assert prediction.label == "zero"
    expected = classifiers.softmax(logits("so good"))
    assert list(prediction.probabilities) == ["zero", "two", "ten"]
    np.testing.assert_allclose(list(prediction.probabilities.values()), expected, rtol=1e-5)
    assert prediction.score == pytest.approx(expected[0], rel=1e-5)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    texts=st.lists(
        st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join), min_size=1, max_size=12
    )
)
def test_padding_and_other_texts_change_nothing(mood: TextClassifier, texts: list[str]) -> None:
    got = mood.predict(texts)
    np.testing.assert_allclose(
        got.probabilities,
        classifiers.softmax([logits(text) for text in texts]),
        rtol=2e-5,
        atol=1e-7,
    )
    assert [p.label for p in got] == [mood.predict(text).label for text in texts]


@pytest.mark.parametrize("many", [list, tuple, np.array, pd.Series])
def test_many_texts_come_in_any_row(mood: TextClassifier, many: Any) -> None:
    assert [p.label for p in mood.predict(many(["good", "bad", "so so so"]))] == [
        "zero",
        "two",
        "ten",
    ]


def test_no_texts_have_no_predictions(mood: TextClassifier) -> None:
    assert len(mood.predict([])) == 0


def test_a_pair_is_read_together(mood: TextClassifier) -> None:
    pair = {"text": "good good", "text_pair": "bad"}
    expected = classifiers.softmax(logits("good good", "bad"))
    prediction = mood.predict(pair)
    assert prediction.label == "two"
    np.testing.assert_allclose(
        list(prediction.probabilities.values()), expected, rtol=1e-5, atol=1e-9
    )
    mixed = mood.predict([pair, "good", {"text": "bad"}])
    assert [p.label for p in mixed] == ["two", "zero", "two"]
    assert mixed[1].score == pytest.approx(mood.predict("good").score)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (None, "got NoneType"),
        (3, "got int"),
        (["good", 3], "got a list of int, str"),
        ([("good", "bad")], "or pairs {'text': …, 'text_pair': …}, got a list of tuple"),
        ({"text": "a", "text_pair": 3}, "expects {'text': …, 'text_pair': …} with two texts"),
        ({"text_pair": "a"}, "with two texts"),
        ({"text": "a", "other": "b"}, "with two texts, got .*other"),
    ],
)
def test_anything_but_text_is_refused(mood: TextClassifier, value: Any, got: str) -> None:
    with pytest.raises(ModelInputError, match=got):
        mood.predict(value)


def test_several_labels_may_hold_at_once(tmp_path: Path) -> None:
    model = made(tmp_path / "model", problem_type="multi_label_classification")
    prediction = model.predict("good bad so")
    expected = 1 / (1 + np.exp(-logits("good bad so")))
    np.testing.assert_allclose(list(prediction.probabilities.values()), expected, rtol=1e-5)
    assert sum(prediction.probabilities.values()) > 2
    assert "sigmoid" in str(model._facts())


def test_a_single_label_has_a_probability_of_its_own(tmp_path: Path) -> None:
    config = {"problem_type": "multi_label_classification", "id2label": {"0": "toxic"}}
    model = made(tmp_path / "model", logits=LOGITS[:, :1], **config)
    assert model.predict("bad").probabilities["toxic"] == pytest.approx(
        1 / (1 + np.exp(0.9)), rel=1e-5
    )


def test_a_regression_gives_numbers(tmp_path: Path) -> None:
    one: Any = made(
        tmp_path / "one", logits=LOGITS[:, :1], problem_type="regression", id2label={"0": "score"}
    )
    assert one.predict("good") == pytest.approx(2.1)
    assert isinstance(one.predict("good"), float)
    np.testing.assert_allclose(one.predict(["good", "bad"]), [2.1, -0.9], rtol=1e-6)
    three: Any = made(tmp_path / "three", problem_type="regression")
    np.testing.assert_allclose(three.predict("good"), [2.1, -1, 0], rtol=1e-6)
    assert three.predict(["good", "bad"]).shape == (2, 3)


def test_without_names_labels_are_numbered(tmp_path: Path) -> None:
    assert made(tmp_path / "model", id2label=None).labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_labels_may_be_given(tmp_path: Path) -> None:
    model = made(tmp_path / "model", labels=["up", "down", "flat"])
    assert model.predict("bad").label == "down"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"id2label": {"0": "a", "1": "b"}},
            r"has 2 labels and a graph that gives 3 logits.*labels=\[",
        ),
        ({"id2label": {"x": "a"}}, "expected a label per number"),
        (
            {"id2label": {"0": "a", "1": "b", "2": "a"}},
            r"has a label twice in a, b, a: .*labels=\[",
        ),
        ({"labels": ["a", "b", "a"]}, r"has a label twice in a, b, a: .*labels=\["),
        ({"id2label": ["a", "b", "c"]}, "expected a label per number"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelLoadError, match=message):
        made(tmp_path / "model", **config)


def test_a_long_text_is_cut_and_the_trace_says_so(tmp_path: Path) -> None:
    model = made(tmp_path / "short", max_position_embeddings=6)
    with recorder.record("cell") as recorded:
        got = model.predict(["good " * 4 + "bad bad bad bad", "bad"])
    assert [p.label for p in got] == ["zero", "two"]
    assert remarks(recorded["short"].attributes) == "1 of 2 texts cut at 6 tokens"
    assert recorded["short"].gave is got
    pair = model.predict({"text": "so", "text_pair": "good " * 50 + "bad " * 50})
    assert pair.label == "zero"


def test_it_is_a_stage(mood: TextClassifier) -> None:
    assert mood("bad").label == "two"
    assert [p.label for p in mood.batch(["bad", {"text": "good", "text_pair": "good"}])] == [
        "two",
        "zero",
    ]
    assert [[p.label for p in part] for part in mood.batch([["bad"], ["good", "bad"]])] == [
        ["two"],
        ["zero", "two"],
    ]

    async def together() -> list[Any]:
        return await asyncio.gather(
            *(mood.acall(text) for text in ["bad", "good", "so so so", ["bad", "good"]])
        )

    first, second, third, both = asyncio.run(together())
    assert [first.label, second.label, third.label] == ["two", "zero", "ten"]
    assert [p.label for p in both] == ["two", "zero"]


def test_calls_of_pairs_and_texts_are_coalesced(mood: TextClassifier) -> None:
    logits_graph = mood._parts().token_graph
    encode = mood._encoder(mood._parts())
    pair, text = encode([("good", "bad")]), encode(["good", "bad"])
    joined = logits_graph([text, pair])
    np.testing.assert_allclose(joined[0], logits_graph.answers(text), rtol=1e-6)
    np.testing.assert_allclose(joined[1], logits_graph.answers(pair), rtol=1e-6)


def test_its_answers_have_a_json_form(mood: TextClassifier) -> None:
    answer = codec.loads(codec.dumps(mood.predict(["bad"])))
    assert answer[0]["label"] == "two"
    assert list(answer[0]["probabilities"]) == ["zero", "two", "ten"]


def test_its_repr_opens_nothing(tmp_path: Path) -> None:
    folder = classifiers.folder(tmp_path / "<b>", TOKENIZER, LOGITS, head=HEAD, id2label=LABELS)
    model = TextClassifier(folder, device="cpu")
    assert repr(model).endswith("not opened)")
    assert "not opened yet" in model._repr_mimebundle_()["text/html"]
    model.predict("good")
    shown = model._repr_mimebundle_()["text/html"]
    for fact in ("3: zero, two, ten", "512 tokens", "softmax", "&lt;b&gt;"):
        assert fact in shown


def test_nan_is_no_prediction(tmp_path: Path) -> None:
    logits = LOGITS.copy()
    logits[TOKENIZER.token_to_id("bad")] = np.nan
    with pytest.raises(ModelRunError, match="returned NaN for a label"):
        made(tmp_path / "model", logits=logits).predict("bad")


def test_a_graph_that_mixes_its_rows_runs_each_unbatched(tmp_path: Path) -> None:
    folder = classifiers.folder(tmp_path / "model", TOKENIZER, LOGITS, head=HEAD, id2label=LABELS)
    node = graphs.node
    graphs.save(
        folder / "model.onnx",
        [
            node("Gather", ["table", "input_ids"], ["rows"]),
            node("ReduceSum", ["rows", "middle"], ["sums"], keepdims=0),
            node("ReduceMax", ["sums"], ["most"], axes=[0]),
            node("Sub", ["sums", "most"], ["logits"]),
        ],
        [
            graphs.value(name, ["batch", "tokens"], "int64")
            for name in ("input_ids", "attention_mask")
        ],
        [graphs.value("logits", ["batch", 3])],
        [graphs.constant("table", LOGITS), graphs.constant("middle", np.array([1]))],
    )
    got = TextClassifier(folder, device="cpu").predict(["good", "bad", "so so so"])
    np.testing.assert_allclose(got.probabilities, np.full((3, 3), 1 / 3), rtol=1e-6)


def test_a_decoder_classifies_by_its_last_token_which_it_finds_by_the_padding(
    tmp_path: Path,
) -> None:
    words = {"good": 0, "bad": 1, "?": 2, "</s>": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    table = np.array([[1, 0], [0, 1], [0, 0], [7, 0]], np.float32)
    head: dict[str, Any] = {
        "head": "LlamaForSequenceClassification",
        "id2label": None,
        "pad_token_id": 3,
    }
    folder = classifiers.folder(tmp_path / "model", tokenizer, table, **head)
    node = graphs.node
    graphs.save(
        folder / "model.onnx",
        [
            node("Gather", ["table", "input_ids"], ["rows"]),
            node("Equal", ["input_ids", "padding"], ["is_padding"]),
            node("Not", ["is_padding"], ["is_token"]),
            node("Cast", ["is_token"], ["token"], to=1),
            node("CumSum", ["token", "middle"], ["place"]),
            node("ReduceSum", ["token", "middle"], ["length"]),
            node("Equal", ["place", "length"], ["from_last"]),
            node("And", ["from_last", "is_token"], ["is_last"]),
            node("Cast", ["is_last"], ["last"], to=1),
            node("Unsqueeze", ["last", "middle"], ["row"]),
            node("MatMul", ["row", "rows"], ["sums"]),
            node("Squeeze", ["sums", "middle"], ["logits"]),
        ],
        [
            graphs.value(name, ["batch", "tokens"], "int64")
            for name in ("input_ids", "attention_mask")
        ],
        [graphs.value("logits", ["batch", 2])],
        [
            graphs.constant("table", table),
            graphs.constant("padding", np.array(3)),
            graphs.constant("middle", np.array([1])),
        ],
    )
    model = TextClassifier(folder, device="cpu")
    assert model.open()._parts().token_graph.independent  # so the three share a run
    got = model.predict(["good good good bad", "good", "bad good"])
    np.testing.assert_allclose(
        got.probabilities, classifiers.softmax([[0, 1], [1, 0], [1, 0]]), rtol=1e-6
    )
