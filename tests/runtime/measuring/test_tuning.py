"""Tuned options apply only to the content and the machine they were measured on."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.runtime.measuring import tuning
from conduit_lab.runtime.measuring.tuning import Tuned, read_tuning, tuning_path, write_tuning
from conduit_lab.runtime.sessions.session import Options
from tests.runtime import graphs

few = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
BEST = Tuned(
    asked="auto", device="auto", runs_on="cpu", threads=1, graph_level="basic", batch_size=32
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return graphs.linear(tmp_path / "m.onnx", np.ones((3, 2)))


def reason(model: Path, caplog: pytest.LogCaptureFixture) -> str:
    """Return why the options of `model` are not used: the one line of the log."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "conduit_lab"):
        assert read_tuning(model) is None
    (line,) = caplog.messages
    assert "m.onnx.tuning.json is not used: " in line
    return line.partition("used: ")[2]


@pytest.mark.parametrize("size", [None, 1, 32])
def test_written_options_are_read(model: Path, size: int | None) -> None:
    best = replace(BEST, batch_size=size)
    assert write_tuning(model, best) == tuning_path(model) == model.with_name("m.onnx.tuning.json")
    assert read_tuning(model) == best
    assert sorted(path.name for path in model.parent.iterdir()) == ["m.onnx", "m.onnx.tuning.json"]


def test_a_model_without_options_has_none_and_logs_nothing(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_tuning(model) is None
    assert not caplog.messages


def test_options_of_a_deleted_model_are_no_error(model: Path) -> None:
    write_tuning(model, BEST)
    model.unlink()
    assert read_tuning(model) is None


def test_later_options_replace_earlier_ones(model: Path) -> None:
    write_tuning(model, BEST)
    write_tuning(model, Tuned(threads=2))
    assert read_tuning(model) == Tuned(threads=2)


def test_weights_have_options_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", W0=np.ones((1, 1)))
    write_tuning(tmp_path / "m.npz", Tuned(runs_on="numpy", batch_size=64))
    assert read_tuning(tmp_path / "m.npz") == Tuned(runs_on="numpy", batch_size=64)


def test_options_of_another_content_are_not_used(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tuning(model, BEST)
    graphs.linear(model, np.zeros((3, 2)))
    assert "m.onnx has changed since it was tuned" in reason(model, caplog)


def test_other_external_data_changes_the_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = graphs.with_external_data(tmp_path / "m.onnx", "m.bin")
    (tmp_path / "m.bin").write_bytes(bytes(24))
    write_tuning(model, BEST)
    (tmp_path / "m.bin").write_bytes(bytes([1] * 24))
    assert "has changed" in reason(model, caplog)


@pytest.mark.parametrize("what", ["processor", "devices", "onnxruntime"])
def test_another_machine_is_named(
    model: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    write_tuning(model, BEST)
    there = tuning.machine_facts(model) | {what: "another"}
    monkeypatch.setattr(tuning, "machine_facts", lambda _: there)
    assert f"it is from another machine ({what})" in reason(model, caplog)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@few
@given(content=JSON | st.fixed_dictionaries({"model": JSON, "machine": JSON, "best": JSON}))
def test_any_json_is_refused_and_never_an_error(tmp_path: Path, content: Any) -> None:
    model = tmp_path / "m.npz"
    np.savez(model, W0=np.ones((1, 1)))
    tuning_path(model).write_text(json.dumps(content))
    assert read_tuning(model) is None


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"[" * 100_000])
def test_malformed_json_is_refused(
    model: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    tuning_path(model).write_bytes(content)
    assert "it is not a tuning file" in reason(model, caplog)


@pytest.mark.parametrize(
    "field",
    [
        {"threads": -1},
        {"threads": 10**9},
        {"threads": True},
        {"threads": "1"},
        {"graph_level": "most"},
        {"graph_level": []},
        {"device": None},
        {"batch_size": 0},
        {"batch_size": 1.5},
        {"library": "/tmp/evil.so"},
    ],
)
def test_an_invalid_field_is_refused(
    model: Path, caplog: pytest.LogCaptureFixture, field: dict[str, Any]
) -> None:
    content = json.loads(write_tuning(model, BEST).read_text())
    content["best"] |= field
    tuning_path(model).write_text(json.dumps(content))
    assert "it is not a tuning file" in reason(model, caplog)


def test_a_very_long_file_is_not_read(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tuning(model, BEST)
    with tuning_path(model).open("a") as file:
        file.write(" " * 100_000)
    assert "it is not a tuning file" in reason(model, caplog)


# Options of a loaded model

MOVED = Tuned(asked="auto", device="cuda", runs_on="cuda", threads=0)
FIXED = Tuned(asked="cuda", device="cuda", runs_on="cuda", graph_level="basic")


@pytest.mark.parametrize(
    ("tuned", "asked", "options"),
    [
        (BEST, Options(), Options(threads=1, graph_level="basic")),
        (BEST, Options("cpu"), Options("cpu", threads=1, graph_level="basic")),
        (BEST, Options("cuda"), Options("cuda")),
        (BEST, Options(timeout=3), Options(timeout=3, threads=1, graph_level="basic")),
        (MOVED, Options(), Options("cuda", fallback=True)),
        (MOVED, Options(fallback=False), Options("cuda", fallback=False)),
        (MOVED, Options("cpu"), Options("cpu")),
        (FIXED, Options("cuda"), Options("cuda", graph_level="basic")),
        (FIXED, Options(), Options()),
    ],
)
def test_options_are_tuned_only_for_the_requested_device(
    tuned: Tuned, asked: Options, options: Options
) -> None:
    assert tuned.options(asked) == options


@pytest.mark.parametrize(
    ("tuned", "words"),
    [
        (BEST, "cpu, 1 thread, graph level basic, batches of 32"),
        (Tuned(), "cpu, onnxruntime's choice of threads, graph level all"),
        (Tuned(runs_on="numpy", batch_size=8), "numpy, batches of 8"),
    ],
)
def test_options_in_words(tuned: Tuned, words: str) -> None:
    assert str(tuned) == words
