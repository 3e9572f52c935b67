"""Dense: bad files are rejected, and harmful ones before they are read."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.core import paths
from conduit_lab.core.errors import ModelLoadError
from conduit_lab.runtime.sessions import npz
from conduit_lab.runtime.sessions.npz import Dense
from tests.runtime.sessions.test_npz import W, b, save

few = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def refusal(path: Path) -> str:
    with paths.use_root(path.parent), pytest.raises(ModelLoadError) as caught:
        Dense(path)
    assert path.name in str(caught.value)
    return str(caught.value)


def member(shape: str, descr: str = "<f4", body: bytes = b"", version: int = 1) -> bytes:
    """Return the bytes of a .npy file with any header."""
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    size = struct.pack("<H", len(head)) if version == 1 else struct.pack("<I", len(head))
    return b"\x93NUMPY" + bytes([version, 0]) + size + head + body


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_missing_file(tmp_path: Path) -> None:
    assert "no model file at gone.npz" in refusal(tmp_path / "gone.npz")


def test_pickled_objects_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    trap = tmp_path / "trap"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (trap,))

    path = save(tmp_path / "evil.npz", W0=np.array([[Evil()]], object), allow_pickle=True)
    assert "pickled Python objects in 'W0.npy'" in refusal(path)
    assert not trap.exists()


def test_object_labels_are_refused(tmp_path: Path) -> None:
    path = save(
        tmp_path / "labels.npz",
        W0=np.ones((1, 1)),
        labels=np.array(["a"], object),
        allow_pickle=True,
    )
    assert "pickled" in refusal(path)


def test_bomb_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, W0=np.zeros((1000, 1000), np.float32))
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(npz, "MAX_UNPACKED_BYTES", 10**6)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the file was read")

    monkeypatch.setattr(np, "load", never)
    monkeypatch.setattr(zipfile.ZipFile, "open", never)
    assert "bomb.npz unpacks to 3.81 MB: the limit is 977 KB" in refusal(path)


def test_a_compression_ratio_above_a_hundred_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, W0=np.zeros((1000, 1000), np.float32))
    Dense(path)  # harmless at this size
    monkeypatch.setattr(npz, "_HARMLESS_BYTES", 10**6)
    assert "unpacks to 3.81 MB: the limit is 977 KB" in refusal(path)


def test_compressed_weights_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(npz, "_HARMLESS_BYTES", 0)
    weight = np.where(np.random.default_rng(0).random((100, 100)) < 0.05, 1.5, 0).astype(
        np.float32
    )  # mostly zeros
    np.savez_compressed(tmp_path / "sparse.npz", W0=weight)
    assert Dense(tmp_path / "sparse.npz").size > 100 * 100 * 4


def test_bomb_of_many_members_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = save(
        tmp_path / "many.npz", **{f"W{i}": np.zeros((100, 100), np.float32) for i in range(30)}
    )
    monkeypatch.setattr(npz, "MAX_UNPACKED_BYTES", 10**6)
    assert "the limit is" in refusal(path)


def test_the_limit_itself_is_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = save(tmp_path / "net.npz", W0=np.ones((3, 2), np.float32))
    with zipfile.ZipFile(path) as file:
        size = sum(info.file_size for info in file.infolist())
    monkeypatch.setattr(npz, "MAX_UNPACKED_BYTES", size)
    assert Dense(path).run({"input": np.ones((1, 3), np.float32)})[0].tolist() == [[3.0, 3.0]]
    monkeypatch.setattr(npz, "MAX_UNPACKED_BYTES", size - 1)
    assert "the limit is" in refusal(path)


@pytest.mark.parametrize("shape", ["(40,)", "(1048576, 1048576)", f"({2**62}, 4)", f"({2**62},)"])
def test_header_that_claims_more_bytes_than_the_member_has_is_refused(
    tmp_path: Path, shape: str
) -> None:
    path = archive(tmp_path / "claims.npz", {"W0.npy": member(shape, body=b"\0" * 64)})
    assert "'W0.npy' claims" in refusal(path)


def test_endless_list_of_empty_strings_is_refused(tmp_path: Path) -> None:
    members = {
        "W0.npy": npy(np.ones((1, 1), np.float32)),
        "labels.npy": member(f"({2**62},)", "<U0"),
    }
    assert "'labels.npy' claims" in refusal(archive(tmp_path / "endless.npz", members))


@pytest.mark.parametrize(
    "shape", [f"(0, {2**62})", f"({2**62}, 0)", "(0, 3)", "(3, 0)", "(-1, 3)", "(3, -1)"]
)
def test_weight_without_elements_is_refused(tmp_path: Path, shape: str) -> None:
    refusal(archive(tmp_path / "hollow.npz", {"W0.npy": member(shape)}))


def test_header_of_many_megabytes_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = archive(tmp_path / "header.npz", {"W0.npy": member("(1, 1)" + " " * 10**7, version=2)})
    read, sizes = zipfile.ZipExtFile.read, list[int | None]()

    def recorded(self: zipfile.ZipExtFile, size: int | None = -1) -> bytes:
        sizes.append(size)
        return read(self, size)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", recorded)
    assert "not a readable .npz file" in refusal(path)
    assert sizes == [npz._MAX_HEADER_BYTES]


@pytest.mark.parametrize("name", ["../W0.npy", "/W0.npy", "a/W0.npy", "..npy"])
def test_member_with_a_path_is_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "slip.npz", {name: npy(np.ones((1, 1), np.float32))})
    assert "only plain names are allowed" in refusal(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["slip.npz"]


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "twice.npz", {"W0.npy": npy(np.ones((1, 1))), "W0": npy(np.zeros((1, 1)))}
    )
    assert "two arrays of one name" in refusal(path)


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_member_that_is_not_an_array_is_refused(tmp_path: Path) -> None:
    refusal(
        archive(tmp_path / "text.npz", {"W0.npy": npy(np.ones((1, 1))), "readme.txt": b"hello"})
    )


@few
@given(content=st.binary(max_size=200))
def test_random_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "random.npz").write_bytes(content)
    refusal(tmp_path / "random.npz")


@few
@given(share=st.floats(0, 0.99))
def test_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = save(tmp_path / "cut.npz", W0=np.ones((3, 2), np.float32), b0=np.ones(2, np.float32))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refusal(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_flipped_bit_in_the_weights_is_refused(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "flipped.npz"
    weight = np.random.default_rng(0).normal(size=(30, 30))
    (np.savez_compressed if compressed else np.savez)(path, W0=weight)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refusal(path)


def test_npy_file_named_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "single.npz").write_bytes(npy(np.ones((2, 2))))
    refusal(tmp_path / "single.npz")


F = np.float32
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "got none"),
    "no weights": ({"b0": np.ones(2, F)}, "got b0"),
    "a gap": ({"W0": np.ones((1, 1)), "W2": np.ones((1, 1))}, "expects arrays W0, b0"),
    "a superscript": (
        {"W0": np.ones((1, 1)), "W²": np.ones((1, 1)), "activations": np.array(["bad"])},
        "activations",
    ),
    "unknown activation": (
        {"W0": np.ones((1, 1)), "activations": np.array(["swish"])},
        "got swish",
    ),
    "too few activations": (
        {"W0": np.ones((1, 1)), "activations": np.array([], "<U4")},
        "expects 1 activations",
    ),
    "one bare activation": (
        {"W0": np.ones((1, 1)), "activations": np.array("relu")},
        "as a list of names or numbers",
    ),
    "two activations of one layer": (
        {"W": W, "activation": np.array(["relu", "relu"])},
        "expects 1 activations",
    ),
    "labels of bytes": ({"W0": W, "labels": np.array([b"no", b"yes"])}, r"labels .*got \|S3 \[2\]"),
    "labels and classes": (
        {"W0": W, "labels": np.arange(2), "classes_": np.arange(2)},
        "both labels and classes_",
    ),
    "two forms": ({"W": W, "coef_": W.T}, "got W, coef_"),
    "a layer and a stack": ({"W": W, "W0": W}, "got W, W0"),
    "a bias of another form": ({"weights": W, "b": b}, "holds b, which would be ignored"),
    "a scaler beside": (
        {"coef_": W.T, "mean_": np.zeros(3)},
        "a scaler folded into the first layer",
    ),
    "a layer too few": ({"W0": W, "b0": b, "b1": b}, "holds b1"),
    "many activations for one layer": (
        {"W": W, "activations": np.array(["relu"])},
        "holds activations",
    ),
    "a square weight": ({"weight": np.eye(3)}, "save it as W"),
    "a weight of the other order": (
        {"weight": W, "bias": b},
        r"expects weight \[out, in\] and bias \[out\]",
    ),
    "one bias for all": ({"W": W, "b": np.float32(1)}, r"and b \[\]"),
    "a bias as long as a flat weight": ({"W": b, "b": b}, r"got W \[2\] and b \[2\]"),
    "a weight of NaN": ({"W0": np.array([[np.nan]])}, "not finite in float32"),
    "a weight beyond float32": ({"W0": np.array([[1e39]])}, "not finite in float32"),
    "an infinite bias": (
        {"W0": np.ones((1, 1)), "b0": np.array([np.inf])},
        "not finite in float32",
    ),
    "one bare label": (
        {"W0": np.ones((1, 1)), "labels": np.array("yes")},
        "as a list of names or numbers",
    ),
    "table of labels": (
        {"W0": np.ones((1, 1)), "labels": np.array([["yes"]])},
        "as a list of names or numbers",
    ),
    "layers that do not meet": (
        {"W0": np.ones((3, 2)), "W1": np.ones((4, 1))},
        r"expects W1 \[2, out\] .*got W1 \[4, 1\]",
    ),
    "bias of another length": (
        {"W0": np.ones((3, 2)), "b0": np.ones(3)},
        r"expects W0 \[in, out\] .*got W0 \[3, 2\] and b0 \[3\]",
    ),
    "bias that would broadcast": ({"W0": np.ones((3, 2)), "b0": np.float32(1)}, r"and b0 \[\]"),
    "flat weight": ({"W0": np.ones(3)}, r"got W0 \[3\]"),
    "scalar weight": ({"W0": np.float32(1)}, r"got W0 \[\]"),
    "deep weight": ({"W0": np.ones((1, 1, 1))}, r"got W0 \[1, 1, 1\]"),
    "weights of text": ({"W0": np.array([["a"]])}, "of float32, got"),
    "complex weights": ({"W0": np.array([[1j]])}, "of float32, got"),
    "bias of text": ({"W0": np.ones((1, 1)), "b0": np.array(["a"])}, "of float32, got"),
    "structured weights": ({"W0": np.zeros((1, 1), [("a", "f4")])}, "of float32, got"),
}


@pytest.mark.parametrize("case", BAD)
def test_arrays_that_do_not_form_a_network_are_refused(tmp_path: Path, case: str) -> None:
    arrays, message = BAD[case]
    path = save(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ModelLoadError, match=message):
        Dense(path)
