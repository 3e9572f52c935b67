"""A body, a query and a path become the arguments of a function, over HTTP and in Python."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from conduit_lab import App
from conduit_lab.core.errors import EndpointError, InputError
from conduit_lab.serving import codec
from conduit_lab.serving.request import Request
from conduit_lab.serving.signature import Signature
from tests.serving.conftest import Ask

JSON = {"content-type": "application/json"}


class Order(BaseModel):
    item: str
    count: int = 1


def test_an_untyped_single_parameter_takes_the_body_as_it_is(app: App, asking: Ask) -> None:
    @app.post("/echo")
    def echo(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- without a type is what is tested
        return {"got": value}

    client = asking(app)
    for value in ({"a": [1, 2]}, [1, "two"], "text", 3, 1.5, True, None):
        assert (
            client.post("/echo", content=codec.dumps(value), headers=JSON).json()
            == {"got": value}
            == echo(value)
        )


@pytest.mark.parametrize("body", [{"a": 1, "b": 2}, {}])
def test_a_parameter_typed_dict_takes_the_whole_body(
    app: App, asking: Ask, body: dict[str, int]
) -> None:
    @app.post("/keys")
    def keys(value: dict[str, int]) -> list[str]:
        return sorted(value)

    assert asking(app).post("/keys", json=body).json() == sorted(body) == keys(body)


def test_a_parameter_typed_as_a_model_takes_the_whole_body(app: App, asking: Ask) -> None:
    @app.post("/order")
    def order(order: Order) -> str:
        return f"{order.count} {order.item}"

    client = asking(app)
    assert (
        client.post("/order", json={"item": "kettle"}).json()
        == "1 kettle"
        == order(Order(item="kettle"))
    )
    answer = client.post("/order", json={"count": 2})
    assert answer.status_code == 400
    assert "item: Field required" in answer.json()["error"]["message"]


def test_typed_parameters_are_taken_by_name_and_defaults_filled_in(app: App, asking: Ask) -> None:
    @app.post("/repeat")
    def repeat(text: str, times: int = 2) -> str:
        return text * times

    client = asking(app)
    assert client.post("/repeat", json={"text": "ab"}).json() == "abab" == repeat("ab")
    assert (
        client.post("/repeat", json={"text": "a", "times": 3}).json()
        == "aaa"
        == repeat("a", times=3)
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text": "a", "times": "many"}, "times: expected a valid integer"),
        ({"text": 5}, "text: expected a valid string"),
        ({"times": 1}, "text: Field required"),
        ({"text": "a", "colour": "red"}, "colour: Extra inputs are not permitted"),
        ([1], "the body expects an object with text, times, got a JSON list"),
        ("a", "the body expects an object with text, times, got a JSON string"),
        (None, "the body expects an object with text, times, got null"),
        (True, "the body expects an object with text, times, got a JSON boolean"),
        (5, "the body expects an object with text, times, got a JSON number"),
    ],
)
def test_what_does_not_fit_the_types_is_a_400_that_names_the_place(
    app: App, asking: Ask, body: Any, message: str
) -> None:
    @app.post("/repeat")
    def repeat(text: str, times: int = 2) -> str:
        return text * times

    answer = asking(app).post("/repeat", content=codec.dumps(body), headers=JSON)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


def test_arguments_that_do_not_fit_are_an_input_error_in_python(app: App) -> None:
    @app.post("/repeat")
    def repeat(text: str, times: int = 2) -> str:
        return text * times

    with pytest.raises(InputError, match="times: expected a valid integer"):
        repeat("a", times="many")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"expected \(text: .*times: .* = 2\).*colour"):
        repeat("a", colour="red")  # type: ignore[call-arg]


def test_the_constraint_of_an_annotated_type_is_checked(app: App, asking: Ask) -> None:
    @app.post("/repeat")
    def repeat(text: str, times: Annotated[int, Field(le=3)] = 2) -> str:
        return text * times

    client = asking(app)
    assert client.post("/repeat", json={"text": "a", "times": 3}).json() == "aaa"
    assert client.post("/repeat", json={"text": "a", "times": 4}).status_code == 400


def test_parameters_may_have_the_names_of_pydantic_methods(app: App, asking: Ask) -> None:
    @app.post("/words")
    def words(json: str, copy: int = 1, schema: str = "s") -> list[Any]:
        return [json, copy, schema]

    assert (
        asking(app).post("/words", json={"json": "j", "copy": 2}).json()
        == ["j", 2, "s"]
        == words("j", 2)
    )


def test_a_mutable_default_is_fresh_in_each_call(app: App) -> None:
    @app.post("/gather")
    def gather(item: str, into: list[str] = []) -> list[str]:  # noqa: B006
        into.append(item)
        return into

    assert gather("a") == ["a"]
    assert gather("b") == ["b"]


def test_a_missing_key_of_the_body_is_a_400_that_names_it(app: App, asking: Ask) -> None:
    @app.ml_pipeline("/analyze")
    def analyze(input_data: dict[str, Any]) -> Any:
        return input_data["text"]

    answer = asking(app).post("/analyze", json={"txt": 1})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "the body has no 'text'; it has 'txt'"
    with pytest.raises(InputError, match="the body has no 'text'; it has no keys"):
        analyze({})


def test_a_missing_key_elsewhere_is_the_handlers_own_mistake(app: App, asking: Ask) -> None:
    prices = {"kettle": 20}

    @app.post("/price")
    def price(item: str) -> int:
        return prices[item]

    assert asking(app).post("/price", json={"item": "pan"}).status_code == 500


def test_a_parameter_named_request_gets_the_request(app: App, asking: Ask) -> None:
    @app.post("/ask/{kind}")
    def ask(request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        data = request.parse_json()
        return [data["prompt"], request.query, request.path_params, request.headers["x-me"]]

    answer = asking(app).post(
        "/ask/short?n=2", json={"prompt": "hello"}, headers={"X-Me": "tester"}
    )
    assert answer.json() == ["hello", {"n": "2"}, {"kind": "short"}, "tester"]


def test_a_parameter_typed_request_gets_the_request(app: App, asking: Ask) -> None:
    @app.post("/ask")
    def ask(asked: Request) -> Any:
        return asked.parse_json()["prompt"]

    assert (
        asking(app).post("/ask", json={"prompt": "hello"}).json()
        == "hello"
        == ask({"prompt": "hello"})  # type: ignore[arg-type]
    )


def test_a_request_handler_may_take_typed_query_parameters_too(app: App, asking: Ask) -> None:
    @app.post("/ask")
    def ask(request: Request, n: int = 1) -> Any:
        return [request.parse_json(), n]

    client = asking(app)
    assert client.post("/ask?n=3", json="hi").json() == ["hi", 3]
    assert client.post("/ask?n=x", json="hi").status_code == 400


def test_parse_json_of_an_empty_body_and_of_a_missing_key_is_a_400(app: App, asking: Ask) -> None:
    @app.post("/ask")
    def ask(request: Request) -> Any:
        return request.parse_json()["prompt"]

    client = asking(app)
    assert client.post("/ask").status_code == 400
    assert client.post("/ask", json={"promt": "typo"}).status_code == 400


def test_path_parameters_are_converted_to_their_types(app: App, asking: Ask) -> None:
    @app.get("/items/{number}")
    def item(number: int) -> list[int]:
        return [number, number + 1]

    client = asking(app)
    assert client.get("/items/7").json() == [7, 8] == item(7)
    assert client.get("/items/seven").status_code == 400


def test_path_parameters_come_beside_the_body(app: App, asking: Ask) -> None:
    @app.post("/shelves/{shelf}/items")
    def put(shelf: str, item: str, count: int = 1) -> list[Any]:
        return [shelf, item, count]

    @app.post("/notes/{shelf}")
    def note(shelf: str, value: Any) -> list[Any]:
        return [shelf, value]

    client = asking(app)
    assert client.post("/shelves/top/items", json={"item": "pan"}).json() == ["top", "pan", 1]
    assert client.post("/notes/top", json=[1]).json() == ["top", [1]] == note("top", [1])


def test_the_path_wins_over_a_key_of_the_body(app: App, asking: Ask) -> None:
    @app.post("/users/{user}/say")
    def say(user: str, text: str) -> str:
        return f"{user}: {text}"

    answer = asking(app).post("/users/ann/say", json={"user": "bob", "text": "hi"})
    assert answer.status_code == 400 or answer.json() == "ann: hi"


def test_a_get_takes_typed_parameters_from_the_query(app: App, asking: Ask) -> None:
    @app.get("/find")
    def find(text: str, top_k: int = 5, exact: bool = False) -> list[Any]:
        return [text, top_k, exact]

    client = asking(app)
    assert client.get("/find?text=kettle&top_k=2&exact=true").json() == ["kettle", 2, True]
    assert client.get("/find?text=5").json() == ["5", 5, False] == find("5")
    assert client.get("/find?text=a&top_k=two").status_code == 400
    assert client.get("/find?text=a&colour=red").status_code == 400
    assert client.get("/find").status_code == 400


def test_a_get_takes_a_single_untyped_parameter_by_its_name(app: App, asking: Ask) -> None:
    @app.get("/find")
    def find(text):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return {"found": text}

    assert asking(app).get("/find?text=kettle").json() == {"found": "kettle"} == find("kettle")


def test_a_function_without_parameters_answers_get_and_an_empty_post(app: App, asking: Ask) -> None:
    @app.get("/count")
    def count() -> int:
        return 3

    @app.post("/reset")
    def reset() -> str:
        return "done"

    client = asking(app)
    assert client.get("/count").json() == 3
    assert client.post("/reset").json() == "done"


def test_an_async_handler_answers_as_a_sync_one_does(app: App, asking: Ask) -> None:
    @app.post("/double")
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    assert asking(app).post("/double", json={"n": 4}).json() == 8 == asyncio.run(double(4))


class Greeter:
    """A callable object without a name."""

    def __call__(self, name: str) -> str:
        return f"Hello {name}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Greeter(), "POST /greet expects a function, got Greeter: define one that calls it"),
        (partial(int, base=2), "POST /greet expects a function, got partial"),
        (5, "POST /greet expects a function, got int"),
        (int, "int has no signature: call it in a function"),
    ],
)
def test_an_endpoint_expects_a_function(value: Any, message: str, app: App) -> None:
    with pytest.raises(EndpointError, match=message):
        app.post("/greet")(value)


@pytest.mark.parametrize(
    "function",
    [lambda *args: None, lambda **kwargs: None, lambda a, /: None],
    ids=["*args", "**kwargs", "/"],
)
def test_a_signature_without_names_is_refused_when_it_is_registered(
    app: App, function: Any
) -> None:
    with pytest.raises(EndpointError, match="give every parameter a name"):
        app.post("/x")(function)


def test_an_empty_body_leaves_a_whole_parameter_at_its_default(app: App, asking: Ask) -> None:
    @app.post("/echo")
    def echo(value: Any = "nothing") -> Any:
        return value

    empty = asking(app).post("/echo", headers={"content-type": "application/json"})
    assert empty.json() == "nothing" == echo()


def test_a_typed_path_parameter_stands_beside_a_whole_body(app: App, asking: Ask) -> None:
    @app.post("/items/{n:int}")
    def item(n: int, body: Any) -> Any:
        return [n, body]

    assert asking(app).post("/items/3", json={"a": 1}).json() == [3, {"a": 1}] == item(3, {"a": 1})
    assert asking(app).post("/items/x", json={"a": 1}).status_code == 404


def test_a_post_with_path_parameters_alone_needs_no_body(app: App, asking: Ask) -> None:
    @app.post("/items/{n}")
    def item(n: int) -> int:
        return n

    assert asking(app).post("/items/3").json() == 3


def test_the_path_must_start_with_a_slash(app: App) -> None:
    with pytest.raises(EndpointError, match="must start with '/'"):
        app.get("count")(lambda: 1)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=json_values)
@settings(max_examples=100, deadline=None)
def test_a_whole_body_arrives_as_the_same_value_from_python_and_from_http(value: Any) -> None:
    signature = Signature(lambda value: value, "/")
    here = signature.from_call((value,), {})
    body = codec.dumps(value)
    requests = signature.from_request(Request(body)), signature.from_http({"headers": []}, body)
    for there in requests:
        assert here.kwargs == there.kwargs == {"value": value}
        assert type(here.kwargs["value"]) is type(there.kwargs["value"])
        assert here.payload == there.payload
