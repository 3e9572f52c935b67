"""Embedder calls: inputs and answers, opening and unloading."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import DeviceError, ModelInputError, ModelLoadError
from conduit_lab.core.spec import EmbedderProtocol as Protocol
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span_facts import remarks
from conduit_lab.models.text import text_model, token_graph
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.runtime.sessions.cache import sessions
from tests.models.text.embedders import (
    TEXTS,
    WORDS,
    folder,
    mean,
    prompted,
)
from tests.runtime import fake_device

# Inputs and answers


def test_one_text_gives_one_vector(embedder: Embedder) -> None:
    got = embedder.encode("lid pan")
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [1.5, 2.5])
    assert isinstance(embedder, Protocol)


@pytest.mark.parametrize(
    "make", [list, tuple, np.array, pd.Series, pd.Index, lambda t: pd.Series(t, index=[*"edcba"])]
)
def test_many_texts_may_come_in_any_row(embedder: Embedder, make: Any) -> None:
    got = embedder.encode(make(TEXTS))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [mean(text) for text in TEXTS], rtol=1e-6)


@pytest.mark.parametrize("nothing", [[], (), np.array([], str), pd.Series([], dtype=object)])
def test_no_text_gives_no_vector(embedder: Embedder, nothing: Any) -> None:
    assert embedder.encode(nothing).shape == (0, 2)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (None, "NoneType"),
        (3, "int"),
        (b"pan", "bytes"),
        ({"text": "pan"}, "dict"),
        (["pan", None], "a list of NoneType, str"),
        (np.array([["pan"]]), "ndarray"),
        (pd.Series(["pan", float("nan")]), "Series"),
        (pd.DataFrame({"text": ["pan"]}), "DataFrame"),
        ((text for text in TEXTS), "generator"),
    ],
)
def test_anything_but_text_is_refused(embedder: Embedder, value: Any, got: str) -> None:
    with pytest.raises(
        ModelInputError, match=f"'words' expects a text or a list of texts, got {got}"
    ):
        embedder.encode(value)


def test_lone_surrogate_is_a_character_like_another(embedder: Embedder) -> None:
    np.testing.assert_array_equal(embedder.encode("pan \ud800"), embedder.encode("pan spoon"))


@given(
    texts=st.lists(
        st.lists(st.sampled_from([*WORDS, "spoon"]), max_size=9).map(" ".join), max_size=60
    ),
    size=st.none() | st.integers(1, 70),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_vectors_are_those_of_the_texts_in_their_order(
    embedder: Embedder, texts: list[str], size: int | None
) -> None:
    got = embedder.encode(texts, batch_size=size)
    expected = np.array([mean(text) for text in texts]).reshape(-1, 2)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_order_holds_over_several_windows(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_model, "MAX_WINDOW_TEXTS", 3)
    texts = TEXTS * 3
    np.testing.assert_allclose(embedder.encode(texts), [mean(text) for text in texts], rtol=1e-6)


def widths(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return the list to which each run appends its shape."""
    shapes: list[tuple[int, ...]] = []
    run = embedder.shared.run

    def watched(feeds: Any, rows: int) -> Any:
        shapes.append(feeds["input_ids"].shape)
        return run(feeds, rows)

    monkeypatch.setattr(embedder.shared, "run", watched)
    return shapes


def test_texts_of_like_length_share_a_run(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_graph, "MIN_CPU_RUN_TOKENS", 12)
    monkeypatch.setattr(token_graph, "CORE_RUN_TOKENS", 0)
    shapes = widths(embedder, monkeypatch)
    embedder.encode(["pan", "pan " * 30, "lid", "pan " * 5, "pan", "lid " * 6, "pan"])
    assert shapes == [(1, 30), (2, 6), (4, 1)]


def test_batch_size_fixes_how_many_share_a_run(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = widths(embedder, monkeypatch)
    embedder.encode(["pan", "pan " * 30, "lid", "pan " * 5, "pan"], batch_size=2)
    assert shapes == [(2, 30), (2, 1), (1, 1)]


@pytest.mark.parametrize("size", [0, -1, 2.5, "many"])
def test_invalid_batch_size_is_refused(embedder: Embedder, size: Any) -> None:
    with pytest.raises(ModelInputError, match="'words' expects a batch_size of at least 1, got"):
        embedder.encode(TEXTS, batch_size=size)


def test_batch_encodes_texts_together(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = widths(embedder, monkeypatch)
    got = embedder.batch(["pan", "lid"])
    assert [vector.tolist() for vector in got] == [[0, 1], [3, 4]]
    assert shapes == [(2, 1)]
    assert [vectors.shape for vectors in embedder.batch(["pan", ["lid"]])] == [(2,), (1, 2)]


# Opening


def test_trace_sees_one_call_with_its_texts(embedder: Embedder) -> None:
    with recorder.record("call") as recorded:
        vector = embedder.encode("pan", prompt="lid ")
        asyncio.run(embedder.acall("lid"))
    first, second = recorded.root.children
    assert (first.name, first.kind, first.input) == ("words", "encode", "pan")
    assert first.gave is vector
    assert second.output.tolist() == [3, 4]


def test_unloaded_embedder_opens_itself_again(embedder: Embedder) -> None:
    before = embedder.encode("pan")
    assert embedder.loaded
    embedder.unload()
    assert embedder.held is None
    assert not embedder.loaded
    assert "not opened" in repr(embedder)
    np.testing.assert_array_equal(asyncio.run(embedder.acall("pan")), before)
    assert embedder.loaded


def test_evicted_session_is_opened_off_the_loop(embedder: Embedder) -> None:
    embedder.open().shared.close()
    assert not embedder.loaded
    assert asyncio.run(embedder.acall("pan")).tolist() == [0, 1]


def test_two_embedders_of_one_folder_share_their_session(embedder: Embedder) -> None:
    assert Embedder(embedder.path).shared is embedder.shared


def test_threads_that_use_it_first_open_it_once(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    known = sessions.open

    def watched(path: Path, options: Any) -> Any:
        opened.append(path)
        return known(path, options)

    monkeypatch.setattr(sessions, "open", watched)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: embedder.encode("pan"), range(16)))
    assert len(opened) == 1


def test_options_are_handed_on(tmp_path: Path) -> None:
    embedder = Embedder(folder(tmp_path), device="cpu", fallback=True, timeout=9, name="mine")
    assert (embedder.options.device, embedder.options.fallback, embedder.options.timeout) == (
        "cpu",
        True,
        9,
    )
    assert embedder.shared.options == embedder.options
    assert embedder.name == "mine"
    with pytest.raises(DeviceError, match="unknown"):
        Embedder(tmp_path, device="abacus").open()


def test_facts_are_shown(tmp_path: Path) -> None:
    embedder = prompted(
        tmp_path, special=("[CLS]", "[SEP]"), sentence_bert_config={"max_seq_length": 77}
    )
    assert repr(embedder).endswith("words', not opened)")
    assert "not opened yet" in embedder._repr_mimebundle_()["text/html"]
    assert embedder.held is None  # a repr opens nothing
    embedder.open()
    shown = embedder._repr_mimebundle_()["text/html"]
    for fact in (
        "model.onnx, ",
        "float32 [2]",
        "mean",
        "query (default), double, none",
        "77 tokens",
        "8 tokens",
        "cpu",
    ):
        assert fact in shown
    assert embedder.size == embedder.shared.size > 0
    assert (embedder.device, embedder.dimension, embedder.max_length) == ("cpu", 2, 77)
    assert embedder.prompts == {"query": "query ", "double": "lid kettle ", "none": ""}
    assert str(embedder.outputs[0]) == "float32 [batch, 2]"


def test_names_from_the_files_are_escaped(tmp_path: Path) -> None:
    config = {"prompts": {"<b>": "x"}}
    shown = (
        Embedder(folder(tmp_path, config_sentence_transformers=config))
        .open()
        ._repr_mimebundle_()["text/html"]
    )
    assert "&lt;b&gt;" in shown
    assert shown.count("<b>") == 1  # the embedder's own name


def test_folder_that_broke_meanwhile_is_refused_at_the_next_opening(embedder: Embedder) -> None:
    embedder.encode("pan")
    (embedder.path / "tokenizer.json").write_text("{")
    assert embedder.encode("pan").tolist() == [0, 1]
    embedder.unload()
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json"):
        embedder.encode("pan")


def test_a_run_on_the_cpu_instead_of_the_device_is_in_the_trace_also_from_a_loop(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = fake_device.plug_in(monkeypatch)
    embedder.open()
    assert embedder.device == "cuda"
    gpu.lost = True

    async def call() -> str:
        with recorder.record("pipeline") as spans:
            await embedder.acall("lid pan")
        return remarks(spans[embedder.name].attributes)

    assert asyncio.run(call()).startswith("cpu: cuda failed")
    with recorder.record("pipeline") as spans:
        embedder.encode("pan")
    assert remarks(spans[embedder.name].attributes).startswith("cpu: cuda failed")
