"""Composition and traces: the cost of a stage, a trace and an endpoint over plain calls.

Run it with `.venv/bin/python benchmarks/flow.py`. The peers need a separate environment, in which
the whole script runs:

    python -m venv peer
    peer/bin/pip install -e .[cpu] langchain-core "haystack-ai<3"
    peer/bin/python benchmarks/flow.py

Without them their rows name the missing package. Times are CPU times of one thread, so they depend
little on other processes; each is the minimum of 25 loops.
"""

from __future__ import annotations

import gc
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path
from statistics import median
from time import process_time
from timeit import Timer
from typing import Any

import numpy as np
from flow_peers import PEERS
from measure import ROUNDS, Row, compared, in_turn, on_one_core, print_table
from runtime import ALONE, network, opened
from vectors import one_thread

from conduit_lab import App, Lab, Model, Sequential, load_model
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.trace.recorder import record
from conduit_lab.core.trace.trace import Trace
from conduit_lab.core.views.figures import rate, seconds, size

LOOP_SECONDS = 0.002  # short enough that some are not interrupted
LOOPS = 25
FILLING_RUNS = 12_000  # of four spans, until a lab's stored values reach their limit
COPIED_BYTES = 32 * 2**20
KEPT = {"traced": Values(0), "traced, values kept": Values()}  # by an `App` and by a `Lab`
RANDOM = np.random.default_rng(0)

Measured = Callable[[], float]


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as place, on_one_core():
        folder = Path(place)
        gc.freeze()  # exclude the modules from garbage collection during calls
        for title, rows in (
            ("Functions", functions(folder)),
            ("NumPy models", models(folder)),
            ("Beside other chains", peers(folder)),
            ("Compiled", compiled_rows(folder)),
            ("Counted", counts(folder)),
        ):
            print(f"\n### {title}\n")
            print_table(rows)


# Measuring


def cpu(statement: str, before: int = 0, **names: Any) -> Measured:
    """Return a measurement of the CPU seconds of one run of `statement`, after `before` runs."""
    timer = Timer(statement, "gc.enable()", process_time, {**names, "gc": gc})
    timer.timeit(before)
    runs = 1
    while timer.timeit(runs) < LOOP_SECONDS:
        runs *= 2
    return lambda: min(timer.repeat(LOOPS, runs)) / runs


def timed(what: str, ours: Measured, other: Measured, against: str, parts: int = 0) -> Row:
    """Compare two times; with `parts`, also state the difference per part."""
    a, b, ratio = in_turn(ours, other)
    if parts:
        each = " per stage" if parts > 1 else ""
        what = f"{what}: {seconds((a - b) / parts)}{each} on top"
    return what, seconds(a), seconds(b), ratio, against


def runs_per_second(what: str, ours: Measured, other: Measured, against: str) -> Row:
    """Compare two rates."""
    a, b, ratio = in_turn(lambda: 1 / ours(), lambda: 1 / other())
    return what, rate(a, "runs"), rate(b, "runs"), ratio, against


def traced(pipeline: Callable[[Any], Any], value: Any, values: Values) -> Measured:
    """Return a measurement of a run while recording."""
    statement = "with record('call', values=values): pipeline(value)"
    names = {"record": record, "values": values, "pipeline": pipeline, "value": value}
    return cpu(statement, FILLING_RUNS, **names)


# Functions


def passed(value: Any) -> Any:
    """Return the value: a stage without cost."""
    return value


def thrice(stage: Callable[[Any], Any], value: Any) -> Any:
    """Call a stage three times, like a pipeline function."""
    return stage(stage(stage(value)))


def functions(folder: Path) -> Iterator[Row]:
    """Yield the overhead of three function stages."""
    sequence = Sequential(passed, passed, passed)
    plain = cpu("f(f(f(value)))", f=passed, value=1)
    whole = cpu("sequence(value)", sequence=sequence, value=1)
    yield timed("Sequential, untraced", whole, plain, "plain calls; target 0.300 µs", 3)
    stages = partial(thrice, Function(passed))
    for what, values in KEPT.items():
        empty = cpu("with record('call', values=values): pass", record=record, values=values)
        ours = traced(stages, 1, values)
        yield timed(f"three stages {what}", ours, empty, "an empty recording; target 3.00 µs", 3)
        yield timed(f"Sequential {what}", traced(sequence, 1, values), whole, "untraced")
    yield from endpoints(folder, stages, [*range(100)], "; target 15.0 µs")


def endpoints(
    folder: Path, pipeline: Callable[[Any], Any], given: Sequence[Any], target: str = ""
) -> Iterator[Row]:
    """Yield calls of an `ml_pipeline` on an `App` and on a `Lab`, with successive inputs."""

    def composed(value: Any) -> Any:
        return pipeline(value)

    plain = cpu("composed(next(given))", composed=composed, given=cycle(given))
    for app, least in ((App, ""), (Lab, target)):
        endpoint = app("bench", root=folder).ml_pipeline("/composed")(composed)
        names = {"endpoint": endpoint, "given": cycle(given)}
        ours = cpu("endpoint(next(given))", FILLING_RUNS, **names)
        yield timed(f"@ml_pipeline on {app.__name__}", ours, plain, f"its function{least}", 1)


# NumPy models


def dense(path: Path, *widths: int) -> Model:
    """Write a multi-layer perceptron with ReLU between layers, and load it."""
    arrays: dict[str, Any] = {}
    for place, (wide, out) in enumerate(pairwise(widths)):
        arrays[f"W{place}"] = RANDOM.standard_normal((wide, out), np.float32) / wide**0.5
        arrays[f"b{place}"] = RANDOM.standard_normal(out, np.float32)
    np.savez(path, **arrays, activations=["relu"] * (len(widths) - 2) + ["identity"])
    model: Model = load_model(path)
    return model


def by_hand(path: Path) -> Callable[[FloatArray], FloatArray]:
    """Return the arithmetic of a two-layer model, as fast as NumPy calls allow."""
    with np.load(path) as arrays:
        w0, b0, w1, b1 = (arrays[name].astype(np.float32) for name in ("W0", "b0", "W1", "b1"))
    zero = np.float32(0)

    def predict(x: FloatArray) -> FloatArray:
        y: FloatArray = x.dot(w0)
        y += b0
        np.maximum(y, zero, out=y)
        y = y.dot(w1)
        y += b1
        return y

    return predict


def three(folder: Path) -> tuple[list[Model], list[Callable[[FloatArray], FloatArray]]]:
    """Return three models that can be chained, and their arithmetic by hand."""
    widths = {"a": (16, 16, 16), "b": (16, 16, 16), "c": (16, 16, 4)}
    parts = [dense(folder / f"{name}.npz", *widths[name]) for name in widths]
    return parts, [by_hand(folder / f"{name}.npz") for name in widths]


def models(folder: Path) -> Iterator[Row]:
    """Yield `predict` of one small model, and pipelines of three."""
    parts, hands = three(folder)
    samples = list(RANDOM.standard_normal((100, 16), np.float32))
    x = samples[0]
    named = dict(zip("abc", parts, strict=True)) | dict(zip("fgh", hands, strict=True)) | {"x": x}
    sequence = Sequential(*parts)
    np.testing.assert_allclose(sequence(x), hands[2](hands[1](hands[0](x))), rtol=1e-5)
    z, one = hands[1](hands[0](x)), parts[2]
    np.testing.assert_allclose(one.predict(z), hands[2](z), rtol=1e-5)
    ours, hand = cpu("model.predict(z)", model=one, z=z), cpu("f(z)", f=hands[2], z=z)
    yield timed("predict, 16 → 16 → 4", ours, hand, "NumPy by hand; target 3.00 µs in all", 1)
    hand = cpu("h(g(f(x)))", **named)
    predicts = cpu("c.predict(b.predict(a.predict(x)))", **named)
    untraced = cpu("sequence(x)", sequence=sequence, x=x)
    least = "NumPy by hand; target 100 000 runs/s"
    yield runs_per_second("Sequential of three, untraced", untraced, hand, least)
    yield runs_per_second("Sequential of three, untraced", untraced, predicts, "three predict")
    for what, values in KEPT.items():
        ours = traced(sequence, x, values)
        yield runs_per_second(f"Sequential of three {what}", ours, untraced, "untraced")

    def pipeline(value: Any) -> Any:
        return parts[2].predict(parts[1].predict(parts[0].predict(value)))

    yield from endpoints(folder, pipeline, samples)


# Other chains


def peers(folder: Path) -> Iterator[Row]:
    """Yield our traced run compared with other libraries' chains of the same stages."""
    parts, _ = three(folder)
    x = RANDOM.standard_normal(16, np.float32)
    cases: dict[str, tuple[list[Callable[[Any], Any]], Any]] = {
        "functions": ([passed] * 3, 1),
        "models": ([part.predict for part in parts], x),
    }
    targets = {"langchain": 0.03, "haystack": 0.05}
    for peer in PEERS:
        for what, (stages, value) in cases.items():
            try:
                name, chain = peer(stages)
            except ImportError as error:
                missing = f"not installed: {error.name}, see benchmarks/flow.py"
                yield f"{peer.__name__}: {what}", "–", "–", "–", missing
                continue
            sequence = Sequential(*(parts if what == "models" else stages))
            np.testing.assert_array_equal(chain(value), sequence(value))
            ours = traced(sequence, value, KEPT["traced, values kept"])
            other = cpu("chain(value)", chain=chain, value=value)
            pairs = [(ours(), other()) for _ in range(ROUNDS)]
            ratios = sorted(a / b for a, b in pairs)
            a, b, _ = compared(pairs)
            yield (
                f"three {what} traced, values kept",
                seconds(a),
                seconds(b),
                f"{median(ratios):.3f} ({ratios[0]:.3f} – {ratios[-1]:.3f})",  # 0.03 is too coarse
                f"{name}; target {targets[peer.__name__]}",
            )


# Compiled


def compiled_rows(folder: Path) -> Iterator[Row]:
    """Yield compiled sequences of small and large ONNX models compared with uncompiled ones."""
    for what, width, rows, target in (
        ("three tiny models, one sample", 16, 1, "target 0.50"),
        ("three large models, one sample", 1024, 1, "never slower"),
        ("three large models, 64 samples", 1024, 64, "never slower"),
    ):
        paths = [network(folder / f"{width}-{rows}-{n}.onnx", [width] * 3) for n in "abc"]
        sequence = Sequential(*map(opened, paths))
        samples = list(RANDOM.standard_normal((3, rows, width), np.float32))
        faster = compiled(sequence, samples)
        np.testing.assert_array_equal(faster(samples[0]), sequence(samples[0]))
        stages = len(faster.children)
        state = {1: "as one graph", 3: "declined"}.get(stages, f"{stages} stages")
        ours = cpu("pipeline(x)", pipeline=faster, x=samples[0])
        other = cpu("pipeline(x)", pipeline=sequence, x=samples[0])
        yield timed(f"{what}: {state}", ours, other, f"not compiled; {target}")


def compiled(sequence: Sequential, samples: Sequence[Any]) -> Stage:
    """Return the compiled sequence, its sessions limited to one thread each."""
    faster = sequence.compile(samples)
    for model in faster.children:
        if isinstance(model, Model):
            model.unload()
            model.options = ALONE
            model.open()
    return faster


# Counted


def counts(folder: Path) -> Iterator[Row]:
    """Yield the bytes copied between stages, and the stages run again."""
    array = np.zeros(COPIED_BYTES, np.uint8)
    sequence = Sequential(passed, passed, passed)
    room = Values(2**31)
    tracemalloc.start()
    assert sequence(array) is array
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with record("call", values=room) as trace:
        sequence(array)
    yield copies("one array through three functions", trace, f"peak of new memory {size(peak)}")
    parts, _ = three(folder)
    with record("call", values=room) as trace:
        Sequential(*parts)(np.zeros((2**16, 16), np.float32))
    yield copies("outputs of models, as the inputs of the next", trace, "bytes handed on")
    yield rerun()


def copies(what: str, trace: Trace, against: str) -> Row:
    """Count the bytes that a stage received in another object than the previous one returned."""
    stages = trace["sequential"].children
    given = copied = 0
    for before, after in pairwise(stages):
        given += before.gave.nbytes
        if before.gave is not after.given and not np.shares_memory(before.gave, after.given):
            copied += after.given.nbytes
    return f"bytes copied: {what}", size(copied), size(given), f"{copied / given:.2f}", against


def rerun() -> Row:
    """Count the stages that run again when one of five has changed."""
    names = ["first", "second", "third", "fourth", "fifth"]
    runs = dict.fromkeys(names, 0)

    def counted(name: str, plus: int = 1) -> Function:
        def stage(value: int) -> int:
            runs[name] += 1
            return value + plus

        return Function(stage, name)

    with record("call") as trace:
        Sequential(*map(counted, names))(0)
    what = "stages run where the third of five has changed"
    assert set(runs.values()) == {1}
    runs.update(dict.fromkeys(names, 0))
    trace.rerun(changed={"third": counted("third", 10)})
    again = sum(runs.values())
    return what, str(again), "5", f"{again / 5:.2f}", f"the whole run; {[*runs.values()]}"


if __name__ == "__main__":
    one_thread()
    main()
