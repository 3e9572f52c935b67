"""The registry: paths, replaced endpoints, models that are declared and opened later."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit_lab import App, Lab
from conduit_lab.core.errors import EndpointError, ModelLoadError
from tests.serving.conftest import Ask


def test_a_path_that_is_taken_is_an_error_that_names_who_has_it(app: App) -> None:
    app.post("/a")(_one)
    with pytest.raises(EndpointError, match=r"POST /a is already served by _one\(\)"):
        app.post("/a")(_two)


def test_an_app_does_not_replace_even_a_function_of_the_same_name(app: App) -> None:
    app.post("/a")(_one)
    with pytest.raises(EndpointError, match="already served"):
        app.post("/a")(_one)


def test_one_path_may_answer_several_methods(app: App, asking: Ask) -> None:
    app.get("/a")(_one)
    app.post("/a")(_two)
    client = asking(app)
    assert [client.get("/a").json(), client.post("/a").json()] == [1, 2]


def test_running_a_cell_again_replaces_the_endpoint_and_its_recorded_calls(
    lab: Lab, asking: Ask
) -> None:
    @lab.post("/price")
    def price(n: int) -> int:
        return n

    price(1)
    client = asking(lab)
    assert client.post("/price", json={"n": 5}).json() == 5
    old = price

    @lab.post("/price")  # type: ignore[no-redef]  # its cell, run again
    def price(n: int) -> int:
        return 2 * n

    assert client.post("/price", json={"n": 5}).json() == 10
    assert lab.examples == []
    assert price(5) == 10
    assert old not in lab.endpoints
    assert [example.answer for example in lab.examples] == [10]


def test_a_lab_refuses_another_function_on_the_same_path(lab: Lab) -> None:
    lab.post("/a")(_one)
    with pytest.raises(EndpointError, match="or the same name to replace it"):
        lab.post("/a")(_two)


def test_an_app_declares_its_models_and_opens_them_in_the_lifespan(
    app: App, asking: Ask, weights: Path
) -> None:
    model = app.load_model("sign.npz")
    assert "not opened" in repr(model)

    @app.ml_endpoint("/sign", model=model)
    def sign(input_data: list[float]) -> list[float]:
        return input_data

    assert "not opened" in repr(model)
    asking(app)
    assert "numpy" in repr(model)


def test_a_lab_opens_its_models_at_once(lab: Lab, weights: Path) -> None:
    assert "numpy" in repr(lab.load_model("sign.npz"))
    with pytest.raises(ModelLoadError, match=r"none\.npz"):
        lab.load_model("none.npz")


def test_an_app_whose_model_is_missing_does_not_start(app: App) -> None:
    app.load_model("none.npz")
    with pytest.raises(ModelLoadError, match=r"none\.npz"):
        app.open_resources()


def test_a_missing_model_with_a_fallback_is_a_warning_at_the_start(
    app: App, asking: Ask, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app.ml_endpoint("/sign", model="none.npz", fallback="sign.npz")(_features)
    with caplog.at_level(logging.WARNING, "conduit_lab"):
        client = asking(app)
    assert "none.npz" in caplog.text
    assert "its fallback answers" in caplog.text
    assert client.get("/healthz").json() == {"status": "ok"}


def test_a_store_has_one_object_per_name_and_a_file_under_the_root(
    app: App, tmp_path: Path
) -> None:
    with app.vector_store("notes", dimension=2) as store:
        assert app.vector_store("notes") is store
        store.add("a", [1, 0])
        assert (tmp_path / "indexes" / "notes.sqlite").is_file()


@pytest.mark.parametrize("name", ["../notes", "a/b", "", ".hidden", "a b", "a\x00", "notes\n"])
def test_a_stores_name_cannot_leave_its_folder(app: App, tmp_path: Path, name: str) -> None:
    with pytest.raises(EndpointError, match="a store's name expects"):
        app.vector_store(name, dimension=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["endpoint", "ensemble"])
def test_an_async_function_around_models_is_refused_with_the_remedy(
    app: App, weights: Path, kind: str
) -> None:
    async def prepare(value: list[float]) -> list[float]:
        return value

    decorate = (
        app.ml_endpoint("/x", model="sign.npz")
        if kind == "endpoint"
        else app.ml_ensemble("/x", models=["sign.npz"])
    )
    with pytest.raises(EndpointError, match="write it with plain `def`"):
        decorate(prepare)


def test_the_repr_lists_the_endpoints_and_escapes_what_it_shows(lab: Lab) -> None:
    lab.get("/<script>")(_one)
    assert "GET /<script>" in repr(lab)
    shown = lab._repr_mimebundle_()["text/html"]
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_an_endpoint_shows_its_request_and_signature(app: App) -> None:
    app.post("/a/{n}")(_number)
    assert repr(app.endpoints[0]) == "<Endpoint POST /a/{n} · _number(n: 'int') -> 'int'>"


def test_an_endpoint_names_the_files_of_its_models(app: App, weights: Path) -> None:
    app.ml_endpoint("/sign", model="none.npz", fallback="sign.npz")(_features)
    app.post("/a")(_one)
    assert [endpoint.files for endpoint in app.endpoints] == [("none.npz", "sign.npz"), ()]


def test_only_a_generator_of_a_stream_starts_at_once(app: App) -> None:
    app.ml_stream("/a")(_ones)
    app.ml_stream("/b")(_ones_async)
    app.ml_stream("/c")(lambda: iter([1]))
    app.post("/d")(_ones)
    starts = [endpoint.starts_at_once for endpoint in app.endpoints]
    assert starts == [True, True, False, False]


@pytest.mark.parametrize("chunks", [lambda: [1, 1], lambda: _ones(), lambda: _ones_async()])
def test_a_stream_awaits_a_coroutine_for_its_chunks(app: App, chunks: Callable[[], Any]) -> None:
    async def awaited() -> Any:
        return chunks()

    app.ml_stream("/a")(awaited)
    assert list(app.endpoints[0]()) == [1, 1]


def test_an_ensemble_takes_the_value_of_the_body(app: App, weights: Path) -> None:
    app.ml_ensemble("/vote", models=["sign.npz"])(len)
    assert list(inspect.signature(app.endpoints[0]).parameters) == ["value"]


def _one() -> int:
    return 1


def _number(n: int) -> int:
    return n


def _ones() -> Iterator[int]:
    yield 1
    yield 1


async def _ones_async() -> AsyncIterator[int]:
    yield 1
    yield 1


def _two() -> int:
    return 2


def _features(input_data: dict[str, list[float]]) -> list[float]:
    return input_data["features"]
