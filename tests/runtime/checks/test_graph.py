"""A checked file has its facts and files, and the digest of their content."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from conduit_lab.core.errors import MissingExtra, ModelLoadError
from conduit_lab.runtime.checks import graph
from conduit_lab.runtime.checks.content import files_digest
from tests.runtime import graphs


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    return graphs.linear(tmp_path / "linear.onnx", np.ones((3, 2)))


def external(folder: Path, weight: float = 1.0) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "weights.bin").write_bytes(np.full((3, 2), weight, np.float32).tobytes())
    return graphs.with_external_data(folder / "model.onnx", "weights.bin")


def test_facts_of_a_plain_graph(linear: Path) -> None:
    facts = graph.check_graph(linear)
    assert (facts.opset, facts.files, facts.size, facts.endless) == (
        17,
        (linear,),
        linear.stat().st_size,
        False,
    )
    assert facts.unranked == frozenset()


def test_values_without_a_shape_are_unranked(tmp_path: Path) -> None:
    ends = [graphs.value("x", None)], [graphs.value("y", ["n"])]
    path = graphs.save(tmp_path / "m.onnx", [graphs.node("Neg", ["x"], ["y"])], *ends)
    assert graph.check_graph(path).unranked == {"x"}


def test_external_data_is_part_of_the_model(tmp_path: Path) -> None:
    path = external(tmp_path / "m")
    facts = graph.check_graph(path)
    assert facts.files == (path, tmp_path / "m" / "weights.bin")
    assert facts.size == path.stat().st_size + 24


def test_external_data_of_a_constant_inside_a_branch_is_part_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "inner.bin").write_bytes(np.ones(1, np.float32).tobytes())
    far = onnx.TensorProto(name="far", data_type=onnx.TensorProto.FLOAT, dims=[1])
    far.data_location = onnx.TensorProto.EXTERNAL
    far.external_data.add(key="location", value="inner.bin")
    branch = onnx.helper.make_graph(
        [graphs.node("Constant", [], ["got"], value=far)], "branch", [], [graphs.value("got", [1])]
    )
    path = graphs.save(
        tmp_path / "branch.onnx",
        [graphs.node("If", ["on"], ["y"], then_branch=branch, else_branch=branch)],
        [graphs.value("on", [], "bool")],
        [graphs.value("y", [1])],
    )
    assert graph.files(path) == (path, tmp_path / "inner.bin")


def test_a_loop_may_be_endless(tmp_path: Path) -> None:
    assert graph.check_graph(graphs.endless(tmp_path / "loop.onnx")).endless


def test_content_is_the_digest_of_the_graph_and_its_external_data(tmp_path: Path) -> None:
    same, twin, other = (
        graph.check_graph(external(tmp_path / name, value))
        for name, value in zip("abc", (1, 1, 2), strict=True)
    )
    assert same.content == twin.content == files_digest(same.files)
    assert same.content != other.content


def test_facts_follow_the_bytes_and_not_the_path(linear: Path) -> None:
    assert not graph.check_graph(linear).endless
    graphs.endless(linear)
    assert graph.check_graph(linear).endless


def test_a_broken_file_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"broken")
    assert graph.files(path) == (path,)
    with pytest.raises(ModelLoadError, match=r"broken\.onnx is not a valid ONNX model"):
        graph.check_graph(path)


def test_a_missing_onnx_is_named(linear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linear.write_bytes(linear.read_bytes() + b"\x0a\x00")  # its facts are not cached
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"\.onnx, .* needs onnx"):
        graph.check_graph(linear)
