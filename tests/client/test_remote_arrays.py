"""Arrays of a served app: the same dtype, shape and numbers as the local call gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest

from conduit_lab import App, ArrayShape, RemoteApp
from conduit_lab.core.errors import InputError, RemoteError, RemoteInputError
from conduit_lab.core.npy import NPY_TYPE, npy_bytes
from conduit_lab.serving.faces import array_answer
from conduit_lab.serving.faces.decoding import DECODERS
from conduit_lab.serving.run.thread import Server
from conduit_lab.serving.signature import Signature
from tests.client.conftest import Connect

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)
ARRAYS: dict[str, npt.NDArray[Any]] = {
    "small": ROWS,
    "large": np.arange(300_000, dtype=np.float64).reshape(-1, 3),
    "scalar": np.array(2.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "float16": ROWS.astype(np.float16),
    "bool": np.array([[True, False]]),
    "int64": np.array([2**53 + 1, -(2**63), 2**63 - 1]),
    "uint64": np.array([2**64 - 1], np.uint64),
    "image": np.zeros((8, 8, 3), np.uint8),
    "big-endian": ROWS.astype(">f8"),
    "not finite": np.array([np.nan, np.inf, -0.0]),
    "not contiguous": np.arange(24).reshape(4, 6)[::2, ::-3],
    "columns": np.asfortranarray(ROWS),
}
Typed = npt.NDArray[np.float32]


@pytest.fixture
def app() -> App:
    """An app whose endpoints take and give arrays."""
    app = App("arrays")

    @app.post("/echo")
    def echo(value: Any) -> Any:
        return value

    @app.post("/kind")
    def kind(value: Any) -> str:
        return type(value).__name__

    @app.post("/halved")
    def halved(rows: Annotated[Typed, ArrayShape("n", 3)]) -> Typed:
        rows = rows.copy()
        rows /= 2
        return rows

    @app.post("/optional/{factor}")
    def optional(factor: int, rows: Typed | None = None) -> Any:
        return None if rows is None else rows * factor

    @app.post("/several")
    def several(rows: Any, factor: float = 2.0) -> list[Any]:
        return [type(rows).__name__, factor]

    @app.post("/number")
    def number(n: int) -> int:
        return n

    @app.post("/inside")
    def inside(value: Any) -> dict[str, Any]:
        return {"rows": np.asarray(value)}

    @app.post("/asked")
    def asked(request: Any) -> Any:
        return request.parse_json()

    @app.get("/zeros")
    def zeros(n: int) -> npt.NDArray[np.int8]:
        return np.zeros(n, np.int8)

    @app.ml_stream("/rows")
    def rows(rows: Any) -> Iterator[str]:
        yield f"{type(rows).__name__} {rows.dtype}"

    return app


@pytest.fixture
def server(app: App) -> Iterator[Server]:
    with Server(app, port=0) as server:
        yield server


def assert_same(here: Any, there: Any) -> None:
    assert type(here) is type(there) is np.ndarray
    assert (here.dtype, here.shape) == (there.dtype, there.shape)
    assert np.array_equal(here, there, equal_nan=here.dtype.kind == "f")


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_as_from_the_local_endpoint(
    app: App, remote: RemoteApp, name: str
) -> None:
    answer = remote.echo(ARRAYS[name])
    assert_same(answer, app.endpoints["echo"](ARRAYS[name]))
    assert_same(answer, ARRAYS[name])
    answer.fill(0)  # it is the caller's own


@pytest.mark.parametrize(
    "rows", [ROWS, ROWS.astype(np.float64), ROWS[::2], np.arange(6).reshape(2, 3), ROWS[:0]]
)
def test_a_typed_array_is_converted_as_by_the_local_endpoint(
    app: App, remote: RemoteApp, rows: Any
) -> None:
    assert_same(remote.halved(rows), app.endpoints["halved"](rows))
    assert_same(remote.optional(3, rows=rows), app.endpoints["optional"](3, rows=rows))
    assert remote.optional(3) is None
    assert_same(remote.halved(rows.tolist()), remote.halved(rows))


def test_only_a_single_array_is_sent_as_npy(remote: RemoteApp) -> None:
    assert remote.kind(ROWS) == "ndarray"
    assert remote.kind(ROWS.tolist()) == remote.kind([ROWS]) == "list"
    assert remote.kind(np.array(["a"])) == "list"
    assert remote.several(ROWS) == ["list", 2.0]
    assert remote.several(ROWS, factor=3.0) == ["list", 3.0]
    assert remote.number(np.array(3)) == 3
    assert remote.asked(ROWS) == ROWS.tolist()
    assert remote.rows(ROWS).result() == "ndarray float32"


def test_only_an_answer_that_is_an_array_is_one(remote: RemoteApp) -> None:
    assert_same(remote.zeros(3), np.zeros(3, np.int8))
    assert remote.inside(ROWS) == {"rows": ROWS.tolist()}
    assert remote.echo([1.5, 2]) == [1.5, 2]


def test_values_without_a_form_are_refused_before_a_request(remote: RemoteApp) -> None:
    for value in (ROWS.astype(complex), np.array([object()])):
        with pytest.raises(InputError, match="echo: an argument has no JSON form"):
            remote.echo(value)


def test_an_array_that_does_not_fit_is_an_error_with_its_reason(remote: RemoteApp) -> None:
    with pytest.raises(
        RemoteInputError, match=r"rows: expected float32 \[n, 3\], got float32 \[2, 2\]"
    ) as caught:
        remote.halved(np.zeros((2, 2), np.float32))
    assert (caught.value.status, caught.value.kind) == (400, "bad_input")
    assert caught.value.request_id


def test_a_server_without_arrays_is_asked_in_json(
    app: App, connecting: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(DECODERS, NPY_TYPE)
    monkeypatch.setattr(Signature, "takes_array", False)
    monkeypatch.setattr(array_answer, "_named", lambda accept: ())
    with Server(app, port=0) as old:
        remote = connecting(old.url)
        assert remote.kind(ROWS) == "list"
        assert remote.echo(ROWS) == ROWS.tolist()
        assert remote.halved(ROWS) == (ROWS / 2).tolist()


def test_a_broken_array_of_a_server_is_named(
    remote: RemoteApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for broken in (b"", npy_bytes(ROWS)[:-1], npy_bytes(np.array([None]))):
        monkeypatch.setattr(array_answer, "npy_bytes", lambda _, broken=broken: broken)
        with pytest.raises(RemoteError, match=r"POST /echo expected a whole \.npy file from http"):
            remote.echo(ROWS)
