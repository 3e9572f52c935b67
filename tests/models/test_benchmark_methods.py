"""Every kind of model has `benchmark`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from conduit_lab.models.callable import CallableModel
from conduit_lab.models.model import Model
from conduit_lab.models.text.embedder import Embedder
from tests.runtime import graphs


def test_a_model_an_embedder_and_a_function_measure_themselves(
    tmp_path: Path, minilm: Embedder
) -> None:
    model = Model(graphs.linear(tmp_path / "m.onnx", np.ones((3, 2))))
    made = [
        model.benchmark([1, 2, 3], batch_sizes=[1, 4], seconds=0.05),
        minilm.benchmark("The kettle is dead.", batch_sizes=[1], seconds=0.05),
        CallableModel(len).benchmark("kettle", batch_sizes=[1], seconds=0.05),
    ]
    assert [[timing.rows for timing in benchmark] for benchmark in made] == [[1, 4], [1], [1]]
    assert all(timing.p50 <= timing.p99 for benchmark in made for timing in benchmark)


def test_opening_an_embedder_counts_no_calls(minilm: Embedder) -> None:
    twin = Embedder(minilm.path, timeout=77).open()
    assert twin.shared.statistics() == "none yet"
    twin.encode("one")
    assert twin.shared.calls == 1
