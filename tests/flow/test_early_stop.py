"""A call that fails or is late ends the generations that it began before their next token."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit_lab.core.errors import DeadlineExceeded
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.flow import deadline, workers
from conduit_lab.flow.deadline import acall_within, call_within
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.parallel import Parallel
from conduit_lab.models.generation.generation_request import GenerationRequest
from conduit_lab.models.generation.generator import Generator
from tests.flow.test_deadline import until
from tests.flow.test_parallel import on_threads

WRITER = Path(__file__).parents[2] / "data" / "models" / "writer"
SECONDS = 20.0
TOKENS = 3  # before a generation waits in its decode step


class Watched:
    """A generator whose decode steps wait, after the first few, until the test opens the gate."""

    def __init__(self, gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
        self.generator = Generator(WRITER, device="cpu", name="writer").open()
        self.requests: list[GenerationRequest] = []
        self.decoding = threading.Event()
        self.steps = 0
        parts = self.generator._parts()
        step, submit = parts.decoder.step, parts.scheduler.submit

        def stepping(*args: Any, **kwargs: Any) -> Any:
            self.steps += 1
            if self.steps == TOKENS:
                self.decoding.set()
                gate.wait(SECONDS)
            return step(*args, **kwargs)

        def submitting(requests: Any) -> None:
            self.requests.extend(requests)
            submit(requests)

        monkeypatch.setattr(parts.decoder, "step", stepping)
        monkeypatch.setattr(parts.scheduler, "submit", submitting)

    def fail(self, value: Any) -> Any:
        assert self.decoding.wait(SECONDS)
        raise RuntimeError("no power")

    def assert_stopped(self) -> None:
        until(lambda: not self.generator._parts().scheduler.running)
        (request,) = self.requests
        assert request.result is not None
        assert request.result.finish_reason == "cancelled"
        assert self.steps == TOKENS
        assert len(request.result.tokens) <= TOKENS + 1


@pytest.fixture
def watched(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched(gate, monkeypatch)
    yield watched
    gate.set()
    until(lambda: not workers._busy)
    watched.generator.unload()


def run(stage: Stage) -> Any:
    return stage("Kettle")


def arun(stage: Stage) -> Any:
    async def main() -> Any:
        return await stage.acall("Kettle")

    return asyncio.run(main())


def generate(generator: Generator) -> Any:
    return generator


def generate_in_a_function(generator: Generator) -> Any:
    return lambda value: generator.generate(value, max_tokens=500)


def read_a_stream(generator: Generator) -> Any:
    return lambda value: generator.stream(value).result()


def start_a_stream(generator: Generator) -> Any:
    return generator.stream


@pytest.mark.parametrize("call", [run, arun])
@pytest.mark.parametrize(
    "member", [generate, read_a_stream, generate_in_a_function, start_a_stream]
)
def test_the_first_failure_of_a_parallel_stops_decoding(
    watched: Watched,
    gate: threading.Event,
    call: Callable[..., Any],
    member: Callable[..., Any],
) -> None:
    stage = on_threads({"text": member(watched.generator), "shop": watched.fail})
    with pytest.raises(RuntimeError, match="no power"):
        call(stage)
    gate.set()
    watched.assert_stopped()


def test_a_cancelled_parallel_stops_decoding(watched: Watched, gate: threading.Event) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(Parallel({"text": watched.generator}).acall("Kettle"))
        while not watched.decoding.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    gate.set()
    watched.assert_stopped()


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_a_deadline_stops_decoding(watched: Watched, gate: threading.Event, kind: str) -> None:
    def generate(value: Any) -> Any:
        return watched.generator(value)

    stage: Stage = Function(generate) if kind == "thread" else watched.generator
    with pytest.raises(DeadlineExceeded):
        if kind == "thread":
            call_within(stage, "Kettle", 0.2)
        else:
            asyncio.run(acall_within(stage, "Kettle", 0.2))
    scheduler = watched.generator._parts().scheduler
    until(lambda: watched.decoding.is_set() or not (scheduler.running or scheduler.waiting))
    gate.set()
    until(lambda: not deadline._late)
    until(lambda: not watched.generator._parts().scheduler.running)
    assert watched.steps <= TOKENS


def test_a_cancelled_stream_of_a_fallback_stops_decoding(
    watched: Watched, gate: threading.Event
) -> None:
    stream = Fallback(watched.generator).stream("Kettle")
    assert watched.decoding.wait(SECONDS)
    stream.cancel()
    gate.set()
    watched.assert_stopped()


def test_the_stream_of_a_fallback_is_the_generator_s(
    watched: Watched, gate: threading.Event
) -> None:
    class Short(Stage):
        name = "short"

        def run(self, value: Any) -> Any:
            return watched.generator.generate(value, max_tokens=5)

        def stream(self, value: Any, /) -> Any:
            return watched.generator.stream(value, max_tokens=5)

    gate.set()
    expected = Short()("Kettle")
    stream = Fallback(Short()).stream("Kettle")
    assert [token.id for token in stream] == [token.id for token in expected.tokens]
    assert stream.result().usage.generated == len(expected.tokens)


def test_a_generation_inside_a_cancelled_stream_stops(
    watched: Watched, gate: threading.Event
) -> None:
    def source() -> Iterator[str]:
        yield watched.generator.generate("Kettle", max_tokens=500)

    stream = Stream(source())
    assert watched.decoding.wait(SECONDS)
    stream.cancel()
    gate.set()
    watched.assert_stopped()
