"""An app whose endpoints have parameters, bodies and answers of many types."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le, Len
from pydantic import BaseModel, Field

from conduit_lab import App, ArrayShape, File


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    x: float
    y: float = 0.0


class Words(TypedDict):
    text: str
    count: NotRequired[int]


class Order(BaseModel):
    item: str = Field(min_length=1, max_length=40)
    count: int = Field(1, ge=1, le=5, alias="n")
    at: Point | None = None


def described_app(root: Path, kind: type[App] = App) -> App:
    """Return the app; every endpoint answers what its types say."""
    app = kind("desk", root=root)

    @app.post("/echo")
    def echo(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        """Answer with the body."""
        return value

    @app.post("/order")
    def order(order: Order) -> Order:
        """Take an order.

        It is not kept.
        """
        return order

    @app.post("/orders/{shelf:int}")
    def orders(shelf: int, orders: list[Order], color: Color = Color.RED) -> list[str]:
        return [each.item for each in orders]

    @app.post("/words")
    def words(words: Words) -> Words:
        return words

    @app.post("/types")
    def types(
        a: int,
        b: Annotated[float, Ge(0), Le(1)],
        c: bool | None,
        d: Literal["x", "y"],
        e: Level,
        f: tuple[int, str],
        g: set[int],
        h: dict[str, int],
        i: uuid.UUID,
        j: Annotated[str, Field(pattern="^[a-c]+$", max_length=9)],
        k: datetime.date | None = None,
    ) -> dict[str, Any]:
        return {"a": a, "d": d}

    @app.post("/sum")
    def total(rows: Annotated[npt.NDArray[np.float32], ArrayShape("n", 3)]) -> list[float]:
        return [float(number) for number in rows.sum(0, dtype=np.float64)]

    @app.post("/upload")
    def upload(photo: File, times: Annotated[int, Ge(1), Le(3)] = 1) -> int:
        return len(photo) * times

    @app.get("/find")
    def find(
        text: str,
        tag: Annotated[list[str], Len(0, 3)] = [],  # noqa: B006
        top_k: Annotated[int, Ge(1), Le(10)] = 3,
        color: Color | None = None,
        level: Level = Level.LOW,
        exact: bool = False,
        near: Point | None = None,
    ) -> list[str]:
        """Find texts."""
        return [text, *tag][:top_k]

    @app.get("/items/{number}/{name}")
    def item(number: int, name: str) -> list[int | str]:
        return [number, name]

    @app.post("/reset")
    def reset() -> str:
        return "done"

    @app.ml_stream("/count", resume=0.5)
    def count(to: Annotated[int, Ge(0), Le(5)]) -> Iterator[int]:
        yield from range(to)

    @app.ml_stream("/spell")
    def spell(order: Order) -> Iterator[dict[str, str]]:
        yield from ({"letter": letter} for letter in order.item)

    return app
