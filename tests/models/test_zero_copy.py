"""Between stages arrays are handed on by reference, and on a device as tensors that stay there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab import Sequential
from conduit_lab.core.spec import Array
from conduit_lab.models.model import Model
from conduit_lab.runtime.sessions.session import Options, Session
from conduit_lab.runtime.sessions.tensor import DeviceTensor
from tests.runtime import graphs

WEIGHTS = [np.random.default_rng(i).standard_normal((3, 3)).astype(np.float32) for i in range(3)]


@pytest.fixture
def models(tmp_path: Path) -> list[Model]:
    return [
        Model(graphs.linear(tmp_path / f"{i}.onnx", weight)).open()
        for i, weight in enumerate(WEIGHTS)
    ]


class Counter:
    """Counts the bytes of each input that is a copy of the array that was given."""

    def __init__(self, session: Any, given: list[Array]) -> None:
        self.session = session
        self.given = given
        self.copied = 0

    def run(self, names: list[str], feeds: Mapping[str, Array]) -> list[Array]:
        for array in feeds.values():
            if not any(np.shares_memory(array, known) for known in self.given):
                self.copied += array.nbytes
        outputs: list[Array] = self.session.run(names, feeds)
        self.given += outputs
        return outputs


@pytest.mark.parametrize("shape", [(3,), (1, 3), (64, 3)])
def test_nothing_is_copied_between_models_on_the_cpu(
    models: list[Model], shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.ones(shape, np.float32)
    given = [x]
    counters = []
    for model in models:
        engine = model.shared._engine
        assert isinstance(engine, Session)
        counters.append(Counter(engine._session, given))
        monkeypatch.setattr(engine, "_session", counters[-1])
    got = Sequential(*models)(x)
    assert sum(counter.copied for counter in counters) == 0
    np.testing.assert_allclose(got, x @ WEIGHTS[0] @ WEIGHTS[1] @ WEIGHTS[2], rtol=1e-4)


@pytest.fixture
def on_device(models: list[Model], monkeypatch: pytest.MonkeyPatch) -> list[DeviceTensor]:
    """Treat the CPU as a device whose memory outputs can stay in, and collect what stays there."""
    kept: list[DeviceTensor] = []
    run_bound = Session.run_bound

    def spied(self: Session, feeds: Mapping[str, Any], keep: bool) -> list[Any]:
        outputs = run_bound(self, feeds, keep)
        kept.extend(output for output in outputs if isinstance(output, DeviceTensor))
        return outputs

    monkeypatch.setattr(Session, "memory", property(lambda self: "cpu"))
    monkeypatch.setattr(Session, "run_bound", spied)
    return kept


@pytest.mark.parametrize("shape", [(3,), (64, 3)])
def test_what_is_on_a_device_stays_there_until_the_end(
    models: list[Model], on_device: list[DeviceTensor], shape: tuple[int, ...]
) -> None:
    x = np.ones(shape, np.float32)
    got = Sequential(*models)(x)
    assert isinstance(got, np.ndarray)
    np.testing.assert_allclose(got, x @ WEIGHTS[0] @ WEIGHTS[1] @ WEIGHTS[2], rtol=1e-4)
    assert [tensor.copied for tensor in on_device] == [False, False]


def test_a_coroutine_leaves_it_there_too(
    models: list[Model], on_device: list[DeviceTensor]
) -> None:
    got = asyncio.run(Sequential(*models).acall(np.ones(3, np.float32)))
    np.testing.assert_allclose(got, np.ones(3) @ WEIGHTS[0] @ WEIGHTS[1] @ WEIGHTS[2], rtol=1e-4)
    assert [tensor.copied for tensor in on_device] == [False, False]


def test_a_function_in_between_gets_an_array(
    models: list[Model], on_device: list[DeviceTensor]
) -> None:
    got = Sequential(models[0], lambda array: array * 2, models[1])(np.ones(3, np.float32))
    np.testing.assert_allclose(got, 2 * np.ones(3) @ WEIGHTS[0] @ WEIGHTS[1], rtol=1e-4)
    assert on_device == []


def test_models_of_two_devices_hand_arrays_on(
    models: list[Model], on_device: list[DeviceTensor]
) -> None:
    other = Model(models[1].path)
    other.options = Options("cpu", timeout=5)
    np.testing.assert_allclose(
        Sequential(models[0], other)(np.ones(3, np.float32)),
        np.ones(3) @ WEIGHTS[0] @ WEIGHTS[1],
        rtol=1e-4,
    )
    assert on_device == []


def test_a_tensor_is_an_array_for_numpy(models: list[Model], on_device: list[DeviceTensor]) -> None:
    tensor = models[0].hand_on(np.ones((2, 3), np.float32), models[1])
    assert isinstance(tensor, DeviceTensor)
    assert (tensor.shape, len(tensor), tensor.copied) == ((2, 3), 2, False)
    np.testing.assert_allclose(np.asarray(tensor), np.ones((2, 3)) @ WEIGHTS[0], rtol=1e-5)
    assert tensor.copied
