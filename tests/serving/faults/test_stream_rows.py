"""Rows 55 to 58, 78 and 79 of the faults that the served app survives: its streams."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from conduit_lab import Lab, Stream
from conduit_lab.serving.faces import transport
from tests.serving.conftest import SECONDS, until
from tests.serving.faces.counting import data, read

MEBIBYTE = 2**20
CLOSES_WITHIN = 1.0  # seconds


def endless(closed: threading.Event) -> Callable[[], Iterator[int]]:
    def count() -> Iterator[int]:
        try:
            number = 0
            while not closed.wait(0.002):
                yield number
                number += 1
        finally:
            closed.set()

    return count


def endless_async(closed: threading.Event) -> Callable[[], AsyncIterator[int]]:
    async def count() -> AsyncIterator[int]:
        try:
            number = 0
            while True:
                await asyncio.sleep(0.002)
                yield number
                number += 1
        finally:
            closed.set()

    return count


@pytest.mark.parametrize("resume", [None, 0.1])
@pytest.mark.parametrize("source", [endless, endless_async])
def test_row_55_a_client_that_leaves_ends_the_generation(
    lab: Lab, source: Any, resume: float | None
) -> None:
    closed = threading.Event()
    lab.ml_stream("/count", resume=resume)(source(closed))
    with lab.serve(port=0) as server:
        read(server.url, events=3)
        (stream,) = lab.open_streams or lab.endpoints[0].resumes.streams or [None]
        assert closed.wait((resume or 0) + CLOSES_WITHIN)
        until(lambda: not lab.open_streams)
        until(lambda: not lab.endpoints[0].resumes.streams)
    assert stream is None or stream.state == "cancelled"


@pytest.mark.parametrize("source", [endless, endless_async])
def test_row_56_a_client_that_comes_back_gets_the_same_events(lab: Lab, source: Any) -> None:
    lab.ml_stream("/count", resume=SECONDS)(source(threading.Event()))
    with lab.serve(port=0) as server:
        first = read(server.url, events=6)
        again = read(server.url, first[1].id, events=4)
        assert [(e.id, e.data) for e in again] == [(e.id, e.data) for e in first[2:]]
        lab.drain()
        stream_id = first[0].id.partition(":")[0]
        (stream,) = lab.endpoints[0].resumes.streams
        answers = {}
        for place in ("end", "0", "99999999"):
            headers = {"last-event-id": f"{stream_id}:{place}"}
            answers[place] = httpx.get(f"{server.url}/count", headers=headers)
        gone = httpx.get(f"{server.url}/count", headers={"last-event-id": "unknown:3"})
    assert answers["end"].status_code == 204
    assert answers["0"].text.endswith(
        '"message":"the stream was cancelled on the server"}\n\n'
    ) and data(answers["0"].text)[: stream.count - 1] == list(range(1, stream.count))
    assert gone.status_code == 410
    assert gone.json()["error"]["type"] == "stream_gone"


def test_row_56_a_place_that_the_log_dropped_is_a_410(lab: Lab) -> None:
    @lab.ml_stream("/count", resume=SECONDS)
    def count() -> Iterator[str]:
        for _ in range(12):
            yield "x" * MEBIBYTE

    with lab.serve(port=0) as server:
        first = httpx.get(f"{server.url}/count", timeout=SECONDS).text
        stream_id = first.partition("id: ")[2].partition(":")[0]
        gone = httpx.get(f"{server.url}/count", headers={"last-event-id": f"{stream_id}:0"})
    assert first.count("data: ") == 12
    assert gone.status_code == 410
    assert gone.json()["error"]["type"] == "stream_lagged"


def test_row_57_an_error_after_the_start_is_an_event_and_the_end(lab: Lab) -> None:
    @lab.ml_stream("/count")
    def count() -> Iterator[int]:
        yield 1
        raise ValueError("the secret reason")

    with lab.serve(port=0) as server:
        answer = httpx.get(f"{server.url}/count")
    assert answer.status_code == 200
    message, error = data(answer.text)
    assert message == 1
    assert error["type"] == "stream_failed"
    assert "event: error\n" in answer.text
    assert "[DONE]" not in answer.text
    assert "secret" not in answer.text


def test_row_58_a_quiet_stream_passes_proxies(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HEARTBEAT_SECONDS", 0.01)
    go = threading.Event()

    @lab.ml_stream("/count")
    def count() -> Iterator[str]:
        yield "x" * 10_000
        assert go.wait(SECONDS)

    encodings = {"accept-encoding": "gzip, deflate, br, zstd"}
    with (
        lab.serve(port=0) as server,
        httpx.stream("GET", f"{server.url}/count", headers=encodings) as answer,
    ):
        comments = 0
        for line in answer.iter_lines():
            comments += line.startswith(":")
            if comments == 3:
                go.set()
    assert comments >= 3
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-store"
    assert "content-encoding" not in answer.headers


def test_row_58_the_heartbeat_comes_before_proxies_give_up() -> None:
    assert transport.HEARTBEAT_SECONDS <= 15


def large_chunks() -> Iterator[str]:
    for number in range(8):
        yield f"{number}:" + "x" * MEBIBYTE


async def large_chunks_async() -> AsyncIterator[str]:
    for chunk in large_chunks():
        yield chunk


@pytest.mark.parametrize(
    "source", [large_chunks, large_chunks_async, lambda: Stream(large_chunks())]
)
def test_row_78_a_fast_producer_loses_nothing(lab: Lab, source: Any) -> None:
    lab.ml_stream("/large")(source)
    with lab.serve(port=0) as server, socket.socket() as client:
        client.settimeout(SECONDS)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /large HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        with client.makefile("rb") as lines:
            got = [line[7:8] for line in lines if line.startswith(b"data: ")]
    assert got == [b"%d" % number for number in range(8)]


class Row(BaseModel):
    text: str


@dataclass
class Part:
    text: str


@pytest.mark.parametrize(
    "chunk",
    [
        lambda text: {"deep": [{"text": text}]},
        lambda text: Part(text),
        lambda text: Row(text=text),
        lambda text: (text, [text[:1]]),
    ],
    ids=["nested", "dataclass", "pydantic", "tuple"],
)
def test_row_79_the_bound_of_the_log_counts_everything_in_a_chunk(lab: Lab, chunk: Any) -> None:
    lab.ml_stream("/chunks", resume=SECONDS)(
        lambda: (chunk(str(n % 10) * MEBIBYTE) for n in range(12))
    )
    with lab.serve(port=0) as server:
        answer = httpx.get(f"{server.url}/chunks", timeout=SECONDS)
        (stream,) = lab.endpoints[0].resumes.streams
        assert len(stream.kept) <= 4  # of a mebibyte each, in a log of four
    assert answer.text.count("data: ") == 12
    sent = [json.dumps(each) for each in data(answer.text)]
    assert [str(n % 10) * 20 in text for n, text in enumerate(sent)] == [True] * 12
