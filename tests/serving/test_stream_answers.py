"""Answers of stream endpoints: chunks are streamed, text and dicts in one piece are refused."""

from __future__ import annotations

from typing import Any

import pytest

from conduit_lab import App, Lab
from conduit_lab.core.errors import EndpointError
from tests.serving.conftest import Ask

TELL = r"tell\(\) must yield chunks, but returned {}: write `yield` instead of `return`"


@pytest.mark.parametrize("answer", ["Once upon a time", b"bytes", {"chunk": "Once"}, 3, None])
def test_an_answer_in_one_piece_is_refused(lab: Lab, answer: Any) -> None:
    @lab.ml_stream("/tell")
    def tell(prompt: str) -> Any:
        return answer

    with pytest.raises(EndpointError, match=TELL.format(type(answer).__name__)):
        tell("x")


def test_an_awaited_answer_in_one_piece_is_refused(lab: Lab) -> None:
    @lab.ml_stream("/tell")
    async def tell(prompt: str) -> Any:
        return "Once upon a time"

    with pytest.raises(EndpointError, match=TELL.format("str")):
        tell("x").result(10)


def test_the_reason_is_the_servers_and_not_the_clients(
    app: App, asking: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    @app.ml_stream("/tell")
    def tell(prompt: str) -> Any:
        return "Once upon a time"

    answer = asking(app).post("/tell", json={"prompt": "x"})
    assert answer.status_code == 500
    assert "Once" not in answer.text
    assert "write `yield`" in caplog.text


def test_lists_and_iterators_are_chunks(lab: Lab) -> None:
    @lab.ml_stream("/tell")
    def tell(prompt: str) -> Any:
        return [prompt, "!"]

    assert list(tell("x")) == ["x", "!"]
