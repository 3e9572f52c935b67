"""Token classifiers whose logits depend only on the token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import (
    Tokenizer,
)

from conduit_lab import TokenClassifier
from conduit_lab.models.load import load_model
from tests.models import classifiers

HEAD = "BertForTokenClassification"
BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TOKENIZER = classifiers.bert()
TAGGED = {
    "anna": 1,
    "zoe": 2,
    "new": 3,
    "york": 4,
    "東": 3,
    "京": 4,
    "##er": 3,
    "##ly": 3,
    "##a": 1,
    "bad": 2,
}


def made(
    path: Path,
    tagged: dict[str, int] = TAGGED,
    labels: tuple[str, ...] = BIO,
    tokenizer: Tokenizer = TOKENIZER,
    **config: Any,
) -> TokenClassifier:
    """Return a model that assigns the logit 3 to a token's label, by default the first."""
    logits = np.zeros((tokenizer.get_vocab_size(), len(labels)), np.float32)
    logits[:, 0] = 3
    for token, label in tagged.items():
        logits[tokenizer.token_to_id(token)] = 3 * np.eye(len(labels))[label]
    config = {"id2label": {str(i): label for i, label in enumerate(labels)}} | config
    folder = classifiers.folder(path, tokenizer, logits, head=HEAD, by_token=True, **config)
    model = load_model(folder, device="cpu")
    assert isinstance(model, TokenClassifier)
    return model


def found(entities: Any) -> list[tuple[str, str]]:
    return [(entity.label, entity.text) for entity in entities]
