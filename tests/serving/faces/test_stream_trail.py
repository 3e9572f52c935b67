"""Clients that reconnect: to a fast stream with unsent chunks, and with invalid event IDs."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from conduit_lab import Lab
from tests.serving.conftest import SECONDS, Ask, until
from tests.serving.faces.counting import read


def sync_parts() -> Iterator[dict[str, Any]]:
    for n in range(160):
        yield {"n": n, "text": "x" * 50_000}


async def async_parts() -> AsyncIterator[dict[str, Any]]:
    for part in sync_parts():
        yield part


@pytest.mark.parametrize("parts", [sync_parts, async_parts])
def test_what_was_on_its_way_when_the_client_left_is_there_when_it_comes_back(
    lab: Lab, parts: Any
) -> None:
    lab.ml_stream("/count", resume=SECONDS)(parts)
    with lab.serve(port=0) as server:
        with socket.socket() as client:
            client.settimeout(SECONDS)
            # else this kernel may take more than the half log that is kept
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**18)
            client.connect(("127.0.0.1", server.port))
            client.sendall(b"GET /count HTTP/1.1\r\nhost: localhost\r\n\r\n")
            with client.makefile("rb") as lines:
                last = next(
                    line for line in lines if line.startswith(b"id: ") and line.endswith(b":3\n")
                )
            (stream,) = lab.endpoints[0].resumes.streams
            until(lambda: stream.count > 60)  # the kernel and the log are full of unread chunks
        until(lambda: stream.readers == 0)
        rest = read(server.url, last.decode().removeprefix("id: ").strip())
    assert [json.loads(event.data)["n"] for event in rest] == list(range(4, 160))


@pytest.mark.parametrize("place", ["9" * 400, "9" * 5000, "-1", "1.0", "1_0", "²", "", " "])
def test_a_place_that_is_no_number_of_a_chunk_is_a_410(lab: Lab, asking: Ask, place: str) -> None:
    lab.ml_stream("/count", resume=SECONDS)(lambda: iter([1, 2]))
    client = asking(lab)
    stream_id = client.get("/count").text.partition("id: ")[2].partition(":")[0]
    assert client.get("/count", headers={"last-event-id": f"{stream_id}:1"}).status_code == 204
    answer = client.get("/count", headers=[(b"last-event-id", f"{stream_id}:{place}".encode())])
    assert answer.status_code == 410
