"""Embedder batching: concurrent calls share runs, and each gets its own vectors."""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.models.text.embedder import Embedder
from tests.models.text.embedders import (
    TEXTS,
    mean,
    prompted,
)
from tests.runtime import graphs


def test_tasks_that_call_together_get_their_own_vectors(embedder: Embedder) -> None:
    texts = [f"{'lid ' * (i % 7)}{word}" for i in range(40) for word in ("kettle", "pan", "query")]

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(
            *map(embedder.acall, texts), embedder.acall(texts), embedder.acall([])
        )

    before = embedder.shared.calls
    *each, whole, nothing = asyncio.run(all_at_once())
    np.testing.assert_allclose(each, [mean(text) for text in texts], rtol=1e-5)
    np.testing.assert_allclose(whole, each, rtol=1e-5)
    assert nothing.shape == (0, 2)
    assert embedder.shared.calls - before < len(texts)


def test_threads_that_call_together_get_their_own_vectors(embedder: Embedder) -> None:
    texts = [f"{'lid ' * (i % 7)}{word}" for i in range(40) for word in ("kettle", "pan", "query")]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(embedder.encode, texts))
    np.testing.assert_allclose(got, [mean(text) for text in texts], rtol=1e-5)


def test_callers_with_and_without_a_prompt_share_a_run(tmp_path: Path) -> None:
    opened = prompted(tmp_path, include=False)._parts()
    items = [
        opened.tokens(["lid pan"], "lid kettle "),
        opened.tokens(["kettle", "query"], ""),
        opened.tokens([], ""),
    ]
    got = [vectors.tolist() for vectors in opened.token_graph(items)]
    assert got == [[[1.5, 2.5]], [[1, 0], [-5, 12]], []]


def scaled_together(path: Path) -> None:
    """Write a graph that rounds all tokens of a run by their maximum, like dynamic int8."""
    graphs.save(
        path,
        [
            graphs.node("Gather", ["table", "input_ids"], ["exact"]),
            graphs.node("DynamicQuantizeLinear", ["exact"], ["rounded", "scale", "zero"]),
            graphs.node("DequantizeLinear", ["rounded", "scale", "zero"], ["tokens"]),
        ],
        [
            graphs.value(name, ["batch", "tokens"], "int64")
            for name in ("input_ids", "attention_mask")
        ],
        [graphs.value("tokens", ["batch", "tokens", 2])],
        [
            graphs.constant(
                "table",
                np.array([[0, 0.1], [1, 0], [0, 1], [3, 4], [-500, 12], [0.3, 0.7]], np.float32),
            )
        ],
    )


def test_batching_changes_no_vector_of_a_graph_that_scales_all_texts_together(
    embedder: Embedder,
) -> None:
    scaled_together(embedder.path / "model.onnx")
    alone = [embedder.encode(text) for text in TEXTS]
    np.testing.assert_array_equal(embedder.encode(TEXTS), alone)

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*map(embedder.acall, TEXTS))

    np.testing.assert_array_equal(asyncio.run(all_at_once()), alone)
    assert (
        np.abs(embedder.encode(TEXTS, batch_size=9) - alone).max() > 0.1
    )  # the requested batch size


def test_long_texts_do_not_hold_the_loop_up(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    ids = embedder.open()._parts().tokenizer.ids

    def watched(texts: Any) -> Any:
        threads.append(threading.current_thread())
        return ids(texts)

    monkeypatch.setattr(embedder._parts().tokenizer, "ids", watched)

    async def both() -> None:
        await embedder.acall("pan")
        await embedder.acall("pan " * 3000)

    asyncio.run(both())
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


def test_interrupt_is_heard_between_runs(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    run = embedder.shared.run

    def interrupted(feeds: Any, rows: int) -> Any:
        runs.append(rows)
        signal.raise_signal(signal.SIGINT)
        return run(feeds, rows)

    with monkeypatch.context() as patch:
        patch.setattr(embedder.shared, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            embedder.encode(["pan"] * 5000)
    assert len(runs) == 1
    assert embedder.encode("pan").tolist() == [0, 1]
