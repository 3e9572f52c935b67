"""Requests with many invalid values: a short answer with bounded work, alongside other requests."""

from __future__ import annotations

import gc
import json
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Annotated, Any

import httpx
import pytest
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from typing_extensions import TypedDict

from conduit_lab import App
from conduit_lab.core.collector import paused_collector
from conduit_lab.core.errors import InputError
from conduit_lab.serving.faces.binding import INLINE_BODY_BYTES, _bind
from conduit_lab.serving.run.thread import Server
from conduit_lab.serving.signature import Signature
from conduit_lab.serving.tool import tool_request
from conduit_lab.serving.typed_arguments import MAX_COUNTED_BYTES, TypedArguments
from tests.serving.conftest import Ask

MANY = 100_000
SOME = 20_000


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    values: list[float]


class Loose(TypedDict):
    values: list[float]


@dataclass
class Plain:
    values: list[float]


TYPES: dict[str, tuple[Any, Any]] = {
    "list": (list[float], ["a"] * MANY),
    "wrong kind": (list[float], [[1]] * MANY),
    "nested list": (list[list[float]], [["a"]] * MANY),
    "inner list": (list[list[float]], [["a"] * MANY]),
    "tuple": (tuple[float, ...], ["a"] * MANY),
    "set": (set[float], [f"a{n}" for n in range(MANY)]),
    "frozenset": (frozenset[int], [f"a{n}" for n in range(MANY)]),
    "dict": (dict[str, float], {f"k{n}": "a" for n in range(MANY)}),
    "keys": (dict[int, int], {f"k{n}": 1 for n in range(MANY)}),
    "optional": (list[float] | None, ["a"] * MANY),
    "union": (list[int] | list[bool], ["a"] * MANY),
    "model": (Strict, {"values": ["a"] * MANY}),
    "unknown of a model": (Strict, {"values": [], **{f"k{n}": 0 for n in range(MANY)}}),
    "models": (list[Strict], [{"values": ["a"]}] * MANY),
    "missing fields": (list[Strict], [{}] * MANY),
    "typed dict": (Loose, {"values": ["a"] * MANY}),
    "dataclass": (Plain, {"values": ["a"] * MANY}),
    "giant text": (list[float], "x" * 10 * MANY),
    "giant value": (dict[str, float], {"x" * 10 * MANY: "y" * 10 * MANY}),
}


@pytest.mark.parametrize("name", TYPES)
def test_the_answer_to_many_wrong_values_is_short(app: App, asking: Ask, name: str) -> None:
    kind, value = TYPES[name]

    def check(values, other: int = 0):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return 1

    check.__annotations__ = {"values": kind, "other": int}
    app.post("/check")(check)
    answer = asking(app).post("/check", json={"values": value})
    assert answer.status_code == 400
    assert len(answer.content) < 4096
    assert answer.json()["error"]["message"]


def problems(arguments: dict[str, Any], size: int = 0, **types: Any) -> str:
    with pytest.raises(InputError) as caught:
        TypedArguments("check", {name: (kind, ...) for name, kind in types.items()}).check_json(
            arguments, size
        )
    return str(caught.value)


@pytest.mark.parametrize(
    ("count", "named", "more"),
    [
        (1, 1, ""),
        (10, 10, ""),
        (11, 10, "; and 1 more"),
        (1000, 10, "; and 990 more"),
        (5000, 1, "; and 4,999 more"),
    ],
)
def test_a_few_problems_are_named_and_the_others_counted(count: int, named: int, more: str) -> None:
    message = problems({"values": ["a"] * count}, values=list[float])
    text = "expected a valid number, got 'a'"
    assert message == "; ".join(f"values.{n}: {text}" for n in range(named)) + more


def test_problems_of_several_parameters_are_named() -> None:
    message = problems({"a": "x", "b": None, "c": 1}, a=int, b=str, d=float)
    assert [part.partition(":")[0] for part in message.split("; ")] == ["a", "b", "d", "c"]


def test_unknown_names_are_named_and_counted() -> None:
    message = problems({"text": "x", **{f"k{n}": 0 for n in range(200_000)}}, text=str)
    assert (
        message
        == "; ".join(f"k{n}: Extra inputs are not permitted" for n in range(10))
        + "; and 199,990 more"
    )


def test_a_large_body_is_checked_up_to_the_first_problem_of_each_list() -> None:
    calls = []

    def refuse(value: Any) -> Any:
        calls.append(value)
        raise ValueError("no")

    checked = list[Annotated[float, BeforeValidator(refuse)]]
    message = problems(
        {"a": [1] * MANY, "b": [2] * MANY}, MAX_COUNTED_BYTES + 1, a=checked, b=checked
    )
    assert calls == [1, 2]
    assert message.startswith("a.0: Value error, no, got 1; b.0: Value error, no, got 2; in a body")


def test_each_problem_is_cut() -> None:
    def refuse(value: str) -> str:
        raise ValueError(f"got {value}")

    message = problems(
        {"a": "x" * 10_000, "b": "y" * 10_000}, a=Annotated[str, AfterValidator(refuse)], b=int
    )
    assert len(message) < 450
    assert "b: expected a valid integer" in message


def test_a_large_body_that_fits_is_converted_as_a_small_one() -> None:
    arguments = TypedArguments(
        "f", {"item": (Strict, ...), "pairs": (dict[int, tuple[float, ...]], ...), "n": (int, 3)}
    )
    given = {"item": {"values": [1.5]}, "pairs": {"1": [2, 3]}}
    for size in (0, 2 * MAX_COUNTED_BYTES):
        assert arguments.check_json(given, size) == {
            "item": Strict(values=[1.5]),
            "pairs": {1: (2.0, 3.0)},
            "n": 3,
        }


LONG: dict[str, tuple[Any, Any]] = {
    "rows": (list[list[int]], [[1, 2]] * 2 * SOME),
    "numbers": (list[float], [1.5] * 2 * MANY),
    "a long row": (list[list[int]], [[1] * 2 * MANY]),
    "a set": (set[int], list(range(2 * MANY))),
    "a dict": (dict[str, int], {str(n): n for n in range(MANY)}),
    "models": (list[Strict], [{"values": [1.5]}] * SOME),
    "whole floats": (list[list[int]], [[1, 2]] * SOME + [[1.0]]),
}


def turns_during(check: Callable[[], object]) -> int:
    """Return how often another thread gets the interpreter while `check` runs."""
    turns, ends = [], threading.Event()

    def take_turns() -> None:
        while not ends.is_set():
            turns.append(1)
            sleep(0)  # each time the interpreter is given up, and asked for again

    thread = threading.Thread(target=take_turns)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        before = len(turns)
        check()
        return len(turns) - before
    finally:
        sys.setswitchinterval(interval)
        ends.set()
        thread.join()


@pytest.mark.parametrize("name", LONG)
def test_other_threads_run_while_a_large_body_is_checked(name: str) -> None:
    kind, value = LONG[name]
    arguments = TypedArguments("check", {"values": (kind, ...)})
    arguments.check_json({"values": value}, 2 * MAX_COUNTED_BYTES)  # made at the first use
    attempts = (
        turns_during(lambda: arguments.check_json({"values": value}, 2 * MAX_COUNTED_BYTES))
        for _ in range(20)  # on a busy machine the other thread may have no processor
    )
    assert any(turns > 20 for turns in attempts)  # without turns, a few before and after the call


def test_a_long_list_of_a_dict_of_any_values_stays_a_list() -> None:
    arguments = TypedArguments("check", {"values": (dict[str, Any], ...), "n": (int, 1)})
    given = {"values": {"long": list(range(MANY))}}
    assert arguments.check_json(given, 2 * MAX_COUNTED_BYTES) == {**given, "n": 1}


def test_a_problem_in_a_long_list_has_its_place() -> None:
    message = problems(
        {"rows": [[1]] * MANY + [[1, "x"]]}, 2 * MAX_COUNTED_BYTES, rows=list[list[int]]
    )
    assert message.startswith(f"rows.{MANY}.1: expected a valid integer")


FACES = ["value", "stream", "aisdk", "agui", "mcp"]


def call_through(server: Server, face: str, fields: dict[str, Any]) -> str:
    """Call the endpoint /large through one face with these fields; return the answer's text."""
    messages = {"messages": [{"role": "user", "content": "", "parts": []}]}
    bodies = {
        "aisdk": ("/aisdk/large", {**messages, **fields}, {}),
        "agui": ("/agui/large", {**messages, "forwardedProps": fields}, {}),
        "mcp": ("/mcp", json.loads(tool_request("large", fields)[2]), tool_request("large", {})[1]),
    }
    path, body, headers = bodies.get(face, ("/large", fields, {}))
    return httpx.post(f"{server.url}{path}", json=body, headers=headers, timeout=20).text


@pytest.mark.parametrize("face", FACES)
def test_a_large_body_has_one_problem_per_list_through_each_face(tmp_path: Path, face: str) -> None:
    app = App("desk", root=tmp_path, protocols=["aisdk", "agui", "mcp"])
    calls = []

    def refuse(value: Any) -> Any:
        calls.append(value)
        raise ValueError("no")

    def large(values: list[float]) -> Any:
        return []

    large.__annotations__["values"] = list[Annotated[float, BeforeValidator(refuse)]]
    (app.post if face == "value" else app.ml_stream)("/large")(large)
    with Server(app, port=0) as server:
        assert "values.0: Value error, no" in call_through(server, face, {"values": [1.5] * MANY})
    assert calls == [1.5]


@pytest.mark.parametrize("face", FACES)
def test_a_large_body_is_checked_beside_the_event_loop(tmp_path: Path, face: str) -> None:
    app = App("desk", root=tmp_path, protocols=["aisdk", "agui", "mcp"])
    asked, healthy = threading.Event(), threading.Event()

    def wait(text: str) -> str:
        asked.set()
        assert healthy.wait(20)
        return text

    def large(text: str) -> Any:
        return len(text) if face == "value" else [len(text)]

    large.__annotations__["text"] = Annotated[str, AfterValidator(wait)]
    (app.post if face == "value" else app.ml_stream)("/large")(large)
    with Server(app, port=0) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(call_through, server, face, {"text": "x" * INLINE_BODY_BYTES})
        assert asked.wait(20)
        assert httpx.get(f"{server.url}/healthz", timeout=20).status_code == 200
        healthy.set()
        assert str(INLINE_BODY_BYTES) in answer.result(20)


def test_a_large_body_that_does_not_fit_is_still_the_callers_mistake(app: App, asking: Ask) -> None:
    app.post("/large")(_length)
    client = asking(app)
    assert (
        client.post("/large", content=b"x" * INLINE_BODY_BYTES * 2, headers=JSON).status_code == 400
    )
    assert (
        client.post("/large", content=b"[" * INLINE_BODY_BYTES * 2, headers=JSON).status_code == 400
    )
    assert (
        client.post("/large", json={"text": 5, "other": "x" * INLINE_BODY_BYTES}).status_code == 400
    )


JSON = {"content-type": "application/json"}


def _length(text: str) -> int:
    return len(text)


def _words(text: str) -> list[str]:
    return text.split()


def test_a_missing_key_of_a_large_body_names_a_few_keys(app: App, asking: Ask) -> None:
    app.post("/look")(lambda body: body["absent"])
    answer = asking(app).post(
        "/look", json={f"k{n}" + "x" * (n % 2) * 500: n for n in range(10_000)}
    )
    assert answer.status_code == 400
    assert len(answer.content) < 2048
    assert "and 9,990 more" in answer.json()["error"]["message"]


def test_a_message_of_a_handler_is_cut(app: App, asking: Ask) -> None:
    def refuse(text: str) -> None:
        raise InputError(f"no such thing as {text}")

    app.post("/refuse")(refuse)
    answer = asking(app).post("/refuse", json={"text": "x" * 100_000})
    assert answer.status_code == 400
    assert len(answer.content) < 4200


def test_many_query_parameters_are_told_shortly(app: App, asking: Ask) -> None:
    app.get("/find")(_length)
    app.ml_stream("/words")(_words)
    query = "&".join(f"k{n}=1" for n in range(3000))
    for path in ("/find", "/words"):
        answer = asking(app).get(f"{path}?text=a&{query}")
        assert (answer.status_code, len(answer.content) < 2048) == (400, True)
        assert re.search(r"and 2,990 more", answer.json()["error"]["message"])


def test_a_parameter_that_is_repeated_in_a_query_is_a_list(app: App, asking: Ask) -> None:
    app.ml_stream("/words")(lambda text, n="0": iter([text, n]))
    answer = asking(app).get("/words?text=a&n=1&text=b").text
    assert [json.loads(line[6:]) for line in answer.split("\n") if line.startswith("data: ")] == [
        ["a", "b"],
        "1",
    ]


def test_a_large_body_leaves_the_collector_on() -> None:
    signature = Signature(_length, "/")
    scope: dict[str, Any] = {"headers": []}
    assert _bind(signature, scope, b'{"text": "%b"}' % (b"x" * INLINE_BODY_BYTES)).kwargs
    with pytest.raises(InputError, match="text: expected a valid string"):
        _bind(signature, scope, b'{"text": [' + b"1," * INLINE_BODY_BYTES + b"1]}")
    assert gc.isenabled()


def test_no_pass_of_the_collector_reads_a_large_body_soon() -> None:
    def take(rows: list[list[int]]) -> None: ...

    with paused_collector():
        call = _bind(
            Signature(take, "/"), {"headers": []}, b'{"rows": [%b[1]]}' % (b"[1]," * 2**18)
        )
        young = {id(each) for age in (0, 1) for each in gc.get_objects(age)}
        oldest = {id(each) for each in gc.get_objects(2)}
    rows = [*call.kwargs["rows"], *call.payload["rows"]]
    assert not any(id(each) in young for each in rows)
    assert all(id(each) in oldest for each in rows)
