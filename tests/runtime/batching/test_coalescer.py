"""Coalescer and ModelBatcher: concurrent calls share a run, and no answer changes."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.spec import Array
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span_facts import remarks
from conduit_lab.runtime.batching import model_batcher
from conduit_lab.runtime.batching.coalescer import REQUIRED_TRIALS, Coalescer, _clearly_differ
from conduit_lab.runtime.batching.model_batcher import ModelBatcher
from conduit_lab.runtime.sessions.cache import SessionCache, Shared
from tests.runtime import fake_device, graphs
from tests.runtime.rows import members

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.standard_normal((3, 2)).astype(np.float32)


def opened(path: Path) -> Shared:
    return SessionCache().open(path)


@pytest.fixture
def linear(tmp_path: Path) -> Shared:
    return opened(graphs.linear(tmp_path / "linear.onnx", WEIGHT))


def item(rows: int) -> tuple[dict[str, Array], int]:
    return {"input": RANDOM.standard_normal((rows, 3)).astype(np.float32)}, rows


def test_items_of_all_sizes_get_their_own_rows(linear: Shared) -> None:
    coalescer = Coalescer(linear)
    for _ in range(REQUIRED_TRIALS + 3):
        items = [item(rows) for rows in (1, 4, 0, 2)]
        for (feeds, _), (output,) in zip(items, coalescer(items), strict=True):
            np.testing.assert_allclose(output, feeds["input"] @ WEIGHT, rtol=1e-5)


def test_a_batch_costs_one_run_once_trials_have_passed(linear: Shared) -> None:
    coalescer = Coalescer(linear)
    for _ in range(REQUIRED_TRIALS):
        coalescer([item(1), item(1)])
    assert linear.calls == 3 * REQUIRED_TRIALS
    coalescer([item(1), item(2), item(3)])
    assert linear.calls == 3 * REQUIRED_TRIALS + 1


def test_a_graph_that_mixes_rows_is_never_coalesced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = opened(graphs.centred(tmp_path / "centred.onnx"))
    coalescer = Coalescer(shared)
    with caplog.at_level(logging.WARNING, "conduit_lab"):
        for _ in range(3):
            items = [item(1), item(2)]
            for (feeds, _), (output,) in zip(items, coalescer(items), strict=True):
                alone = feeds["input"] - feeds["input"].mean(axis=0)
                np.testing.assert_allclose(output, alone, atol=1e-6)
    assert not coalescer.possible
    assert shared.calls == 6  # its dataflow proves independence: no trials
    assert len(caplog.records) == 1


def branch(path: Path, nodes: list[Any], constants: list[Any]) -> Shared:
    """Open a graph that computes `y` from `x` in a branch, which the dataflow does not follow."""
    inner = helper.make_graph(nodes, "inner", [], [graphs.value("y", ["batch", 3])])
    made = [graphs.node("If", ["on"], ["out"], then_branch=inner, else_branch=inner)]
    ends = [graphs.value("x", ["batch", 3])], [graphs.value("out", ["batch", 3])]
    return opened(
        graphs.save(path, made, *ends, [*constants, graphs.constant("on", np.array(True))])
    )


def parts(member: members.Member, rows: Array) -> list[tuple[dict[str, Array], int]]:
    """Return an item for each row."""
    return [({"x": np.take(rows, [i], member.axis)}, 1) for i in range(rows.shape[member.axis])]


def check_answers(
    coalescer: Coalescer, shared: Shared, items: list[tuple[dict[str, Array], int]]
) -> None:
    for (feeds, _), (answer,) in zip(items, coalescer(items), strict=True):
        np.testing.assert_allclose(answer, shared.run(feeds)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", members.MIXED)
@pytest.mark.parametrize("warm", [1.0, 0.0, np.nan])
def test_equal_rows_prove_nothing_of_a_graph_that_mixes_rows(
    tmp_path: Path, name: str, warm: float
) -> None:
    member = members.MIXED[name]
    shared = opened(member.save(tmp_path / "m.onnx", named=True))
    coalescer, rows = Coalescer(shared), member.rows(4)
    for _ in range(REQUIRED_TRIALS + 2):
        coalescer(parts(member, np.full_like(rows, warm)))
    check_answers(coalescer, shared, parts(member, rows))


HIDDEN = {
    "scaled by the largest": "over the batch's maximum",
    "minus the mean": "minus the mean of the batch",
    "int8": "int8 with one scale",
    "softmax": "softmax over the batch",
}


@pytest.mark.parametrize("name", HIDDEN)
def test_equal_rows_prove_nothing_of_an_unknown_graph(tmp_path: Path, name: str) -> None:
    member = members.MIXED[HIDDEN[name]]
    shared = branch(tmp_path / "m.onnx", member.nodes, member.constants)
    coalescer, rows = Coalescer(shared), member.rows(4)
    for size in (1, 1, 0, 1e-12, *[1] * REQUIRED_TRIALS):
        coalescer(parts(member, np.full_like(rows, size)))
    check_answers(coalescer, shared, parts(member, rows))


def test_rows_of_one_size_do_not_hide_a_shared_scale(tmp_path: Path) -> None:
    member = members.MIXED["over the batch's maximum"]
    shared = branch(tmp_path / "m.onnx", member.nodes, member.constants)
    coalescer = Coalescer(shared)
    for seed in range(REQUIRED_TRIALS + 2):
        ones = np.sign(np.random.default_rng(seed).standard_normal((4, 3))).astype(np.float32)
        coalescer(parts(member, ones))  # the largest of each is 1
    assert not coalescer.possible
    check_answers(coalescer, shared, parts(member, member.rows(4)))


def test_rows_of_one_minimum_do_not_hide_a_shared_scale(tmp_path: Path) -> None:
    nodes = [
        graphs.node("ReduceMin", ["x"], ["least"], keepdims=1),
        graphs.node("Div", ["x", "least"], ["y"]),
    ]
    shared = branch(tmp_path / "m.onnx", nodes, [])
    coalescer = Coalescer(shared)
    orders = [[1, 2, 3], [3, 1, 2], [2, 3, 1]]
    for i in range(REQUIRED_TRIALS + 2):
        rows = np.array([orders[i % 3], orders[(i + 1) % 3]], np.float32)
        coalescer([({"x": row[None]}, 1) for row in rows])
    assert not coalescer.possible


def test_a_small_share_of_the_other_rows_is_noticed(tmp_path: Path) -> None:
    nodes = [
        graphs.node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        graphs.node("Mul", ["mean", "share"], ["small"]),
        graphs.node("Add", ["x", "small"], ["y"]),
    ]
    share = graphs.constant("share", np.float32(1e-3))
    coalescer = Coalescer(branch(tmp_path / "m.onnx", nodes, [share]))
    coalescer([({"x": np.full((1, 3), i, np.float32)}, 1) for i in (1, 2)])
    assert not coalescer.possible


def test_almost_equal_rows_do_not_count_as_a_trial(tmp_path: Path) -> None:
    shared = branch(tmp_path / "m.onnx", [graphs.node("Neg", ["x"], ["y"])], [])
    coalescer = Coalescer(shared)
    almost = [({"x": np.full((1, 3), size, np.float32)}, 1) for size in (1, 1.005)]
    for _ in range(REQUIRED_TRIALS):
        coalescer(almost)
    before = shared.calls
    coalescer(almost)
    assert shared.calls - before == 2


def test_a_probe_that_the_graph_refuses_fails_no_item(tmp_path: Path) -> None:
    nodes = [
        graphs.node("Cast", ["x"], ["ids"], to=7),
        graphs.node("Gather", ["table", "ids"], ["y"]),
    ]
    table = graphs.constant("table", np.arange(4, dtype=np.float32))
    shared = branch(tmp_path / "m.onnx", nodes, [table])
    items = [({"x": np.full((1, 3), i, np.float32)}, 1) for i in (1, 2)]
    assert [output.tolist() for (output,) in Coalescer(shared)(items)] == [[[1] * 3], [[2] * 3]]


def test_an_unknown_graph_is_coalesced_after_trials_with_different_rows(
    tmp_path: Path,
) -> None:
    shared = branch(tmp_path / "m.onnx", [graphs.node("Neg", ["x"], ["y"])], [])
    coalescer = Coalescer(shared)
    same = [({"x": np.ones((1, 3), np.float32)}, 1)] * 2
    for _ in range(REQUIRED_TRIALS + 2):
        coalescer(same)
    before = shared.calls
    coalescer(same)
    assert shared.calls - before == 2
    different = [({"x": np.full((1, 3), i, np.float32)}, 1) for i in (1, 2)]
    for _ in range(REQUIRED_TRIALS):
        coalescer(different)
    before = shared.calls
    check_answers(coalescer, shared, different)
    assert shared.calls - before == 1 + 2


@pytest.mark.parametrize("name", members.INDEPENDENT)
def test_rows_are_batched_along_the_batch_axis(tmp_path: Path, name: str) -> None:
    member = members.INDEPENDENT[name]
    shared = opened(member.save(tmp_path / "m.onnx", named=True))
    coalescer, rows = Coalescer(shared), member.rows(4)
    for _ in range(REQUIRED_TRIALS + 1):
        check_answers(coalescer, shared, parts(member, rows))
    before = shared.calls
    coalescer(parts(member, rows))
    assert shared.calls - before == (4 if member.out is None else 1)


def test_maps_and_lists_of_arrays_are_coalesced(tmp_path: Path) -> None:
    shared = opened(graphs.targets(tmp_path / "m.onnx"))
    coalescer = Coalescer(shared)
    items = [({"x": np.array([[i, 1]], np.float32)}, 1) for i in range(3)]
    for _ in range(REQUIRED_TRIALS + 1):
        answers = coalescer(items)
    before = shared.calls
    answers = coalescer(items)
    assert shared.calls - before == 1
    for (feeds, _), (label, (first, second)) in zip(items, answers, strict=True):
        own, (one, other) = shared.run(feeds)
        np.testing.assert_array_equal(label, own)
        np.testing.assert_allclose(np.stack([first, second]), np.stack([one, other]), rtol=1e-6)


def test_a_replaced_file_does_not_describe_the_opened_graph(tmp_path: Path) -> None:
    path = graphs.centred(tmp_path / "m.onnx")
    shared = opened(path)
    coalescer = Coalescer(shared)
    graphs.identity(path, "float32")
    for _ in range(REQUIRED_TRIALS + 2):
        coalescer([item(1), item(1)])
    items = [item(1), item(2)]
    for (feeds, _), (answer,) in zip(items, coalescer(items), strict=True):
        np.testing.assert_allclose(answer, feeds["input"] - feeds["input"].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_batch_axis_is_not_coalesced(tmp_path: Path, batch: int) -> None:
    shared = opened(graphs.linear(tmp_path / "fixed.onnx", WEIGHT, batch=batch))
    coalescer = Coalescer(shared)
    assert not coalescer.possible
    assert [output[0].shape for output in coalescer([item(batch), item(batch)])] == [(batch, 2)] * 2


def test_items_are_batched_by_length(tmp_path: Path) -> None:
    shared = opened(graphs.identity(tmp_path / "texts.onnx", "float32", ["batch", "tokens"]))
    coalescer = Coalescer(shared)
    for _ in range(REQUIRED_TRIALS):
        coalescer([item(1), item(1)])
    before = shared.calls
    widths = (4, 2, 4, 7, 2)
    items = [({"input": np.full((1, width), i, np.float32)}, 1) for i, width in enumerate(widths)]
    outputs = coalescer(items)
    assert [(output.shape, output[0, 0]) for (output,) in outputs] == [
        ((1, w), i) for i, w in enumerate(widths)
    ]
    assert shared.calls - before == 3


def test_users_of_one_session_share_a_batcher(linear: Shared) -> None:
    first = ModelBatcher.of(linear)
    assert ModelBatcher.of(linear) is first
    del first
    assert linear.batcher is not None
    assert linear.batcher() is None  # freed together with its last user


def test_tasks_are_coalesced_and_only_a_bad_one_fails(linear: Shared) -> None:
    batcher = ModelBatcher.of(linear)

    async def ask(number: int) -> Any:
        wide = 4 if number == 77 else 3
        (output,) = await batcher.arun({"input": np.full((1, wide), number, np.float32)}, 1)
        return output

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(ask, range(200)), return_exceptions=True)

    for _ in range(3):
        answers = asyncio.run(all_of_them())
        assert isinstance(answers.pop(77), ModelInputError)
        numbers = [number for number in range(200) if number != 77]
        np.testing.assert_allclose(
            np.concatenate(answers),
            np.array(numbers)[:, None] * WEIGHT.sum(axis=0),
            rtol=1e-4,
            atol=1e-4,
        )
    assert linear.calls < 3 * 200


def test_threads_are_coalesced_if_runs_are_long(
    linear: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_batcher, "LONG_RUN_SECONDS", 0.0)  # as if every run were long
    batcher = ModelBatcher.of(linear)

    def ask(number: int) -> None:
        (output,) = batcher.run({"input": np.full((2, 3), number, np.float32)}, 2)
        np.testing.assert_allclose(output, [number * WEIGHT.sum(axis=0)] * 2, rtol=1e-4, atol=1e-4)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(500)))
    assert linear.rows >= 1000


def test_a_call_from_a_loop_is_recorded_with_its_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = fake_device.plug_in(monkeypatch)
    cache = SessionCache()
    first, second = (cache.open(graphs.linear(tmp_path / f"{i}.onnx", WEIGHT * i)) for i in (1, 2))
    gpu.lost = True
    notes = []

    async def call() -> None:
        with recorder.record("pipeline") as spans:
            for shared in (first, second):
                with recorder.span(shared.path.stem, "predict"):
                    await ModelBatcher.of(shared).arun(*item(1))
        notes.append([remarks(span.attributes).partition(":")[0] for span in spans])

    asyncio.run(call())
    asyncio.run(call())
    assert notes == [["", "cpu", "cpu"]] * 2
    preloader = cache.preloader
    with preloader._lock:
        preloader._count()
    assert preloader._successor(preloader._pipelines["pipeline"], first.key) is second


@pytest.mark.parametrize(
    ("a", "b", "differ"),
    [
        (1, 2, True),
        (1, 1 + 1e-7, False),
        (1, np.inf, False),
        (np.inf, 1, False),
        (1, np.nan, False),
    ],
)
def test_only_finite_numbers_differ_clearly(a: float, b: float, differ: bool) -> None:
    first, second = (np.array([value], np.float32) for value in (a, b))
    assert _clearly_differ(first, second) is differ
