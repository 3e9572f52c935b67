"""The code of a call, made from an endpoint's signature."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from conduit_lab import App, Request
from conduit_lab.serving.call_code import call_code


class Size(enum.Enum):
    SMALL = "small"


class Order(BaseModel):
    item: str
    count: int = 1
    size: Size


class Basket(BaseModel):
    order: Order
    to: str = Field(alias="for")


def whole(value): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
def text(question: str, top_k: int = 3) -> None: ...
def several(id: str, n: int, vector: list[float]) -> None: ...
def texts(words: list[str], kind: Literal["a", "b"]) -> None: ...
def nothing(n: int = 1) -> None: ...
def mapping(body: dict[str, Any]) -> None: ...
def nested(basket: Basket) -> None: ...
def optional(n: int | None, x: Annotated[float, Field(gt=0)]) -> None: ...
def unknown(a: Any, b: Path) -> None: ...
def request(request: Request) -> None: ...
async def later(n: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (whole, "whole({...})"),
        (text, 'text("…")'),
        (several, 'several(id="…", n=1, vector=[...])'),
        (texts, "texts(words=[\"…\"], kind='a')"),
        (nothing, "nothing()"),
        (mapping, "mapping({...})"),
        (nested, 'nested({"order": {"item": "…", "size": \'small\'}, "for": "…"})'),
        (optional, "optional(n=1, x=1.0)"),
        (unknown, "unknown(a=..., b=...)"),
        (request, "request({...})"),
        (later, "await later(1)"),
    ],
)
def test_the_arguments_are_samples_of_the_required_ones(
    tmp_path: Path, function: Callable[..., Any], code: str
) -> None:
    endpoint = App("desk", root=tmp_path).post("/a")(function)
    assert call_code(endpoint) == code


def test_path_parameters_count_and_a_name_can_be_given(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path)

    @app.get("/items/{id}")
    def item(id: int, full: bool = False) -> int:
        return id

    assert call_code(item, "mine.item") == "mine.item(1)"


def test_a_function_without_a_name_is_called_by_its_path(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path)
    endpoint = app.post("/a")(lambda value: value)
    assert call_code(endpoint) == 'lab.endpoints["/a"]({...})'


def test_samples_of_scalars_run(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path)

    @app.post("/a")
    def a(text: str, n: int, x: float, yes: bool, basket: Basket) -> list[Any]:
        return [text, n, x, yes, basket.order.size]

    assert eval(call_code(a), {"a": a}) == ["…", 1, 1.0, True, Size.SMALL]
