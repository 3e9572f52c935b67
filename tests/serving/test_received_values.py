"""Invalid arguments: the answer names the expected and the received value, and no secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import numpy as np
import pytest
from pydantic import AfterValidator, BaseModel, Field, SecretStr
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from conduit_lab import App, ArrayShape
from tests.serving.conftest import Ask
from tests.serving.test_many_problems import problems


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Address(TypedDict):
    city: str


@dataclass
class Order:
    address: Address
    count: Annotated[int, Field(ge=1, le=9)] = 1


class Basket(BaseModel):
    orders: Annotated[list[Order], Field(max_length=2)] = []


FEATURES = Annotated[np.ndarray, ArrayShape("n", 3)]
RECEIVED: list[tuple[Any, Any, str]] = [
    (int, 1.5, "expected a valid integer, got 1.5"),
    (int, "9" * 9000, f"expected a valid integer, got '{'9' * 39}…'"),
    (str, 10**400, "expected a valid string, got a larger integer"),
    (float, None, "expected a valid number, got null"),
    (bool, 1, "expected a valid boolean, got 1"),
    (str, True, "expected a valid string, got true"),
    (list[int], {"a": 1}, "expected a valid list, got an object with 1 field"),
    (dict[str, int], [1, 2], "expected an object, got a list of 2 items"),
    (Literal["mean", "max"], "median", "expected 'mean' or 'max', got 'median'"),
    (Colour, "pink", "expected 'red' or 'blue', got 'pink'"),
    (Annotated[int, Field(gt=0)], 0, "expected more than 0, got 0"),
    (Annotated[float, Field(multiple_of=0.5)], 0.3, "expected a multiple of 0.5, got 0.3"),
    (Annotated[str, Field(max_length=3)], "abcd", "expected at most 3 characters, got 4"),
    (Annotated[list[int], Field(min_length=2)], [1], "expected at least 2 items, got 1"),
    (date, "2026-13-01", "expected a valid date or datetime, got '2026-13-01'"),
    (UUID, 5, "expected a string, got 5"),
    (Order, 5, "expected an object, got 5"),
    (FEATURES, [[1, 2]], "expected float32 [n, 3], got float32 [1, 2]"),
    (FEATURES | None, "x", "expected float32 [n, 3], got a string"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), RECEIVED)
def test_a_problem_names_what_was_expected_and_received(
    kind: Any, value: Any, expected: str
) -> None:
    message = problems({"value": value}, value=kind)
    assert expected in message
    assert len(message) < 300


def test_a_problem_inside_a_value_names_its_place_and_what_was_received() -> None:
    order = {"address": {"city": 5}, "count": 10}
    message = problems({"value": {"orders": [order]}}, value=Basket)
    assert message == (
        "value.orders.0.address.city: expected a valid string, got 5; "
        "value.orders.0.count: expected at most 9, got 10"
    )
    assert "expected at most 2 items, got 3" in problems(
        {"value": {"orders": [{"address": {"city": "a"}}] * 3}}, value=Basket
    )


@pytest.mark.parametrize("name", ["password", "api_key", "apiKey", "client_secret", "token"])
def test_a_text_in_a_field_of_secrets_is_not_shown(name: str) -> None:
    kinds: dict[str, Any] = {name: int}
    message = problems({name: "hunter2"}, **kinds)
    assert message == f"{name}: expected a valid integer, got a string of 7 characters"
    kinds = {name: dict[str, int]}
    assert "hunter2" not in problems({name: {"value": "hunter2"}}, **kinds)
    assert "'x'" in problems({"max_tokens": "x"}, max_tokens=int)


def test_the_length_of_a_hidden_text_is_shown_in_its_place() -> None:
    message = problems({"pin": "hunter2"}, pin=Annotated[SecretStr, Field(max_length=4)])
    assert message == "pin: expected at most 4 items, got 7"


def test_an_error_of_a_validator_keeps_its_words() -> None:
    def check(value: str) -> str:
        raise PydanticCustomError("too_long", "a shorter name is needed")

    message = problems({"value": "abc"}, value=Annotated[str, AfterValidator(check)])
    assert message == "value: a shorter name is needed, got 3"


def test_long_names_and_choices_leave_room_for_what_was_received() -> None:
    many = Literal[tuple(f"value-{n}" for n in range(200))]  # type: ignore[valid-type]
    assert problems({"value": "other"}, value=many).endswith("…, got 'other'")
    message = problems({"value": {"k" * 5000: "v" * 5000}}, value=dict[str, int])
    assert message.endswith(f"…: expected a valid integer, got '{'v' * 39}…'")


def test_the_path_and_the_query_are_answered_in_the_same_words(app: App, asking: Ask) -> None:
    @app.get("/orders/{number}")
    def order(number: int, mode: Literal["short", "long"] = "short", most: int = 1) -> int:
        return number

    def message(path: str) -> str:
        return str(asking(app).get(path).json()["error"]["message"])

    assert message("/orders/one") == "number: expected a valid integer, got 'one'"
    assert message("/orders/1?mode=tiny") == "mode: expected 'short' or 'long', got 'tiny'"
    assert message("/orders/1?most=1.5") == "most: expected a valid integer, got 1.5"
