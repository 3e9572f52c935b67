"""A span of a model runs again with the arguments of its call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conduit_lab import record
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.load import load_model
from conduit_lab.models.text.embedder import Embedder

WRITER = Path(__file__).parents[2] / "data" / "models" / "writer"


def test_an_embedding_is_made_with_its_prompt(minilm: Embedder) -> None:
    with record("call") as trace:
        given = minilm.encode("kettle", prompt="query: ")
    span = trace[minilm.name]
    assert np.array_equal(span.rerun().output, given)
    assert not np.array_equal(minilm.encode("kettle"), given)
    assert trace.rerun()[minilm.name].attributes.get("kept") is None


@pytest.fixture(scope="module")
def writer() -> Generator:
    return load_model(WRITER, Generator)


def test_a_generation_has_its_options(writer: Generator) -> None:
    with record("call") as trace:
        made = writer.generate("Our return policy", max_tokens=5)
        short = writer.generate(query="How long?", context=["Two days."], max_tokens=3)
    first, second = trace.spans("writer")
    assert (first.rerun().output.text, second.rerun().output.text) == (made.text, short.text)
    assert len(first.rerun("The kettle").output.tokens) == 5


def test_each_value_of_a_batch_is_predicted(tmp_path: Path) -> None:
    for name, weight in (("a", 1.0), ("b", -1.0)):
        np.savez(tmp_path / f"{name}.npz", W=np.full((2, 1), weight, np.float32))
    first, other = (load_model(tmp_path / f"{name}.npz") for name in "ab")
    values = [np.full(2, n, np.float32) for n in range(3)]
    with record("call") as trace:
        first.batch(values)
    assert [row.tolist() for row in trace["a"].rerun(model=other).output] == [[0], [-2], [-4]]
