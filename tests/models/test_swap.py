"""Model.swap under load, and unload."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.models.model import Model
from tests.runtime import graphs

X = np.ones(3, np.float32)


def made(path: Path, value: float, labels: list[str] | None = None, wide: int = 3) -> Path:
    """Write a model that answers `3 * value` twice for ones."""
    metadata = {"labels": json.dumps(labels)} if labels else None
    return graphs.linear(path, np.full((wide, 2), value), metadata)


def test_every_answer_is_whole_from_the_old_or_the_new(tmp_path: Path) -> None:
    files = [made(tmp_path / f"v{i}.onnx", i, [f"a{i}", f"b{i}"]) for i in range(2)]
    model = Model(files[0])
    stop = threading.Event()

    def ask(_: int) -> set[tuple[str, float]]:
        seen = set()
        while not stop.is_set():
            got = model.predict(X)
            seen.add((got.label, got.score))
        return seen

    with ThreadPoolExecutor(4) as pool:
        asking = pool.map(ask, range(4))
        for turn in range(40):
            model.swap(files[(turn + 1) % 2])
        stop.set()
        seen = set.union(*asking)
    assert seen <= {("a0", 0.0), ("a1", 3.0)}
    assert model.path == files[0]


def test_a_file_that_was_replaced_is_taken_at_a_reload(tmp_path: Path) -> None:
    # distinct content: sessions are shared by all models with the same content
    model = Model(made(tmp_path / "v.onnx", 5)).open()
    old = weakref.ref(model.shared)
    made(model.path, 6)
    assert model.predict(X).tolist() == [15, 15]
    assert model.reload().predict(X).tolist() == [18, 18]
    gc.collect()
    assert old() is None


@pytest.mark.parametrize("content", [b"", b"\x08\x01broken"])
def test_a_broken_file_is_refused_and_the_old_one_goes_on(tmp_path: Path, content: bytes) -> None:
    model = Model(made(tmp_path / "v1.onnx", 1)).open()
    broken = tmp_path / "v2.onnx"
    broken.write_bytes(content)
    for other in (broken, tmp_path / "gone.onnx"):
        with pytest.raises(ModelLoadError):
            model.swap(other)
    model.path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"v1\.onnx"):
        model.reload()
    assert model.predict(X).tolist() == [3, 3]


def test_a_file_with_other_inputs_is_refused(tmp_path: Path) -> None:
    model = Model(made(tmp_path / "v1.onnx", 1)).open()
    other = made(tmp_path / "v2.onnx", 1, wide=5)
    with pytest.raises(
        ModelLoadError, match=r"expected input float32 \[batch, 3\], got input float32 \[batch, 5\]"
    ):
        model.swap(other)
    assert model.path.name == "v1.onnx"


def test_unload_gives_the_session_back_and_the_next_call_opens_it(tmp_path: Path) -> None:
    model = Model(made(tmp_path / "v.onnx", 7)).open()
    session = weakref.ref(model.shared._engine)
    model.unload()
    assert session() is None
    assert (model.loaded, repr(model).endswith("not opened)")) == (False, True)
    assert model.predict(X).tolist() == [21, 21]


def test_unload_leaves_a_session_that_another_model_shares(tmp_path: Path) -> None:
    one, other = (Model(made(tmp_path / "v.onnx", 1)).open() for _ in range(2))
    assert one.shared is other.shared
    one.unload()
    assert other.loaded
    assert other.shared.loads == 1


def test_the_revision_is_the_content_that_is_open(tmp_path: Path) -> None:
    one, two = (made(tmp_path / f"v{i}.onnx", i) for i in (1, 2))
    model = Model(one)
    assert model.revision is None
    model.predict(X)
    first = model.revision
    assert first == model.shared.key[0] == Model(one, name="same").open().revision
    model.swap(two)
    assert model.revision not in (None, first)
    with pytest.raises(ModelLoadError):
        model.swap(made(tmp_path / "v3.onnx", 1, wide=5))
    assert model.revision == model.shared.key[0]
    made(two, 1)  # the content of the first file
    model.reload()
    assert model.revision == first


def test_an_unloaded_model_keeps_its_revision_until_it_is_opened_again(tmp_path: Path) -> None:
    model = Model(made(tmp_path / "v.onnx", 1)).open()
    first = model.revision
    model.unload()
    assert model.revision == first
    made(model.path, 2)
    model.open()
    assert model.revision == model.shared.key[0] != first
