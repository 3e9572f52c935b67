"""TokenClassifier: exact characters, whole words, and all of a long text."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conduit_lab import Entities, Entity, TokenClassifier
from conduit_lab.core.errors import ModelInputError, ModelLoadError, ModelRunError
from conduit_lab.core.trace import recorder
from conduit_lab.models.load import load_model
from conduit_lab.serving import codec
from tests.models import classifiers
from tests.models.text.taggers import HEAD, TOKENIZER, found, made
from tests.runtime import graphs


@pytest.fixture(scope="module")
def ner(tmp_path_factory: pytest.TempPathFactory) -> TokenClassifier:
    return made(tmp_path_factory.mktemp("models") / "ner")


def test_an_entity_has_label_score_span_and_text(ner: TokenClassifier) -> None:
    text = "so  Anna Zoe, in New York."
    got = ner.predict(text)
    score = np.exp(3) / (np.exp(3) + 4)
    assert isinstance(got, Entities)
    assert list(got) == [
        Entity("PER", pytest.approx(score), 4, 12, "Anna Zoe"),  # type: ignore[arg-type]
        Entity("LOC", pytest.approx(score), 17, 25, "New York"),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("Ánná ist in NÉW york", [("PER", "Ánná"), ("LOC", "NÉW york")]),  # accents are stripped
        ("A\u0301nna", [("PER", "A\u0301nna")]),  # decomposed
        ("😀 anna 😀", [("PER", "anna")]),
        ("in 東京, 東", [("LOC", "東京"), ("LOC", "東")]),  # no blanks between words
        ("東anna", [("LOC", "東"), ("PER", "anna")]),
        ("[SEP] anna [CLS]", [("PER", "anna")]),
        ("\ud800 anna \udfff", [("PER", "anna")]),
        ("\n\tanna\n\nzoe\t", [("PER", "anna\n\nzoe")]),
        ("anna-zoe", [("PER", "anna"), ("PER", "zoe")]),
        ("", []),
        ("   ", []),
        ("so in so", []),
    ],
)
def test_spans_are_those_of_the_text_as_it_was_given(
    ner: TokenClassifier, text: str, entities: Any
) -> None:
    got = ner.predict(text)
    assert all(text[entity.start : entity.end] == entity.text for entity in got)
    assert found(got) == entities


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.sampled_from(
            ["Anna", "zoe", "New", " york", "東", "京", "é", " ", "  ", "-", "[PAD]", "İ", "ﬁ", "x"]
        )
    )
)
@example(["İ", "Anna", "ﬁ", "zoe"])
def test_every_span_is_its_text(ner: TokenClassifier, parts: list[str]) -> None:
    text = "".join(parts)
    last = 0
    for entity in ner.predict(text):
        assert text[entity.start : entity.end] == entity.text
        assert entity.text == entity.text.strip() != ""
        assert entity.start >= last
        last = entity.end


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("Annaa", [("PER", "Annaa")]),  # anna ##a: the second token says B-PER too
        ("newer", [("LOC", "newer")]),
        ("soer", []),  # so ##er: O by its first token
        ("annaer zoely", [("PER", "annaer zoely")]),
    ],
)
def test_a_word_has_the_label_of_its_first_token(
    ner: TokenClassifier, text: str, entities: Any
) -> None:
    assert found(ner.predict(text)) == entities


WORDS = ["a", "b", "c", "anna", "new", "york", "in", "zoe", "good", "bad", "so"]


def tagged(path: Path, labels: tuple[str, ...], tags: str) -> list[tuple[str, str]]:
    """Return the entities of words with these tags."""
    model = made(
        path,
        {word: labels.index(tag) for word, tag in zip(WORDS, tags.split(), strict=False)},
        labels,
    )
    return found(model.predict(" ".join(WORDS[: len(tags.split())])))


@pytest.mark.parametrize(
    ("labels", "tags", "entities"),
    [
        # IOB2
        ("O B-P I-P", "B-P I-P B-P O I-P I-P", [("P", "a b"), ("P", "c"), ("P", "new york")]),
        # IOB1: B only between neighbours
        ("O I-P B-P I-Q", "I-P I-P B-P I-P I-Q", [("P", "a b"), ("P", "c anna"), ("Q", "new")]),
        # IOBES, BILOU, BMES
        (
            "O B-P I-P E-P S-P",
            "S-P B-P I-P E-P S-P I-P E-P B-P E-P",
            [("P", "a"), ("P", "b c anna"), ("P", "new"), ("P", "york in"), ("P", "zoe good")],
        ),
        ("O B-P I-P L-P U-P", "U-P B-P L-P I-P O", [("P", "a"), ("P", "b c"), ("P", "anna")]),
        ("O B_P M_P E_P S_P", "B_P M_P E_P S_P", [("P", "a b c"), ("P", "anna")]),
        # labels without tags
        ("NOUN VERB", "NOUN NOUN VERB NOUN", [("NOUN", "a b"), ("VERB", "c"), ("NOUN", "anna")]),
        ("O LABEL_1", "O LABEL_1 LABEL_1 O LABEL_1", [("LABEL_1", "b c"), ("LABEL_1", "new")]),
        # a letter and a hyphen that are not a tag
        ("O E-MAIL S-CORP", "E-MAIL E-MAIL S-CORP O", [("E-MAIL", "a b"), ("S-CORP", "c")]),
        ("O B-E-MAIL I-E-MAIL", "B-E-MAIL I-E-MAIL B-E-MAIL", [("E-MAIL", "a b"), ("E-MAIL", "c")]),
    ],
)
def test_tags_begin_and_end_entities(tmp_path: Path, labels: str, tags: str, entities: Any) -> None:
    assert tagged(tmp_path / "model", tuple(labels.split()), tags) == entities


def test_the_score_is_the_mean_of_the_words(tmp_path: Path) -> None:
    logits = classifiers.table(
        TOKENIZER, 2, {"anna": [0, 1.0], "zoe": [0, 3.0], "##er": [9, 0], "so": [2, 0]}
    )
    config: dict[str, Any] = {"id2label": {"0": "O", "1": "PER"}}
    folder = classifiers.folder(
        tmp_path / "model", TOKENIZER, logits, head=HEAD, by_token=True, **config
    )
    (entity,) = TokenClassifier(folder, device="cpu").predict("so annaer zoe so")
    expected = (1 / (1 + np.exp(-1)) + 1 / (1 + np.exp(-3))) / 2
    assert entity.text == "annaer zoe"
    assert entity.score == pytest.approx(expected, rel=1e-6)


# Long texts


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.sampled_from(["anna", "zoe", "new", "york", "so", "annaer", "soer", ",", "東京"]),
        max_size=60,
    )
)
def test_a_text_longer_than_the_model_is_read_to_its_end(
    ner: TokenClassifier, short: TokenClassifier, words: list[str]
) -> None:
    text = " ".join(words)
    assert found(short.predict(text)) == found(ner.predict(text))
    assert [(e.start, e.end) for e in short.predict(text)] == [
        (e.start, e.end) for e in ner.predict(text)
    ]


@pytest.fixture(scope="module", params=[4, 5, 8, 13])
def short(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> TokenClassifier:
    path = tmp_path_factory.mktemp("models") / "short"
    return made(path, max_position_embeddings=request.param)


def test_no_run_has_more_tokens_than_the_model_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(tmp_path / "model", max_position_embeddings=10)
    widths = []
    run = model.shared.run

    def watched(feeds: Any, rows: int, **options: Any) -> Any:
        widths.append(feeds["input_ids"].shape[1])
        return run(feeds, rows, **options)

    monkeypatch.setattr(model.shared, "run", watched)
    assert len(model.predict("anna so " * 100)) == 100
    assert max(widths) == 10


def test_a_shared_token_has_the_label_of_the_window_where_it_is_further_inside(
    tmp_path: Path,
) -> None:
    """A model that labels the first and the last three tokens of each window wrong."""
    logits = classifiers.table(TOKENIZER, 2, {"anna": [0, 4.0]})
    folder = classifiers.folder(tmp_path / "model", TOKENIZER, logits, head=HEAD, by_token=True)
    node = graphs.node
    graphs.save(
        folder / "model.onnx",
        [
            node("Gather", ["table", "input_ids"], ["rows"]),
            node("CumSum", ["attention_mask", "one"], ["place"]),
            node("ReduceSum", ["attention_mask", "axis"], ["length"]),
            node("Sub", ["length", "place"], ["behind"]),
            node("Min", ["place", "behind"], ["margin"]),
            node("Greater", ["margin", "three"], ["inside"]),
            node("Cast", ["inside"], ["kept"], to=1),
            node("Unsqueeze", ["kept", "last"], ["column"]),
            node("Mul", ["rows", "column"], ["logits"]),
        ],
        [
            graphs.value(name, ["batch", "tokens"], "int64")
            for name in ("input_ids", "attention_mask")
        ],
        [graphs.value("logits", ["batch", "tokens", 2])],
        [
            graphs.constant("table", logits),
            graphs.constant("one", np.array(1)),
            graphs.constant("axis", np.array([1])),
            graphs.constant("last", np.array([2])),
            graphs.constant("three", np.array(3)),
        ],
    )
    config = {
        "architectures": [HEAD],
        "id2label": {"0": "O", "1": "PER"},
        "max_position_embeddings": 32,
    }
    (folder / "config.json").write_text(codec.dumps(config).decode())
    text = "so so so " + "anna so " * 60 + "so so so"
    assert len(TokenClassifier(folder, device="cpu").predict(text)) == 60


# Calls


def test_many_texts_are_answered_in_their_order(ner: TokenClassifier) -> None:
    texts = ["anna", "", "so " * 40 + "new york", "zoe so anna", "東京"]
    got = ner.predict(texts)
    assert got == [ner.predict(text) for text in texts]
    assert [found(entities) for entities in got][2] == [("LOC", "new york")]
    assert ner.predict([]) == []
    assert ner.batch(texts) == got
    assert ner(texts) == got


def test_concurrent_calls_are_coalesced(ner: TokenClassifier) -> None:
    texts = ["anna", "so", "new york " * 300, "zoe", "anna zoe"]

    async def together() -> list[Any]:
        return await asyncio.gather(*(ner.acall(text) for text in texts))

    assert asyncio.run(together()) == [ner.predict(text) for text in texts]


def test_the_trace_holds_the_answer(ner: TokenClassifier) -> None:
    with recorder.record("cell") as recorded:
        got = ner.predict("anna")
    assert recorded["ner"].gave is got
    assert recorded["ner"].kind == "predict"


@pytest.mark.parametrize("value", [None, 3, ["a", 3], {"text": "anna"}, b"anna"])
def test_anything_but_text_is_refused(ner: TokenClassifier, value: Any) -> None:
    with pytest.raises(ModelInputError, match="'ner' expects a text or a list of texts"):
        ner.predict(value)


def test_answers_have_a_json_form_a_table_and_a_static_repr(ner: TokenClassifier) -> None:
    got = ner.predict("so Anna, <b>New York</b>")
    assert codec.loads(codec.dumps(got))[0] == {
        "label": "PER",
        "score": pytest.approx(got[0].score),
        "start": 3,
        "end": 7,
        "text": "Anna",
    }
    assert list(got.to_pandas().columns) == ["label", "score", "start", "end", "text"]
    shown = got._repr_mimebundle_()
    assert "Anna" in shown["text/html"]
    assert "Anna" in shown["text/plain"]
    assert repr(ner.predict("so")) == "no entities"
    assert got[:1] == [got[0]]


def test_its_repr_names_the_labels(ner: TokenClassifier) -> None:
    assert "5: O, B-PER, I-PER, B-LOC, I-LOC" in ner._repr_mimebundle_()["text/html"]


def test_a_graph_with_logits_per_text_is_refused(tmp_path: Path) -> None:
    folder = classifiers.folder(
        tmp_path / "model", TOKENIZER, np.ones((25, 3), np.float32), head=HEAD
    )
    with pytest.raises(
        ModelLoadError,
        match=r"gives float32 \[32, 3\] for 32 texts: expected floats \[32, tokens, labels\]",
    ):
        load_model(folder, device="cpu")


def test_nan_is_no_entity(tmp_path: Path) -> None:
    logits = classifiers.table(TOKENIZER, 2, {"anna": [np.nan, np.nan]})
    folder = classifiers.folder(tmp_path / "model", TOKENIZER, logits, head=HEAD, by_token=True)
    with pytest.raises(ModelRunError, match="returned NaN for a token"):
        TokenClassifier(folder, device="cpu").predict("so anna")
