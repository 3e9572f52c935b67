"""Direct requests of apps with keys: callers, tenants and quotas are those of a task."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conduit_lab import App, Limits, Request, VectorStore, current_caller, new_key
from conduit_lab.serving.gate import admission
from conduit_lab.serving.gate.context import context_of
from conduit_lab.serving.handler_pace import HandlerPace
from tests.serving.gate.both_paths import JSON, post, same_outcome, served, settle
from tests.serving.gate.connection import Client

SECRETS, KEYS = {}, []
OPTIONS: dict[str, dict[str, Any]] = {
    "ann": {"tenant": "red"},
    "bob": {"tenant": "blue"},
    "eve": {},
    "few": {"requests_per_minute": 2},
    "mean": {"tokens_per_day": 5},
}
for name, given in OPTIONS.items():
    SECRETS[name], key = new_key(name, **given)
    KEYS.append(key)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every handler run on the event loop from its first call on."""
    monkeypatch.setattr(HandlerPace, "is_short", lambda *_: True)


@pytest.fixture
def make(tmp_path: Path, weights: Path) -> Callable[[], App]:
    """Return a function that makes an app whose handlers know their caller."""

    def make() -> App:
        app = App("desk", root=tmp_path, trace="errors", keys=KEYS)
        app.ml_endpoint("/sign", model=weights)(lambda body: body)
        store = VectorStore(2, name="notes")
        store.tenant = "red"

        @app.post("/who")
        def who(request: Request) -> Any:
            return [shown(request.caller), shown(current_caller())]

        @app.post("/later")
        async def later(body: Any) -> Any:
            return shown(current_caller())

        @app.post("/lazy")
        def lazy(body: Any) -> Any:
            return (shown(current_caller()) for _ in range(body))

        @app.post("/count")
        def count(body: Any) -> Any:
            return len(store)

        @app.post("/headers")
        def headers(request: Request) -> Any:
            return request.headers

        return app

    return make


def shown(caller: Any) -> Any:
    return caller and [caller.name, caller.tenant]


def sent(name: str, path: str, body: bytes = b"3") -> bytes:
    return post(path, body, JSON, f"authorization: Bearer {SECRETS[name]}")


CASES = {
    "a caller": (sent("ann", "/who"), sent("ann", "/later"), sent("ann", "/lazy")),
    "two tenants": (sent("ann", "/who"), sent("bob", "/who"), sent("eve", "/who")),
    "a store of its tenant": (sent("ann", "/count"), sent("eve", "/count")),
    "a store of another tenant": (sent("bob", "/count"), sent("ann", "/count")),
    "its headers": (sent("ann", "/headers"),),
    "too many": tuple(sent("few", "/sign", b"[1, 2]") for _ in range(3)),
    "too many calls of a task": tuple(sent("few", "/later") for _ in range(3)),
    "too many, one with an error": (sent("few", "/sign", b"[1"), *3 * [sent("few", "/who")]),
    "no key": (post("/who"), post("/sign", b"x" * 300)),
    "an unknown key": (post("/who", b"1", JSON, "x-api-key: clk_nothing"),),
    "two keys": (post("/who", b"1", JSON, *(f"x-api-key: {SECRETS[n]}" for n in ("ann", "bob"))),),
    "usage": (sent("ann", "/who"), sent("ann", "/v1/usage", b"").replace(b"POST", b"GET", 1)),
}
STATUSES = {"too many": 429, "too many calls of a task": 429, "too many, one with an error": 429}
STATUSES |= {"a store of another tenant": 404, "no key": 401, "an unknown key": 401}


@pytest.mark.parametrize("case", CASES)
def test_the_outcome_is_that_of_a_task(make: Callable[[], App], case: str) -> None:
    outcome = same_outcome(make, *CASES[case])
    codes = {line.rpartition(" ")[2] for line in outcome["access"]}
    assert str(STATUSES.get(case, 200)) in codes
    assert not any(secret.encode() in outcome["sent"] for secret in SECRETS.values())


def test_handlers_know_their_caller_and_later_code_does_not(make: Callable[[], App]) -> None:
    answers = same_outcome(make, sent("ann", "/who"), sent("eve", "/who"))["sent"]
    assert b'[["ann","red"],["ann","red"]]' in answers
    assert b'[["eve",null],["eve",null]]' in answers
    assert current_caller() is None


def test_each_request_counts_once_on_either_path(make: Callable[[], App]) -> None:
    outcome = same_outcome(make, sent("ann", "/who"), sent("ann", "/later"), sent("bob", "/sign"))
    counts = {each["key"]: each["requests"] for each in outcome["usage"]}
    assert (counts["ann"], counts["bob"], counts["eve"]) == (2, 1, 0)


def test_the_tokens_of_a_direct_call_use_up_a_quota(
    make: Callable[[], App], monkeypatch: pytest.MonkeyPatch
) -> None:
    admit = admission.Admission.admit

    def counted(self: Any, scope: Any, context: Any, face: Any) -> Any:
        admitted = admit(self, scope, context, face)
        context_of(scope).count_tokens(2, 1)
        return admitted

    monkeypatch.setattr(admission.Admission, "admit", counted)
    outcome = same_outcome(make, *3 * [sent("mean", "/who")])
    assert [line.rpartition(" ")[2] for line in outcome["access"][-3:]] == ["200", "200", "429"]
    usage = next(each for each in outcome["usage"] if each["key"] == "mean")
    assert (usage["prompt_tokens"], usage["generated_tokens"]) == (4, 2)


def test_a_request_without_a_key_is_rejected_before_its_body(make: Callable[[], App]) -> None:
    async def ask(connect: Callable[[], Client]) -> None:
        client = connect()
        client.protocol.data_received(post("/who", b"1" * 100)[:-50])
        answer = await settle(client)
        assert answer[9:12] == b"401"
        body = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert body["error"]["type"] == "unauthorized"

    served(make(), ask)


def test_the_limits_of_an_app_are_the_quota_of_its_keys(make: Callable[[], App]) -> None:
    def limited() -> App:
        app = make()
        app.limits = Limits(requests_per_minute=1)
        return app

    outcome = same_outcome(limited, *2 * [sent("eve", "/who")])
    assert b"retry-after: 60" in outcome["sent"]
    assert b"1 requests per minute are used up" in outcome["sent"]
