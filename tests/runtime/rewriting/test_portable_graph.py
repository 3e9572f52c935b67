"""A model file as one ONNX graph: the same answers, and no other file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from conduit_lab.runtime.rewriting.portable_graph import portable_graph
from conduit_lab.runtime.sessions.npz import ACTIVATIONS, Dense
from tests.runtime.graphs import linear, with_external_data


def run(graph: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": x})[0])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_network_becomes_a_graph_with_its_answers(tmp_path: Path, activation: str) -> None:
    seeded = np.random.default_rng(5)
    path = tmp_path / "net.npz"
    np.savez(
        path,
        W0=seeded.normal(size=(4, 6)),
        b0=seeded.normal(size=6),
        W1=seeded.normal(size=(6, 3)),
        activations=np.array([activation, "identity"]),
    )
    x = seeded.normal(size=(5, 4)).astype(np.float32) * 3
    expected = Dense(path).run({"input": x.copy()})[0]
    got = run(portable_graph(path), x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)


def test_a_binary_classifier_gives_both_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "binary.npz"
    np.savez(path, coef_=np.array([[1.0, -2.0]]), intercept_=np.array([0.5]), classes_=[0, 1])
    x = np.array([[1, 2], [-3, 0.25]], np.float32)
    expected = Dense(path).run({"input": x.copy()})[0]
    np.testing.assert_allclose(run(portable_graph(path), x), expected, rtol=1e-5)
    assert expected.shape == (2, 2)


def test_external_data_is_inlined_and_any_other_file_is_kept(tmp_path: Path) -> None:
    weights = np.arange(6, dtype=np.float32)
    (tmp_path / "w.bin").write_bytes(weights.tobytes())
    graph = portable_graph(with_external_data(tmp_path / "big.onnx", "w.bin"))
    x = np.array([[1, 2, 3]], np.float32)
    np.testing.assert_array_equal(run(graph, x), x @ weights.reshape(3, 2))
    plain = linear(tmp_path / "plain.onnx", [[1.0, 2.0]])
    assert portable_graph(plain) == plain.read_bytes()
