"""Clients that reconnect to a stream get the next chunks, or the reason why not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import sleep

import httpx
import pytest
from httpx_sse import connect_sse

from conduit_lab import App, Lab
from conduit_lab.core.errors import EndpointError
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.faces import resume
from tests.serving.conftest import SECONDS, Ask, until
from tests.serving.faces.counting import Steps, read, serving


def test_each_event_has_the_id_of_its_stream_and_its_number(app: App, asking: Ask) -> None:
    app.ml_stream("/count")(lambda: iter("abc"))
    answer = asking(app).post("/count")
    ids = [line.removeprefix("id: ") for line in answer.text.split("\n") if line.startswith("id: ")]
    (stream_id,) = {each.partition(":")[0] for each in ids}
    assert ids == [f"{stream_id}:{n}" for n in range(3)]
    # whoever knows it may read the stream: it is long, and no log has it
    assert len(stream_id) >= 22
    assert stream_id != answer.headers["x-request-id"]


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
    monkeypatch.setattr(resume, "MAX_ABANDONED", 2)
    held = resume.Resumes(SECONDS)
    streams = [Stream(iter([n])) for n in range(4)]
    for number, stream in enumerate(streams):
        stream.wait(SECONDS)
        held.hold(str(number), stream)
        held.leave(str(number), stream.reader())
    assert held.streams == streams[2:]


def test_a_client_that_came_back_makes_its_stream_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resume, "MAX_ABANDONED", 1)
    held = resume.Resumes(SECONDS)
    streams = {name: Stream(iter([1, 2])) for name in "ab"}
    for name, stream in streams.items():
        stream.wait(SECONDS)
        held.hold(name, stream)
    held.leave("a", streams["a"].reader())
    assert held.find("a:0") == ("a", streams["a"], 1)
    held.leave("b", streams["b"].reader())  # now the only one without a client
    assert held.streams == [*streams.values()]


def test_chunks_are_kept_for_a_client_until_it_comes_back() -> None:
    held = resume.Resumes(SECONDS)
    stream = Stream(iter([1, 2]))
    held.hold("a", stream)
    held.leave("a", stream.hold())
    assert stream._pressure.held
    held.arrive("a")
    assert not stream._pressure.held


def test_a_stream_with_another_client_is_not_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "MAX_ABANDONED", 0)
    held = resume.Resumes(SECONDS)
    stream = Stream(iter([1, 2]))
    held.hold("a", stream)
    one, other = stream.hold(), stream.hold()
    held.leave("a", one)
    assert held.streams == [stream]
    held.leave("a", other)
    assert held.streams == []


def test_a_dropped_stream_that_others_read_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "MAX_ABANDONED", 1)
    held = resume.Resumes(SECONDS)
    steps = Steps(2)
    stream, other = Stream(steps()), Stream(iter([1]))
    held.hold("a", stream)
    held.hold("b", other)
    held.leave("a", stream.hold())
    reader = stream.reader(0)
    held.leave("b", other.hold())
    assert held.streams == [other]
    steps.go.release()
    steps.go.release()
    assert list(reader) == [0, 1]


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_a_window_that_is_no_time_is_refused(app: App, wrong: float) -> None:
    with pytest.raises(EndpointError, match="resume="):
        app.ml_stream("/count", resume=wrong)
