from __future__ import annotations

import numpy as np
import pytest

from conduit_lab.core.spec import (
    TEXT_SPEC,
    EmbedderProtocol,
    GeneratorProtocol,
    TensorSpec,
    describe,
    describe_values,
)

SPEC = TensorSpec("embedding", "float32", ("batch", 384))


def test_spec_and_array_print_alike() -> None:
    assert str(SPEC) == "float32 [batch, 384]"
    assert describe(np.zeros((1, 384), np.float32)) == "float32 [1, 384]"
    assert describe(np.array(1.0)) == "float64 []"


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((1, 384), True),
        ((0, 384), True),
        ((9, 384), True),
        ((1, 383), False),
        ((384,), False),
        ((1, 1, 384), False),
    ],
)
def test_rank_and_fixed_axes_must_fit(shape: tuple[int, ...], fits: bool) -> None:
    assert SPEC.fits(shape) is fits


def test_values_are_described_for_readers() -> None:
    other = TensorSpec("mask", "int64", ("batch",))
    assert describe_values((SPEC,)) == "float32 [batch, 384]"
    assert describe_values((SPEC, other)) == "embedding float32 [batch, 384], mask int64 [batch]"
    assert describe_values((TEXT_SPEC,)) == "text"
    assert describe_values((TensorSpec("words", "str", ("batch", 3)),)) == "str [batch, 3]"
    assert (describe_values("Prediction"), describe_values(None)) == ("Prediction", "?")


def test_protocols_know_their_own() -> None:
    class Writer:
        def generate(self, *, query: str, context: list[str]) -> str:
            return ""

    assert isinstance(Writer(), GeneratorProtocol)
    assert not isinstance(Writer(), EmbedderProtocol)
