"""Fused models compared with their parts, and smaller forms of an embedding model with float32.

Run it with `.venv/bin/python benchmarks/optimize.py`; it generates the small ONNX files.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
from measure import Row, in_turn, per_call, print_table
from onnx import helper, numpy_helper

from conduit_lab.core.spec import Array
from conduit_lab.core.views.figures import seconds, size
from conduit_lab.flow.sequential import Sequential
from conduit_lab.models.measure.sentences import SENTENCES
from conduit_lab.models.measure.subject import EmbedderSubject
from conduit_lab.models.model import Model
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.runtime.rewriting import graph_fusion, quantize
from conduit_lab.runtime.sessions.session import Options, Session

MINILM = Path(__file__).parents[1] / "data/models/minilm"
ALONE = Options(threads=1)  # threads of two sessions would compete
RANDOM = np.random.default_rng(0)


def rows() -> Iterator[Row]:
    """Yield the table's rows."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for width in (16, 384):
            for count in (2, 3):
                yield fused(folder, width, count)
            yield sequence(folder, width)
        shutil.copytree(MINILM, folder / "minilm")
        embedder = Embedder(folder / "minilm").open()
        for kind in quantize.SUFFIXES:
            yield from smaller(embedder, kind)


def fused(folder: Path, width: int, count: int) -> Row:
    """Compare one run of a fused graph with one run of each of its parts."""
    paths = [layer(folder / f"{width}-{count}-{i}.onnx", width) for i in range(count)]
    whole = folder / f"{width}-{count}.onnx"
    graph_fusion.merge_graphs(paths, whole)
    one, parts = Session(whole, ALONE), [Session(path, ALONE) for path in paths]
    feeds = {"input": RANDOM.standard_normal((1, width), np.float32)}

    def in_parts() -> Array:
        x = feeds["input"]
        for part in parts:
            (x,) = part.run({"input": x})
        return x

    np.testing.assert_array_equal(one.run(feeds)[0], in_parts())
    ours, other, ratio = in_turn(
        lambda: per_call(lambda: one.run(feeds), 500), lambda: per_call(in_parts, 500)
    )
    return (
        f"{count} layers of {width} as one graph",
        seconds(ours),
        seconds(other),
        ratio,
        f"{count} runs",
    )


def sequence(folder: Path, width: int) -> Row:
    """Compare calls of a `Sequential` with and without fusion, including Python overhead."""
    models = [Model(layer(folder / f"{width}-{name}.onnx", width)).open() for name in "ab"]
    sample = RANDOM.standard_normal(width, np.float32)
    before = Sequential(*models)
    # merged by hand: `Sequential` itself fuses only if that is faster
    whole = folder / f"{width}-ab.onnx"
    graph_fusion.merge_graphs([model.path for model in models], whole)
    after = Sequential(Model(whole).open())
    ours, other, ratio = in_turn(
        lambda: per_call(lambda: after(sample), 500), lambda: per_call(lambda: before(sample), 500)
    )
    return (
        f"Sequential of 2 models of {width}, fused",
        seconds(ours),
        seconds(other),
        ratio,
        "the same, not fused",
    )


def layer(path: Path, width: int) -> Path:
    """Write a dense layer with ReLU, float32 `[batch, width]` to `[batch, width]`."""
    weight = (RANDOM.standard_normal((width, width)) / width**0.5).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["input", "W"], ["h"]),
            helper.make_node("Relu", ["h"], ["output"]),
        ],
        "layer",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(weight, "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def smaller(embedder: Embedder, kind: str) -> Iterator[Row]:
    """Compare a smaller MiniLM with float32: one sentence, a batch, then size and vectors."""
    subject = EmbedderSubject(embedder)
    path = quantize.converted_path(subject.path, kind)
    begin = perf_counter()
    quantize.convert(subject.path, path, kind)
    took = perf_counter() - begin
    before, after = Session(subject.path, ALONE), Session(path, ALONE)
    pieces = {
        "1 sentence": subject.pieces(SENTENCES[7])[0],
        "a batch of sentences": subject.pieces(SENTENCES)[0],
    }
    for name, feeds in pieces.items():
        yield timed(f"MiniLM {kind}, {name}", after, before, feeds)
    cosine = subject.difference(before, after, SENTENCES).cosine
    assert cosine is not None
    yield (
        f"MiniLM {kind}, size; made in {seconds(took)}",
        size(after.size),
        size(before.size),
        f"{after.size / before.size:.2f}",
        f"float32; cosine {cosine[0]:.4f} at worst, {cosine[1]:.4f} in the mean",
    )


def timed(name: str, after: Session, before: Session, feeds: Mapping[str, Array]) -> Row:
    """Compare alternating runs of two sessions."""

    def best(session: Session) -> float:
        """Return the shortest of a few runs, since some are interrupted on a shared machine."""
        return min(per_call(lambda: session.run(feeds), 1) for _ in range(5))

    ours, other, ratio = in_turn(lambda: best(after), lambda: best(before))
    return name, seconds(ours), seconds(other), ratio, "float32"


if __name__ == "__main__":
    print_table(rows())
