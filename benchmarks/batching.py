"""Coalesced calls compared with separate calls of a real model in onnxruntime.

In the task baseline, each task calls the same function directly with its own sample and then yields
(`await asyncio.sleep(0)`), so the loop is as fair as with the batcher. In the thread baseline, each
thread calls the function directly.

Run it with `.venv/bin/python benchmarks/batching.py`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import uvloop
from measure import Row, compared, in_turn, on_one_core, print_table
from onnx import helper, numpy_helper

from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views.figures import rate, seconds
from conduit_lab.runtime.batching.batcher import Batcher
from conduit_lab.runtime.hardware import devices

CALLERS = 64
ROUNDS = 21
LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}
Run = Callable[[Sequence[FloatArray]], Sequence[FloatArray]]


def rows() -> Iterator[Row]:
    """Yield the table's rows, all except the last two on one core."""
    short = mlp((64, 256, 256, 10))
    with on_one_core():
        for loop in LOOPS:
            yield tasks(short, loop, 1)
            yield tasks(short, loop, 16)
            yield one_task(short, loop)
            yield task_per_call(short, loop)
    yield threads("short runs", short, 64, 40)
    yield threads("runs of 1 ms and more", mlp((384, 4096, 4096, 10), threads=0), 384, 5)


def mlp(widths: Sequence[int], threads: int = 1) -> Run:
    """Return a function that runs samples as a batch; `threads` 0 means one per core."""
    random = np.random.default_rng(0)
    nodes, weights, last = [], [], "input"
    for i, (wide, out) in enumerate(pairwise(widths)):
        matrix = random.standard_normal((wide, out)).astype(np.float32) / np.float32(wide**0.5)
        weights += [
            numpy_helper.from_array(matrix, f"W{i}"),
            numpy_helper.from_array(matrix[0], f"b{i}"),
        ]
        nodes.append(helper.make_node("Gemm", [last, f"W{i}", f"b{i}"], [f"sum{i}"]))
        last = f"sum{i}"
        if i < len(widths) - 2:
            nodes.append(helper.make_node("Relu", [last], [f"relu{i}"]))
            last = f"relu{i}"
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", wide])
        for name, wide in (("input", widths[0]), (last, widths[-1]))
    ]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    ort = devices.onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run(items: Sequence[FloatArray]) -> Sequence[FloatArray]:
        if len(items) == 1:
            return session.run(None, {"input": items[0]})  # type: ignore[no-any-return]
        outputs = session.run(None, {"input": np.concatenate(items)})[0]
        answers, begin = [], 0
        for item in items:
            end = begin + len(item)
            answers.append(outputs[begin:end])
            begin = end
        return answers

    return run


def samples(count: int, size: int, width: int = 64) -> list[FloatArray]:
    """Return `count` arrays, float32 `[size, width]`."""
    return list(np.random.default_rng(1).standard_normal((count, size, width)).astype(np.float32))


def direct(run: Run) -> Callable[[FloatArray], Awaitable[object]]:
    """Return the task baseline: a direct call that then yields."""

    async def call(item: FloatArray) -> None:
        run([item])
        await asyncio.sleep(0)

    return call


def coalesced(run: Run) -> Callable[[FloatArray], Awaitable[object]]:
    """Return a call through a batcher."""
    batcher = Batcher("mlp", run)

    async def call(item: FloatArray) -> None:
        await batcher.acall(item, len(item))

    return call


def per_second(
    loop: str, call: Callable[[FloatArray], Awaitable[object]], items: Sequence[FloatArray]
) -> float:
    """Return the samples per second of concurrent tasks, one per item."""
    calls = 30

    async def task(item: FloatArray) -> None:
        for _ in range(calls):
            await call(item)

    async def measured() -> float:
        begin = perf_counter()
        await asyncio.gather(*map(task, items))
        return calls * sum(map(len, items)) / (perf_counter() - begin)

    return LOOPS[loop](measured())


def tasks(run: Run, loop: str, size: int) -> Row:
    """Measure concurrent tasks with `size` samples per call, compared with calls of one sample."""
    ours, ones = samples(CALLERS, size), samples(CALLERS, 1)
    with_batcher, without = coalesced(run), direct(run)
    for _ in range(3):
        per_second(loop, with_batcher, ours)  # the batcher measures batches of this size
    a, b, ratio = in_turn(
        lambda: per_second(loop, with_batcher, ours),
        lambda: per_second(loop, without, ones),
        ROUNDS,
    )
    what = "one sample per call" if size == 1 else f"{size} samples per call"
    return (
        f"{CALLERS} tasks, {what}, {loop}",
        rate(a, "predictions"),
        rate(b, "predictions"),
        ratio,
        "a direct call and `sleep(0)`, one sample per call",
    )


def one_task(run: Run, loop: str) -> Row:
    """Measure the calls of one task, compared with direct calls."""
    item = samples(1, 1)[0]

    async def measured() -> list[tuple[float, float]]:
        batcher = Batcher("mlp", run)
        pairs = []
        for _ in range(10 * ROUNDS):
            begin = perf_counter()
            for _ in range(500):
                await batcher.acall(item)
            middle = perf_counter()
            for _ in range(500):
                run([item])[0]
            pairs.append((middle - begin, perf_counter() - middle))
        return [(ours / 500, other / 500) for ours, other in pairs]

    a, b, ratio = compared(LOOPS[loop](measured()))
    return f"1 task, latency of a call, {loop}", seconds(a), seconds(b), ratio, "a direct call"


def task_per_call(run: Run, loop: str) -> Row:
    """Measure a new task per call, sequentially, as in a server with one client."""
    item = samples(1, 1)[0]

    async def call(item: FloatArray) -> object:
        return run([item])[0]

    async def measured() -> list[tuple[float, float]]:
        batcher = Batcher("mlp", run)
        pairs = []
        for _ in range(10 * ROUNDS):
            begin = perf_counter()
            for _ in range(200):
                await asyncio.create_task(batcher.acall(item))
            middle = perf_counter()
            for _ in range(200):
                await asyncio.create_task(call(item))
            pairs.append((middle - begin, perf_counter() - middle))
        return [(ours / 200, other / 200) for ours, other in pairs]

    a, b, ratio = compared(LOOPS[loop](measured()))
    return (
        f"a new task per call, {loop}",
        seconds(a),
        seconds(b),
        ratio,
        "a direct call in a new task",
    )


def threads(what: str, run: Run, width: int, calls: int) -> Row:
    """Measure sixteen concurrent threads, one sample per call, on all cores."""
    items = samples(16, 1, width)
    batcher = Batcher("mlp", run)

    def measured(call: Callable[[FloatArray], object]) -> float:
        def work(item: FloatArray) -> None:
            for _ in range(calls):
                call(item)

        workers = [threading.Thread(target=work, args=(item,)) for item in items]
        begin = perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return calls * len(items) / (perf_counter() - begin)

    measured(batcher.call)
    a, b, ratio = in_turn(
        lambda: measured(batcher.call), lambda: measured(lambda item: run([item])), ROUNDS
    )
    return (
        f"16 threads, one sample per call, {what}",
        rate(a, "predictions"),
        rate(b, "predictions"),
        ratio,
        "each calls directly",
    )


if __name__ == "__main__":
    print_table(rows())
