"""External data is confined to files below the model's folder; a refusal names the broken rule."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.runtime.checks import external, graph
from conduit_lab.runtime.sessions.session import Session
from tests.runtime import graphs

WEIGHT = np.arange(6, dtype=np.float32).reshape(3, 2)
X = np.ones((1, 3), np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def weights(path: Path, offset: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * offset + WEIGHT.tobytes())
    return path


def outside(name: str, location: str, array: Any, **numbers: int) -> Any:
    """Return a tensor stored in another file."""
    tensor = onnx.TensorProto(
        name=name, data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape
    )
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **numbers}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def linear(path: Path, location: str, **numbers: int) -> Path:
    return graphs.save(
        path,
        [graphs.node("MatMul", ["input", "W"], ["output"])],
        [graphs.value("input", ["batch", 3])],
        [graphs.value("output", ["batch", 2])],
        [outside("W", location, WEIGHT, **numbers)],
    )


def runs(path: Path) -> None:
    np.testing.assert_array_equal(Session(path).run({"input": X})[0], X @ WEIGHT)


# Accepted


@pytest.mark.parametrize(
    "location", ["weights.bin", "inner/weights.bin", "./weights.bin", "wéights 1.bin"]
)
def test_a_file_below_the_folder_is_read(folder: Path, location: str) -> None:
    weights(folder / location)
    runs(linear(folder / "m.onnx", location))


def test_several_files_with_offsets_are_read(folder: Path) -> None:
    weights(folder / "model.onnx_data", offset=64)
    np.full(2, 10, np.float32).tofile(folder / "model.onnx_data_1")
    bias = np.zeros(2, np.float32)
    path = graphs.save(
        folder / "model.onnx",
        [graphs.node("MatMul", ["input", "W"], ["h"]), graphs.node("Add", ["h", "b"], ["output"])],
        [graphs.value("input", ["batch", 3])],
        [graphs.value("output", ["batch", 2])],
        [
            outside("W", "model.onnx_data", WEIGHT, offset=64, length=24),
            outside("b", "model.onnx_data_1", bias, length=8),
        ],
    )
    np.testing.assert_array_equal(Session(path).run({"input": X})[0], X @ WEIGHT + 10)
    assert [file.name for file in graph.files(path)] == [
        "model.onnx",
        "model.onnx_data",
        "model.onnx_data_1",
    ]


def test_tensors_of_branches_and_attributes_are_read(folder: Path) -> None:
    for name in ("one.bin", "two.bin"):
        np.full(3, 1 if name == "one.bin" else 2, np.float32).tofile(folder / name)
    given = np.zeros(3, np.float32)
    made = graphs.node("Constant", [], ["k"], value=outside("k", "two.bin", given))
    branches = [
        onnx.helper.make_graph(nodes, "branch", [], [graphs.value("got", [3])], constants)
        for nodes, constants in (
            ([graphs.node("Identity", ["c"], ["got"])], [outside("c", "one.bin", given)]),
            ([made, graphs.node("Identity", ["k"], ["got"])], []),
        )
    ]
    path = graphs.save(
        folder / "m.onnx",
        [graphs.node("If", ["on"], ["y"], then_branch=branches[0], else_branch=branches[1])],
        [graphs.value("on", [], "bool")],
        [graphs.value("y", [3])],
    )
    session = Session(path)
    assert [session.run({"on": np.array(on)})[0].tolist() for on in (True, False)] == [
        [1] * 3,
        [2] * 3,
    ]


def hub(tmp_path: Path, *, data: bool = True) -> Path:
    """Write a model as links into blobs, as in Hugging Face's cache; return the link."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc" / "onnx"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    linear(blobs / "5f3a", "model.onnx_data")
    weights(blobs / "77c0")
    (snapshot / "model.onnx").symlink_to("../../../blobs/5f3a")
    if data:
        (snapshot / "model.onnx_data").symlink_to("../../../blobs/77c0")
    return snapshot / "model.onnx"


def test_links_of_the_cache_of_hugging_face_are_read(tmp_path: Path) -> None:
    runs(hub(tmp_path))


def test_a_link_to_a_file_of_the_folder_is_read(folder: Path) -> None:
    weights(folder / "blobs" / "77c0")
    (folder / "weights.bin").symlink_to("blobs/77c0")
    runs(linear(folder / "m.onnx", "weights.bin"))


def test_a_folder_that_is_a_link_itself_is_read(tmp_path: Path, folder: Path) -> None:
    weights(folder / "weights.bin")
    linear(folder / "m.onnx", "weights.bin")
    (tmp_path / "current").symlink_to(folder, target_is_directory=True)
    runs(tmp_path / "current" / "m.onnx")


# Refused


def refusal(path: Path) -> str:
    with pytest.raises(ModelLoadError) as caught:
        Session(path)
    assert "tensor 'W'" in str(caught.value)
    assert "cut short" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "location",
    ["../secret.bin", "inner/../../secret.bin", "../model/weights.bin", "..", "", "/etc/hostname"],
)
def test_a_location_outside_of_the_folder_is_refused(folder: Path, location: str) -> None:
    weights(folder / "weights.bin")
    weights(folder.parent / "secret.bin")
    (folder / "inner").mkdir()
    assert "is not below the model's folder" in refusal(linear(folder / "m.onnx", location))


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "weights.bin").symlink_to(weights(folder.parent / "secret.bin"))
    assert "outside the model's folder" in refusal(linear(folder / "m.onnx", "weights.bin"))


def test_a_linked_folder_outside_is_refused(folder: Path) -> None:
    weights(folder.parent / "elsewhere" / "secret.bin")
    (folder / "inner").symlink_to(folder.parent / "elsewhere", target_is_directory=True)
    assert "outside the model's folder" in refusal(linear(folder / "m.onnx", "inner/secret.bin"))


def test_a_link_beside_the_blobs_is_refused(tmp_path: Path) -> None:
    path = hub(tmp_path, data=False)
    (path.parent / "model.onnx_data").symlink_to(weights(tmp_path / "secret.bin"))
    assert "outside the model's folder" in refusal(path)


def test_a_hard_link_is_refused(folder: Path) -> None:
    os.link(weights(folder.parent / "secret.bin"), folder / "weights.bin")
    assert "is a hard link" in refusal(linear(folder / "m.onnx", "weights.bin"))


def test_a_link_to_a_hard_link_is_refused(folder: Path) -> None:
    os.link(weights(folder.parent / "secret.bin"), folder / "hard.bin")
    (folder / "weights.bin").symlink_to("hard.bin")
    assert "is a hard link" in refusal(linear(folder / "m.onnx", "weights.bin"))


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "lost link"])
def test_a_missing_or_irregular_file_is_refused(folder: Path, kind: str) -> None:
    place = folder / "weights.bin"
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "lost link":
        place.symlink_to("gone")
    assert "does not exist: copy it" in refusal(linear(folder / "m.onnx", "weights.bin"))


def test_a_cycle_of_links_is_refused(folder: Path) -> None:
    (folder / "weights.bin").symlink_to("weights.bin")
    refusal(linear(folder / "m.onnx", "weights.bin"))


def test_a_name_that_is_no_path_is_refused(folder: Path) -> None:
    assert "is not a valid path" in refusal(linear(folder / "m.onnx", "wei\0ghts"))


@pytest.mark.parametrize(("offset", "length"), [(0, 25), (8, 24), (2**62, 24), (-8, 24), (8, -8)])
def test_bytes_beyond_the_file_are_refused(folder: Path, offset: int, length: int) -> None:
    weights(folder / "weights.bin")
    assert "has 24 bytes, not from" in refusal(
        linear(folder / "m.onnx", "weights.bin", offset=offset, length=length)
    )


def test_a_tensor_beyond_its_file_is_refused_without_a_length(folder: Path) -> None:
    weights(folder / "weights.bin")
    with pytest.raises(ModelLoadError, match=r"m\.onnx"):
        Session(linear(folder / "m.onnx", "weights.bin", offset=8))


def test_weights_are_loaded_with_and_without_a_length(folder: Path) -> None:
    with weights(folder / "weights.bin", offset=4).open("ab") as file:
        file.write(b"more")
    for numbers in ({}, {"length": WEIGHT.nbytes}):
        path = linear(folder / "m.onnx", "weights.bin", offset=4, **numbers)
        tensor = onnx.load(path, load_external_data=False).graph.initializer[0]
        external.load_tensors(path, [tensor])
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), WEIGHT)


@pytest.mark.parametrize("number", ["one", "1e3", ""])
def test_a_length_that_is_no_number_is_refused(folder: Path, number: Any) -> None:
    weights(folder / "weights.bin")
    with pytest.raises(ModelLoadError, match=r"m\.onnx is damaged: .*invalid literal"):
        Session(linear(folder / "m.onnx", "weights.bin", length=number))


def test_an_address_in_memory_is_refused(folder: Path) -> None:
    """This is onnxruntime's location of a tensor in memory, whose offset is an address."""
    refusal(linear(folder / "m.onnx", "*/_ORT_MEM_ADDR_/*", offset=2**40, length=24))
