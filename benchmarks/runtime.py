"""The runtime: predictions over onnxruntime's own call, coalesced calls, preloading, memory.

Run it with `.venv/bin/python benchmarks/runtime.py`; it prints the tables of `docs/benchmarks.md`.
It includes `batching.py`, `embedding.py` and `optimize.py`, which can also be run separately.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import batching
import embedding
import numpy as np
import onnx
import optimize
from measure import Row, in_turn, on_one_core, per_call, print_table
from onnx import helper, numpy_helper

from conduit_lab.core.spec import FloatArray
from conduit_lab.core.trace import recorder
from conduit_lab.core.views.figures import count, rate, seconds, size
from conduit_lab.models.model import Model
from conduit_lab.runtime.sessions.cache import SessionCache, Shared
from conduit_lab.runtime.sessions.preloader import Preloader
from conduit_lab.runtime.sessions.session import Options, Session

ROOT = Path(__file__).parents[1]
ALONE = Options(threads=1)
RANDOM = np.random.default_rng(0)


def main() -> None:
    """Print the tables."""
    for title, rows in (
        ("Runtime", own_rows),
        ("Coalesced calls", batching.rows),
        ("Embeddings", embedding.rows),
        ("Optimised and fused models", optimize.rows),
    ):
        print(f"\n### {title}\n")
        print_table(rows())


def own_rows() -> Iterator[Row]:
    """Yield the rows of the measurements in this file."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with on_one_core():
            mlp = opened(network(folder / "mlp.onnx", [64, 256, 256, 10]))
            yield over_onnxruntime("predict one sample", mlp, 64)
            topic = opened(ROOT / "data/models/topic.onnx")
            yield over_onnxruntime("predict one sample, with labels", topic, 384)
            yield batched("predict 256 samples", mlp, 64)
            yield callers(mlp, 1)
            yield callers(mlp, 64)
        yield preloading(folder)
    yield import_time()
    yield memory()


def opened(path: Path) -> Model:
    """Open a model with one thread."""
    model = Model(path)
    model.options = ALONE
    return model.open()


def network(path: Path, widths: list[int]) -> Path:
    """Write a multi-layer perceptron with random weights."""
    nodes, weights, last = [], [], "input"
    for i, (wide, out) in enumerate(pairwise(widths)):
        weights.append(numpy_helper.from_array(normal(wide, out) / np.float32(wide**0.5), f"W{i}"))
        nodes += [
            helper.make_node("MatMul", [last, f"W{i}"], [f"h{i}"]),
            helper.make_node("Relu", [f"h{i}"], [f"r{i}"]),
        ]
        last = f"r{i}"
    ends = [
        helper.make_tensor_value_info(n, 1, ["batch", w])
        for n, w in (("input", widths[0]), (last, widths[-1]))
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "mlp", ends[:1], ends[1:], weights),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 9
    onnx.save(model, path)
    return path


def normal(*shape: int) -> FloatArray:
    """Return random float32 numbers."""
    return RANDOM.standard_normal(shape).astype(np.float32)


def over_onnxruntime(what: str, model: Model, wide: int) -> Row:
    """Measure `predict` of one sample, and its overhead over onnxruntime's own call."""
    sample = normal(wide)
    bare = own_session(model)
    feeds = {model.inputs[0].name: sample[None]}
    a, b, ratio = in_turn(
        lambda: min(per_call(lambda: model.predict(sample), 500) for _ in range(20)),
        lambda: min(per_call(lambda: bare.run(None, feeds), 500) for _ in range(20)),
    )
    return (
        f"{what}: {seconds(a - b)} on top",
        seconds(a),
        seconds(b),
        ratio,
        "onnxruntime's session.run",
    )


def own_session(model: Model) -> Any:
    """Return the onnxruntime session behind a model."""
    engine = model.shared._engine
    assert isinstance(engine, Session)
    return engine._session


def batched(what: str, model: Model, wide: int) -> Row:
    """Measure `predict` of a batch compared with onnxruntime's own call."""
    batch = normal(256, wide)
    bare = own_session(model)
    feeds = {model.inputs[0].name: batch}
    a, b, ratio = in_turn(
        lambda: min(per_call(lambda: model.predict(batch), 50) for _ in range(10)),
        lambda: min(per_call(lambda: bare.run(None, feeds), 50) for _ in range(10)),
    )
    return what, seconds(a), seconds(b), ratio, "onnxruntime's session.run"


def callers(model: Model, tasks: int, calls: int = 6400) -> Row:
    """Measure `acall` of concurrent tasks, compared with tasks that each `predict` and yield."""
    samples = normal(tasks, 64)

    async def coalesced(sample: FloatArray) -> None:
        for _ in range(calls // tasks):
            await model.acall(sample)

    async def direct(sample: FloatArray) -> None:
        for _ in range(calls // tasks):
            model.predict(sample)
            if tasks > 1:
                await asyncio.sleep(0)

    def measure(call: Callable[[FloatArray], object]) -> float:
        async def all_of_them() -> float:
            begin = perf_counter()
            await asyncio.gather(*(call(sample) for sample in samples))  # type: ignore[call-overload]
            return calls / (perf_counter() - begin)

        return asyncio.run(all_of_them())

    a, b, ratio = in_turn(partial(measure, coalesced), partial(measure, direct), 15)
    what = f"await model.acall, {tasks} task{'s' if tasks > 1 else ''}"
    return what, rate(a, "predictions"), rate(b, "predictions"), ratio, "predict in each task"


class NoPreloader(Preloader):
    """A preloader that never loads a model."""

    def record_use(self, model: object) -> None:
        """Ignore the use."""


def preloading(folder: Path, calls: int = 12) -> Row:
    """Measure the first call of an evicted model in a pipeline of three, if only two fit."""
    paths = [network(folder / f"{i}.onnx", [512, 2048, 4096, 512 + i]) for i in range(3)]
    batch = normal(256, 512)

    def measure(preloader: Preloader) -> float:
        cache = SessionCache()
        cache.preloader = preloader
        held = [cache.open(path, ALONE) for path in paths]
        cache.budget = int(2.2 * held[0].size)
        waits = [first_calls(held, batch) for _ in range(calls)]
        return statistics.median(waits[3:])  # the first calls train the preloader

    a, b, ratio = in_turn(lambda: measure(Preloader()), lambda: measure(NoPreloader()))
    what = f"first call of an evicted model of {size(paths[0].stat().st_size)} in a pipeline"
    return what, seconds(a), seconds(b), ratio, "the same without preloading"


def first_calls(held: list[Shared], batch: FloatArray) -> float:
    """Return the mean seconds per model of one call of the pipeline."""
    begin = perf_counter()
    with recorder.record("pipeline"):
        for shared in held:
            with recorder.span("model", "predict"):
                shared.run({"input": batch}, len(batch))
    return (perf_counter() - begin) / len(held)


def import_time() -> Row:
    """Measure the import of the package in a new process, compared with NumPy's."""

    def fresh(code: str) -> float:
        begin = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return perf_counter() - begin

    ours = "import numpy, conduit_lab; conduit_lab.Stream, conduit_lab.Model"
    a, b, ratio = in_turn(lambda: fresh(ours), lambda: fresh("import numpy"), 15)
    what = f"import conduit_lab, and name Model: {seconds(a - b)} on top"
    return what, seconds(a), seconds(b), ratio, "Python with NumPy"


def memory() -> Row:
    """Measure the memory of three `load_model` calls of one file, compared with one call."""

    def taken(times: int) -> float:
        code = f"""if True:
            import psutil, sys
            from conduit_lab import load_model
            path = {str(ROOT / "data/models/minilm/model.onnx")!r}
            held = [load_model(path).unload()]  # excludes the checker's own memory
            before = psutil.Process().memory_info().rss
            held += [load_model(path) for _ in range({times})]
            print(psutil.Process().memory_info().rss - before)
        """
        return float(
            subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True
            ).stdout
        )

    a, b, ratio = in_turn(partial(taken, 3), partial(taken, 1), 3)
    return (
        f"memory of three load_model of MiniLM ({count(3)} names)",
        size(a),
        size(b),
        ratio,
        "one load_model",
    )


if __name__ == "__main__":
    main()
