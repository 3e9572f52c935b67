"""Weights of int8 files keep to 7 bits on a CPU whose 8-bit products saturate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from conduit_lab.runtime.rewriting import quantize
from conduit_lab.runtime.sessions.session import Session
from tests.runtime import graphs


def extremes(path: Path) -> Path:
    """Write a product whose sums of pairs saturate if anything does."""
    weight = np.ones((64, 16), np.float32)
    return graphs.linear(path, weight)


def largest_weight(path: Path) -> int:
    values = [numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer]
    return max(int(np.abs(each.astype(int)).max()) for each in values if each.dtype == np.int8)


@pytest.mark.parametrize(("saturates", "bits"), [(True, 7), (False, 8)])
def test_weights_have_as_many_bits_as_their_products_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saturates: bool, bits: int
) -> None:
    monkeypatch.setattr(quantize, "int8_saturates", lambda: saturates)
    target = tmp_path / "b.onnx"
    quantize.convert(extremes(tmp_path / "a.onnx"), target, "int8")
    assert 2 ** (bits - 2) < largest_weight(target) <= 2 ** (bits - 1)


def test_the_largest_products_add_up_on_this_cpu(tmp_path: Path) -> None:
    source, target = extremes(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    quantize.convert(source, target, "int8")
    x = np.ones((2, 64), np.float32)
    whole, made = Session(source).run({"input": x})[0], Session(target).run({"input": x})[0]
    np.testing.assert_allclose(made, whole, rtol=0.02)
