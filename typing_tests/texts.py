"""Models of texts, and the reports about them, have types."""

from __future__ import annotations

from typing import assert_type

import numpy as np
import numpy.typing as npt

from conduit_lab import (
    Embedder,
    Entities,
    Entity,
    Reranker,
    TextClassifier,
    TokenClassifier,
    compare_models,
    optimize,
    tune,
)


def embed(embedder: Embedder) -> None:
    assert_type(embedder.encode("a"), npt.NDArray[np.float32])
    embedder.encode(["a", "b"], prompt_name="query")
    embedder.encode(np.array(["a", "b"]))
    embedder.encode(3)  # error
    embedder.encode([1, 2])  # error
    embedder.encode_query({"text": "a"})  # error


def score(reranker: Reranker) -> None:
    assert_type(reranker.score("a", ["b"]), npt.NDArray[np.float32])
    reranker.score(["a"], ["b"])  # error


def classify(mood: TextClassifier, ner: TokenClassifier) -> None:
    print(mood.predict("a").label, mood.predict({"text": "a", "text_pair": "b"}).label)
    print(mood.predict(["a", "b"]).probabilities)
    print(mood.predict("a").labl)  # error
    mood.predict(3)  # error
    assert_type(ner.predict("a"), Entities)
    assert_type(ner.predict(["a"]), list[Entities])
    assert_type(ner.predict("a")[0], Entity)
    assert_type(ner.predict("a")[:1], Entities)
    ner.predict({"text": "a"})  # error


def measure(embedder: Embedder) -> None:
    assert_type(optimize(embedder, "int8").model, Embedder)
    optimize(3, "int8")  # error
    print(tune("minilm", ["a"]).best.threads)
    tune(3)  # error
    comparison = compare_models([embedder, "minilm"], "a")
    print(comparison[0].speed, [row.label for row in comparison[1:]])
    print(comparison[0].sped)  # error
