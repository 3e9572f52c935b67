"""Exported encoders and decoders of many architectures reproduce transformers' recorded outputs.

`data/make/encoders.py` and `data/make/decoders.py` make the folders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab import load_model
from tests.models.generation.writers import DECODERS, golden

pytestmark = pytest.mark.long

ENCODERS = Path(__file__).parent / "encoders"
VECTORS = ("bert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")
WRITERS = sorted(folder.name for folder in DECODERS.iterdir() if folder.is_dir())


def recorded(name: str) -> list[dict[str, Any]]:
    """Return the recorded outputs of transformers, one per text."""
    return list(json.loads((ENCODERS / name / "golden.json").read_text(encoding="utf-8")))


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    model: Any = load_model(DECODERS / request.param)
    yield request.param, model
    model.unload()


@pytest.mark.parametrize("name", VECTORS)
def test_an_encoder_gives_the_recorded_vectors(name: str) -> None:
    texts, vectors = zip(
        *((entry["text"], entry["vector"]) for entry in recorded(name)), strict=True
    )
    model: Any = load_model(ENCODERS / name)
    assert np.allclose(model.encode(list(texts)), vectors, atol=2e-5)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.allclose(model.encode(text), vector, atol=2e-5)


@pytest.mark.parametrize("name", ["mood", "topics"])
def test_a_text_classifier_gives_the_recorded_scores(name: str) -> None:
    texts, scores = zip(
        *((entry["text"], entry["scores"]) for entry in recorded(name)), strict=True
    )
    model: Any = load_model(ENCODERS / name)
    got = model.predict(list(texts))
    assert np.allclose(
        [list(prediction.probabilities.values()) for prediction in got], scores, atol=2e-5
    )
    best = [model.labels[int(np.argmax(row))] for row in scores]
    assert (
        [prediction.label for prediction in got]
        == best
        == [model.predict(text).label for text in texts]
    )


def test_a_token_classifier_finds_the_recorded_entities() -> None:
    entries = [entry for entry in recorded("names") if "entities" in entry]
    model: Any = load_model(ENCODERS / "names")
    for entry, entities in zip(
        entries, model.predict([entry["text"] for entry in entries]), strict=True
    ):
        assert [[e.label, e.start, e.end] for e in entities] == [
            [e[0], *e[2:]] for e in entry["entities"]
        ]
        assert np.allclose(
            [e.score for e in entities], [e[1] for e in entry["entities"]], atol=2e-5
        )


def test_a_decoder_writes_the_recorded_tokens_alone(writer: tuple[str, Any]) -> None:
    name, model = writer
    for expected in golden(name):
        written = model.generate(expected.prompt, max_tokens=len(expected.tokens), temperature=0)
        assert [token.id for token in written.tokens] == expected.tokens


def test_a_decoder_writes_the_recorded_tokens_beside_others(writer: tuple[str, Any]) -> None:
    name, model = writer
    entries = golden(name) * 2  # the second time their prefixes are cached
    with ThreadPoolExecutor(len(entries)) as threads:
        written = threads.map(
            lambda entry: model.generate(entry.prompt, max_tokens=64, temperature=0), entries
        )
        ids = [[token.id for token in generation.tokens] for generation in written]
    assert ids == [entry.tokens for entry in entries]
