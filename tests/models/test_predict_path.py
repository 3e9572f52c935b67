"""The short path of predict: its length, its answers, its counts, and when it is not taken."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import conduit_lab
from conduit_lab.core.errors import ModelRunError
from conduit_lab.core.spec import TensorSpec
from conduit_lab.core.trace import recorder
from conduit_lab.flow.sequential import Sequential
from conduit_lab.models.answers import Answers
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Prediction
from conduit_lab.runtime.batching.model_batcher import LONG_RUN_SECONDS
from conduit_lab.runtime.sessions.cache import sessions
from conduit_lab.runtime.sessions.npz import ACTIVATIONS
from tests.runtime import graphs

PACKAGE = str(Path(conduit_lab.__file__).parent)
WIDTH = 16
X = np.linspace(-1, 1, WIDTH, dtype=np.float32)


def net(
    path: Path, activations: list[str], outputs: int = WIDTH, labels: list[str] | None = None
) -> Path:
    """Write layers of 16 numbers, the last of `outputs` numbers."""
    rng = np.random.default_rng(len(activations))
    sizes = [WIDTH] * len(activations) + [outputs]
    arrays: dict[str, Any] = {"activations": np.array(activations)}
    for i, shape in enumerate(pairwise(sizes)):
        arrays[f"W{i}"] = rng.standard_normal(shape, np.float32)
        arrays[f"b{i}"] = rng.standard_normal(shape[1], np.float32)
    if labels is not None:
        arrays["labels"] = np.array(labels)
    np.savez(path, **arrays)
    return path


class Calls:
    """Counts the calls of the package's Python functions."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            self.counts[code.co_qualname] += 1

    def of(self, call: Callable[[Any], Any], value: Any) -> Counter[str]:
        """Return the calls of one call, after another has filled the caches."""
        call(value)
        before = sys.getprofile()
        sys.setprofile(self)
        try:
            call(value)
        finally:
            sys.setprofile(before)
        return self.counts


@pytest.mark.parametrize("value", [X, X[None], np.stack([X, X])], ids=["sample", "row", "batch"])
def test_a_small_network_takes_few_calls(value: Any, tmp_path: Path) -> None:
    model = Model(net(tmp_path / "m.npz", ["relu", "identity"], 4)).open()
    counts = Calls().of(model.predict, value)
    assert counts == {
        "Model.predict": 1,
        "Model.run": 1,
        "Shared.run": 1,
        "Dense.run": 1,
        "_relu": 1,
        "_identity": 1,
        "RunCounts.count": 1,
        "Answers.of": 1,
    }


def test_a_labelled_sample_takes_few_calls(tmp_path: Path) -> None:
    model = Model(net(tmp_path / "m.npz", ["softmax"], 3, ["a", "b", "c"])).open()
    counts = Calls().of(model.predict, X)
    assert counts["Prediction.from_array"] == 1
    assert counts.total() <= 8, counts


def test_an_onnx_model_takes_few_calls(tmp_path: Path) -> None:
    weight = np.ones((WIDTH, 2), np.float32)
    counts = Calls().of(Model(graphs.linear(tmp_path / "m.onnx", weight)).open().predict, X)
    assert counts["Session.run"] == 1
    assert counts.total() <= 6, counts


def test_a_sequential_adds_one_call_per_stage(tmp_path: Path) -> None:
    stages = [Model(net(tmp_path / f"{n}.npz", ["tanh"] * n)).open() for n in (1, 2, 3)]
    alone = sum(Calls().of(stage.run, X).total() for stage in stages)
    counts = Calls().of(Sequential(*stages), X)
    # each stage: hand_on, or __call__ of the last; and the sequence itself: __call__ and run
    assert counts.total() <= alone + len(stages) + 2, counts


# Answers


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    activations=st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=1, max_size=3),
    outputs=st.integers(1, 4),
    labelled=st.booleans(),
    rows=st.sampled_from([None, 0, 1, 2, 5]),
    seed=st.integers(0, 99),
)
def test_the_short_path_gives_what_the_general_one_gives(
    tmp_path: Path,
    activations: list[str],
    outputs: int,
    labelled: bool,
    rows: int | None,
    seed: int,
) -> None:
    labels = [f"class {i}" for i in range(outputs)] if labelled else None
    model = Model(net(tmp_path / "m.npz", activations, outputs, labels))
    shape = (WIDTH,) if rows is None else (rows, WIDTH)
    value = np.random.default_rng(seed).standard_normal(shape, np.float32)
    before = value.copy()
    short, general = model.predict(value), model.predict({"input": value})
    assert type(short) is type(general)
    if labelled:
        assert short == general
        assert rows is not None or isinstance(short, Prediction)
    else:
        assert (short.shape, short.dtype) == (general.shape, general.dtype)
        np.testing.assert_array_equal(short, general)
    np.testing.assert_array_equal(value, before)


@pytest.mark.parametrize(
    "strange",
    [
        X.astype(X.dtype.newbyteorder()),
        X.astype(np.float64),
        np.repeat(X, 2)[::2],
        X.view(np.recarray),
        X[None, :, None][:, :, 0],
    ],
    ids=["byte order", "float64", "strided", "subclass", "view"],
)
def test_an_array_of_another_kind_gives_the_same_answer(strange: Any, tmp_path: Path) -> None:
    model = Model(net(tmp_path / "m.npz", ["tanh"], 3))
    expected = model.predict(strange.astype(np.float64).tolist())
    np.testing.assert_allclose(model.predict(strange), expected, rtol=1e-6)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("single", [True, False])
def test_infinity_is_a_score_and_nan_is_none(rows: int, single: bool) -> None:
    spec = TensorSpec("scores", "float32", ("batch", 2))
    answers = Answers("m", (spec,), ["a", "b"], [0])
    scores = np.array([[-np.inf, np.inf]] * rows, np.float32)
    given = answers.of([scores], single)
    last = given if isinstance(given, Prediction) else given[-1]
    assert (last.label, last.probabilities) == ("b", {"a": -np.inf, "b": np.inf})
    scores[-1, 0] = np.nan
    with pytest.raises(ModelRunError, match="'m' returned NaN for a probability"):
        answers.of([scores], single)


# Counts


@pytest.fixture
def switches() -> Iterator[None]:
    """Switch threads as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_each_of_many_concurrent_calls_is_counted_once(tmp_path: Path, switches: None) -> None:
    model = Model(net(tmp_path / "m.npz", ["relu"], 2)).open()
    shared, seen = model.shared, []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(shared.calls)

    def ask(number: int) -> None:
        value = np.zeros((number + 1, WIDTH), np.float32)
        for _ in range(200):
            model.predict(value)

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    stop.set()
    reader.join()
    assert (shared.calls, shared.rows, shared.running) == (800, 200 * (1 + 2 + 3 + 4), 0)
    assert seen == sorted(seen)
    assert shared.seconds > 0


def test_a_call_that_fails_is_not_running_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(net(tmp_path / "m.npz", ["relu"], 2)).open()

    def fail(feeds: Any) -> None:
        assert model.shared.running == 1
        raise ModelRunError("no power")

    monkeypatch.setattr(model.shared._engine, "run", fail)
    with pytest.raises(ModelRunError, match="no power"):
        model.predict(X)
    assert (model.shared.running, model.shared.calls) == (0, 1)


def test_an_unloaded_and_an_evicted_model_are_opened_again(tmp_path: Path) -> None:
    model = Model(net(tmp_path / "m.npz", ["relu"], 2))
    first = model.predict(X)
    model.shared.close()
    np.testing.assert_array_equal(model.predict(X), first)
    assert model.shared.loads == 2
    model.unload()
    np.testing.assert_array_equal(model.predict(X), first)


# When it is not taken


def test_a_call_during_a_long_run_is_coalesced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(net(tmp_path / "m.npz", ["relu"], 2)).open()
    opened = model._parts()
    given: list[int] = []

    def coalesced(item: Any, rows: int, timeout: float | None) -> Any:
        given.append(rows)
        return opened.shared.run(item[0], rows)

    monkeypatch.setattr(opened.joined._batcher, "call", coalesced)
    opened.shared.count(1, 2 * LONG_RUN_SECONDS)
    expected = model.predict(X)
    assert given == []
    with opened.shared.hold():
        opened.shared.count(1, 20 * LONG_RUN_SECONDS)
        np.testing.assert_array_equal(model.predict(X), expected)
    assert given == [1]


def test_a_traced_call_is_a_span_and_a_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [Model(net(tmp_path / f"m{n}.npz", ["tanh"] * n)).open() for n in (1, 2)]
    uses: list[Any] = []
    monkeypatch.setattr(sessions.preloader, "record_use", uses.append)
    with recorder.record("call") as trace:
        stages[0].predict(X)
        Sequential(*stages)(X)
    assert [span.name for span in trace] == ["call", "m1", "sequential", "m1", "m2"]
    assert uses == [stages[0].shared, stages[0].shared, stages[1].shared]
