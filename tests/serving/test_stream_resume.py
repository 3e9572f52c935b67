"""Clients that come back to a stream, browsers that ask with GET, and clients that stop reading."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from time import sleep
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, connect_sse

from conduit_lab import App, Lab
from conduit_lab.core.errors import EndpointError
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.faces import events as events_module
from conduit_lab.serving.faces import resume
from conduit_lab.serving.request import Request
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import Ask

SECONDS = 30.0


class Steps:
    """A generator that makes a number each time it is let go on; `closed` is set in its finally."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.go = threading.Semaphore(0)
        self.closed = threading.Event()

    def __call__(self) -> Iterator[int]:
        try:
            for number in range(self.total):
                yield number
                assert self.go.acquire(timeout=SECONDS)
        finally:
            self.closed.set()


def serving(lab: Lab, steps: Any, **options: Any) -> Server:
    def count() -> Iterator[int]:
        yield from steps()

    lab.ml_stream("/count", **options)(count)
    return lab.serve(port=0)


def read(
    url: str, last_event_id: str | None = None, events: int | None = None
) -> list[ServerSentEvent]:
    """Ask with GET and return the first `events`, or all."""
    headers = {} if last_event_id is None else {"last-event-id": last_event_id}
    with (
        httpx.Client(timeout=SECONDS) as client,
        connect_sse(client, "GET", f"{url}/count", headers=headers) as source,
    ):
        got = []
        for event in source.iter_sse():
            got.append(event)
            if len(got) == events:
                break
        return got


def until(ready: Any) -> None:
    for _ in range(int(SECONDS * 100)):
        if ready():
            return
        sleep(0.01)
    raise AssertionError("it did not happen")


def test_each_event_has_the_id_of_its_stream_and_its_number(app: App, asking: Ask) -> None:
    app.ml_stream("/count")(lambda: iter("abc"))
    answer = asking(app).post("/count")
    ids = [line.removeprefix("id: ") for line in answer.text.split("\n") if line.startswith("id: ")]
    assert ids == [f"{answer.headers['x-request-id']}:{n}" for n in range(3)]


def test_a_client_that_comes_back_gets_the_same_events_from_there(lab: Lab) -> None:
    steps = Steps(3)
    with serving(lab, steps, resume=SECONDS) as server:
        (first,) = read(server.url, events=1)
        assert not steps.closed.is_set()  # it waits for the client
        for _ in range(3):
            steps.go.release()
        rest = read(server.url, first.id)
        again = read(server.url, first.id)
    assert [json.loads(event.data) for event in rest] == [1, 2]
    stream_id = first.id.partition(":")[0]
    assert [event.id for event in rest] == [f"{stream_id}:1", f"{stream_id}:2"]
    assert [event.data for event in again] == ["1", "2"]


def test_after_the_end_a_client_that_comes_back_is_told_that_there_is_no_more(lab: Lab) -> None:
    with serving(lab, lambda: iter([1, 2]), resume=SECONDS) as server:
        events = read(server.url)
        answer = httpx.get(f"{server.url}/count", headers={"last-event-id": events[-1].id})
    assert (answer.status_code, answer.content) == (204, b"")


def test_after_the_window_the_stream_is_cancelled_and_gone(lab: Lab) -> None:
    steps = Steps(3)
    with serving(lab, steps, resume=0.05) as server:
        (first,) = read(server.url, events=1)
        endpoint = lab.endpoints[0]
        until(lambda: not endpoint.resumes.streams)
        steps.go.release()
        assert steps.closed.wait(SECONDS)
        answer = httpx.get(f"{server.url}/count", headers={"last-event-id": first.id})
    assert answer.status_code == 410
    assert answer.json()["error"]["type"] == "stream_gone"


def test_without_a_window_a_client_that_comes_back_does_not_start_anything_anew(lab: Lab) -> None:
    starts = []

    def start() -> Iterator[int]:
        starts.append(1)
        return iter([1, 2])

    with serving(lab, start) as server:
        events = read(server.url)
        answer = httpx.get(f"{server.url}/count", headers={"last-event-id": events[0].id})
    assert answer.status_code == 410
    assert "resume=" in answer.json()["error"]["message"]
    assert starts == [1]


def test_what_the_log_has_dropped_is_a_410_that_says_where_to_go_on(lab: Lab) -> None:
    def long() -> Stream[str]:
        stream = Stream((str(n).zfill(1000) for n in range(100)), keep=20_000)
        stream.wait(SECONDS)
        return stream

    lab.ml_stream("/count", resume=SECONDS)(long)
    with lab.serve(port=0) as server:
        lagged, *events = read(server.url)
        base = int(events[0].data.strip('"'))
        assert (lagged.event, json.loads(lagged.data)["missed"]) == ("lagged", base)
        stream_id = events[0].id.partition(":")[0]
        answer = httpx.get(f"{server.url}/count", headers={"last-event-id": f"{stream_id}:3"})
        assert answer.status_code == 410
        assert f"{stream_id}:{base - 1}" in answer.json()["error"]["message"]
        rest = read(server.url, f"{stream_id}:{base - 1}")
    assert [event.data for event in rest] == [event.data for event in events]


@pytest.mark.parametrize("strange", ["nonsense", ":", "abc:", ":5", "abc:-1", "abc:²", "x" * 5000])
def test_a_strange_last_event_id_is_a_410(app: App, asking: Ask, strange: str) -> None:
    app.ml_stream("/count", resume=5)(lambda: iter([1]))
    answer = asking(app).get("/count", headers=[(b"last-event-id", strange.encode())])
    assert answer.status_code == 410


def test_a_stream_that_fails_while_nobody_is_there_tells_who_comes_back(lab: Lab) -> None:
    steps = Steps(1)

    def fail() -> Iterator[int]:
        yield from steps()
        raise RuntimeError("hunter2")

    with serving(lab, fail, resume=SECONDS) as server:
        (first,) = read(server.url, events=1)
        steps.go.release()
        (last,) = read(server.url, first.id)
        assert last.event == "error"
        assert "hunter2" not in last.data
        answer = httpx.get(f"{server.url}/count", headers={"last-event-id": last.id})
    assert answer.status_code == 204  # a browser that comes back once more shall stop


def test_a_stop_of_the_server_ends_streams_that_wait_for_their_client(lab: Lab) -> None:
    steps = Steps(2)
    with serving(lab, steps, resume=SECONDS) as server:
        read(server.url, events=1)
        (stream,) = lab.endpoints[0].resumes.streams
    assert stream.state == "cancelled"
    steps.go.release()
    assert steps.closed.wait(SECONDS)


def test_two_clients_may_read_one_stream_and_the_last_to_leave_ends_it(lab: Lab) -> None:
    steps = Steps(3)
    with serving(lab, steps, resume=0.05) as server:
        headers: dict[str, str] = {}
        with (
            httpx.Client(timeout=SECONDS) as client,
            connect_sse(client, "GET", f"{server.url}/count") as source,
        ):
            one = source.iter_sse()
            first = next(one)
            headers["last-event-id"] = first.id
            with connect_sse(client, "GET", f"{server.url}/count", headers=headers) as other:
                steps.go.release()
                assert next(other.iter_sse()).data == "1"
            sleep(0.1)  # longer than the window: the first client still reads
            assert next(one).data == "1"
            steps.go.release()
            assert next(one).data == "2"
        until(lambda: not lab.endpoints[0].resumes.streams)
        steps.go.release()


def test_the_oldest_of_too_many_abandoned_streams_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resume, "ABANDONED", 2)
    held = resume.Resumes(SECONDS)
    streams = [Stream(iter([n])) for n in range(4)]
    for number, stream in enumerate(streams):
        stream.wait(SECONDS)
        held.hold(str(number), stream)
        held.leave(str(number), stream.reader())
    assert held.streams == streams[2:]


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_a_window_that_is_no_time_is_refused(app: App, wrong: float) -> None:
    with pytest.raises(EndpointError, match="resume="):
        app.ml_stream("/count", resume=wrong)


# A browser's GET


def test_a_get_takes_from_the_query_what_a_post_takes_from_the_body(app: App, asking: Ask) -> None:
    @app.ml_stream("/repeat")
    def repeat(word: str, times: int = 2, tags: list[str] | None = None) -> Iterator[Any]:
        yield from [word] * times
        yield tags

    client = asking(app)
    query = client.get("/repeat?word=a%20b&times=3&tags=x&tags=y").text
    body = client.post("/repeat", json={"word": "a b", "times": 3, "tags": ["x", "y"]}).text
    assert data(query) == data(body) == ["a b", "a b", "a b", ["x", "y"]]
    assert client.get("/repeat").status_code == 400
    assert client.get("/repeat?word=a&times=many").status_code == 400


def test_a_handler_of_the_request_gets_the_query_as_its_json(app: App, asking: Ask) -> None:
    @app.ml_stream("/echo")
    def echo(request: Request) -> Iterator[Any]:
        yield request.parse_json()["prompt"]

    assert data(asking(app).get("/echo?prompt=hello").text) == ["hello"]


def test_an_empty_stream_gives_a_browser_an_id_to_come_back_with(app: App, asking: Ask) -> None:
    app.ml_stream("/none")(lambda: iter(()))
    client = asking(app)
    answer = client.get("/none")
    last = f"{answer.headers['x-request-id']}:end"
    assert answer.text == f'retry: 1000\nid: {last}\nevent: end\ndata: {{"chunks":0}}\n\n'
    assert client.get("/none", headers={"last-event-id": last}).status_code == 204


def test_a_head_runs_nothing(app: App, asking: Ask) -> None:
    app.ml_stream("/never")(lambda: pytest.fail("it ran"))
    answer = asking(app).head("/never")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_a_get_endpoint_of_the_same_path_keeps_its_get(app: App, asking: Ask) -> None:
    app.ml_stream("/both")(lambda: iter([1]))
    app.get("/both")(lambda: "mine")
    client = asking(app)
    assert client.get("/both").json() == "mine"
    assert data(client.post("/both").text) == [1]


def data(text: str) -> list[Any]:
    return [
        json.loads(line.removeprefix("data: "))
        for line in text.split("\n")
        if line.startswith("data: ")
    ]


# Clients that are quiet, slow or gone


def test_a_quiet_stream_sends_comments_that_are_no_events(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "HEARTBEAT_SECONDS", 0.01)
    steps = Steps(2)
    with (
        serving(lab, steps) as server,
        httpx.Client(timeout=SECONDS) as client,
        client.stream("POST", f"{server.url}/count") as response,
    ):
        lines = []
        for line in response.iter_lines():
            lines.append(line)
            if lines.count(": still here") == 2:
                steps.go.release()
                steps.go.release()
    comments = [n for n, line in enumerate(lines) if line == ": still here"]
    assert len(comments) >= 2
    assert all(lines[n + 1] != "" for n in comments)
    assert data("\n".join(lines)) == [0, 1]


def test_a_client_that_takes_nothing_is_cut_and_others_go_on(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events_module, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(events_module, "SEND_SECONDS", 0.2)
    closed = threading.Event()
    stop = threading.Event()

    @lab.ml_stream("/flood")
    def flood() -> Iterator[str]:
        try:
            while not stop.wait(0.0001):
                yield "x" * 100_000
        finally:
            closed.set()

    steps = Steps(2)
    with caplog.at_level(logging.WARNING, "conduit_lab"), serving(lab, steps) as server:
        with (
            httpx.Client(timeout=SECONDS) as client,
            connect_sse(client, "GET", f"{server.url}/count") as source,
            socket.create_connection((server.host, server.port)) as slow,
        ):
            events = source.iter_sse()
            assert next(events).data == "0"
            slow.sendall(b"GET /flood HTTP/1.1\r\nhost: x\r\n\r\n")
            assert closed.wait(
                SECONDS
            )  # the generation has ended though its client is still connected
            slow.settimeout(SECONDS)
            with pytest.raises(ConnectionError):
                while slow.recv(2**20):
                    pass
                raise ConnectionResetError  # an end instead of a reset is fine too
            steps.go.release()
            assert next(events).data == "1"
            steps.go.release()
        until(lambda: not lab._streams)
        until(lambda: not server._uvicorn.server_state.connections)
    stop.set()
    assert "took nothing" in caplog.text
    assert "ASGI callable returned" not in caplog.text


def test_many_clients_that_leave_at_once_leave_nothing(lab: Lab) -> None:
    clients = 100
    go = threading.Event()

    @lab.ml_stream("/wait")
    def wait() -> Iterator[int]:
        yield 0
        go.wait(SECONDS)

    with lab.serve(port=0) as server:
        connections = [socket.create_connection((server.host, server.port)) for _ in range(clients)]
        for connection in connections:
            connection.sendall(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        for connection in connections:
            connection.settimeout(SECONDS)
            assert b"200" in connection.recv(1000)
        streams = list(lab._streams)
        assert len(streams) == clients
        for connection in connections:
            connection.close()
        until(lambda: not lab._streams)
        assert {stream.state for stream in streams} == {"cancelled"}
        go.set()


# Chunks that are more than text


def test_images_arrays_bytes_and_rows_have_a_form(app: App, asking: Ask) -> None:
    import base64

    import numpy as np
    import pandas as pd

    from conduit_lab.core.streams.media import png

    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    frame = pd.DataFrame({"city": ["Bern", None], "count": [1, 2]})

    @app.ml_stream("/mixed")
    def mixed() -> Iterator[Any]:
        yield picture
        yield {"step": 1, "image": png(picture)}
        yield np.array([1.5, float("nan")])
        yield b"\x00\x01"
        yield frame
        yield from frame.itertuples()

    image = {"type": "image/png", "base64": base64.b64encode(png(picture)).decode()}
    rows: list[dict[str, Any]] = [{"city": "Bern", "count": 1}, {"city": None, "count": 2}]
    assert data(asking(app).post("/mixed").text) == [
        image,
        {"step": 1, "image": image},
        [1.5, None],
        {"type": "application/octet-stream", "base64": "AAE="},
        rows,
        *({"Index": n, **row} for n, row in enumerate(rows)),
    ]


def test_a_heavy_chunk_is_encoded_whole(app: App, asking: Ask) -> None:
    import numpy as np

    app.ml_stream("/heavy")(lambda: iter([np.arange(100_000), "after"]))
    assert data(asking(app).post("/heavy").text) == [list(range(100_000)), "after"]


def test_a_frame_is_sent_row_by_row(app: App, asking: Ask) -> None:
    import pandas as pd

    app.ml_stream("/frame")(lambda: pd.DataFrame({"a": [1, 2]}))
    assert data(asking(app).post("/frame").text) == [{"a": 1}, {"a": 2}]


def test_a_long_log_arrives_whole_and_in_order(app: App, asking: Ask) -> None:
    app.ml_stream("/long")(lambda: iter(range(3 * events_module._BATCH + 1)))
    assert data(asking(app).post("/long").text) == list(range(3 * events_module._BATCH + 1))


def test_a_client_that_falls_out_of_the_log_is_told_and_goes_on(app: App, asking: Ask) -> None:
    def lagging() -> Stream[str]:
        stream = Stream((str(n).zfill(1000) for n in range(100)), keep=20_000)
        reader = stream.reader(0)
        stream.wait(SECONDS)
        stream.reader = lambda start=None: reader  # type: ignore[method-assign]
        return stream

    app.ml_stream("/lagging")(lagging)
    answer = asking(app).post("/lagging").text
    lagged, *rest = data(answer)
    assert lagged["missed"] == lagged["resume_at"] == int(rest[0])
    assert answer.count("event: lagged") == 1
    assert int(rest[-1]) == 99
