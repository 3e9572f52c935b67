"""Streams in process and over HTTP, against a bare queue and plain sse-starlette.

Each server runs in its own process, for its own CPU time and memory; a chunk over HTTP is a small
dict. Figures with a limit instead of a peer name it. Without sse-starlette its rows are left out.

Run it with `.venv/bin/python benchmarks/streams.py`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import queue
import resource
import statistics
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

import psutil
from measure import ROUNDS, Row, compared, in_turn, print_table

from conduit_lab import App, Stream
from conduit_lab.core.views.figures import rate, seconds, size

CHUNK = {"chunk": "token ", "complete": False}
STREAMS, CHUNKS = 64, 250  # concurrent streams, chunks of each
CHUNK_SECONDS = 0.004  # between two chunks of a paced stream
CLIENTS = 1000
PASSED = 200_000  # chunks through one stream in process
FORMS = ("dicts", "integers", "one constant string")


def rows() -> Iterator[Row]:
    """Yield the table's rows."""
    for form in FORMS:
        yield throughput(form)
        yield cpu_time(form)
    yield hand_over()
    yield memory()
    with (
        server("ours") as ours,
        server("peer") if find_spec("sse_starlette") else nothing() as peer,
    ):
        if peer is not None:
            yield per_chunk(ours, peer, "paced", f"one each {seconds(CHUNK_SECONDS)}")
            yield per_chunk(ours, peer, "flat", "as fast as they come")
        yield first_byte(ours)
    with server("ours") as ours:
        yield from idle(ours)


def throughput(form: str) -> Row:
    """One reader iterates over a stream's chunks, against a bare queue between two threads."""
    a, b, ratio = in_turn(
        lambda: PASSED / timed(perf_counter, through_stream, form),
        lambda: PASSED / timed(perf_counter, through_queue, form),
    )
    name = f"chunks through a Stream, one reader, {form}"
    return name, rate(a, "chunks"), rate(b, "chunks"), ratio, "queue.SimpleQueue"


def cpu_time(form: str) -> Row:
    """The same in CPU time, which other work on the machine disturbs less."""
    a, b, ratio = in_turn(
        lambda: timed(process_time, through_stream, form) / PASSED,
        lambda: timed(process_time, through_queue, form) / PASSED,
    )
    return "the same, CPU per chunk", seconds(a), seconds(b), ratio, "queue.SimpleQueue"


def timed(clock: Callable[[], float], run: Callable[[str], int], form: str) -> float:
    """Return the seconds of `clock` that `run` takes for all chunks."""
    begin = clock()
    assert run(form) == PASSED
    return clock() - begin


def chunks(form: str) -> Iterator[Any]:
    """Yield `PASSED` chunks, each made when it is asked for."""
    if form == "dicts":
        for number in range(PASSED):
            yield {"chunk": number, "complete": False}
    elif form == "integers":
        for number in range(PASSED):
            yield number
    else:
        for _ in range(PASSED):
            yield "token"


def through_stream(form: str) -> int:
    """Return the number of chunks that a loop over a stream gets."""
    return sum(1 for _ in Stream(chunks(form), keep=2**30))


def through_queue(form: str) -> int:
    """Return the number of chunks that another thread gets from a queue."""
    queued: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def produce() -> None:
        for chunk in chunks(form):
            queued.put(chunk)
        queued.put(None)

    thread = threading.Thread(target=produce)
    thread.start()
    count = sum(1 for _ in iter(queued.get, None))
    thread.join()
    return count


def hand_over(count: int = 200) -> Row:
    """The time until a single chunk reaches a waiting reader, against a bare queue."""

    def times() -> Iterator[float]:
        for _ in range(count):
            sleep(0.001)
            yield perf_counter()

    def stream() -> float:
        return statistics.median(perf_counter() - made for made in Stream(times()))

    def bare() -> float:
        queued: queue.SimpleQueue[float] = queue.SimpleQueue()

        def produce() -> None:
            for made in times():
                queued.put(made)

        thread = threading.Thread(target=produce)
        thread.start()
        waits = []
        for _ in range(count):
            made = queued.get()
            waits.append(perf_counter() - made)
        thread.join()
        return statistics.median(waits)

    a, b, ratio = in_turn(stream, bare)
    return (
        "a single chunk reaches a waiting reader",
        seconds(a),
        seconds(b),
        ratio,
        "queue.SimpleQueue",
    )


def memory(count: int = 1000) -> Row:
    """The memory of an ended stream of one chunk."""

    def made() -> list[Stream[str]]:
        streams = [Stream(iter(("token",))) for _ in range(count)]
        for stream in streams:
            stream.wait()
        return streams

    made()
    gc.collect()
    tracemalloc.start()
    kept = made()
    gc.collect()
    each = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    return "memory of a stream", size(each), size(5 * 1024), f"{each / 5120:.2f}", "the limit"


class Address:
    """A running server: its port, and its process."""

    def __init__(self, port: int, process: psutil.Process) -> None:
        self.port = port
        self.process = process

    def cpu(self) -> float:
        """Return its CPU seconds so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def server(which: str) -> Iterator[Address]:
    """Run one of the servers below in its own process."""
    command = [sys.executable, str(Path(__file__)), which]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Address(int(process.stdout.readline()), psutil.Process(process.pid))
        finally:
            process.terminate()


@contextmanager
def nothing() -> Iterator[None]:
    """Replace a server that cannot run."""
    yield None


def per_chunk(ours: Address, peer: Address, kind: str, words: str) -> Row:
    """CPU time of the server per chunk of many concurrent streams."""

    def measured(address: Address) -> float:
        begin = address.cpu()
        got = asyncio.run(read_all(address.port, kind))
        assert got == STREAMS * CHUNKS, got
        return (address.cpu() - begin) / got

    a, b, ratio = in_turn(lambda: measured(ours), lambda: measured(peer), 5)
    return (
        f"CPU per chunk over HTTP, {STREAMS} streams, {words}",
        seconds(a),
        seconds(b),
        ratio,
        "sse-starlette, plain",
    )


async def read_all(port: int, path: str) -> int:
    """Read `STREAMS` streams to their ends and return the number of chunks."""

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        got = (await reader.read(-1)).count(b"data: ")
        writer.close()
        return got

    return sum(await asyncio.gather(*(one() for _ in range(STREAMS))))


def first_byte(ours: Address, calls: int = 200) -> Row:
    """Time to the first event, and to a plain response of the same app, on one connection."""

    async def measured() -> tuple[list[float], list[float]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
        waits: dict[str, list[float]] = {"one": [], "plain": []}
        for _ in range(calls):
            for path, mark, end in (("one", b"data: ", b"0\r\n\r\n"), ("plain", b"\r\n\r\n", b"}")):
                begin = perf_counter()
                writer.write(f"GET /{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
                await reader.readuntil(mark)
                waits[path].append(perf_counter() - begin)
                await reader.readuntil(end)
        writer.close()
        return waits["one"], waits["plain"]

    pairs = [tuple(map(statistics.median, asyncio.run(measured()))) for _ in range(ROUNDS)]
    a, b, ratio = compared([(one, plain) for one, plain in pairs])
    return (
        f"first event of a stream ({seconds(a - b)} more)",
        seconds(a),
        seconds(b),
        ratio,
        "a plain response",
    )


def idle(ours: Address) -> Iterator[Row]:
    """Memory of an idle stream, and the streams left after all clients disconnected."""

    async def measured() -> tuple[float, int]:
        await asyncio.sleep(0.5)
        before = ours.process.memory_info().rss
        connections = [
            await asyncio.open_connection("127.0.0.1", ours.port) for _ in range(CLIENTS)
        ]
        for _, writer in connections:
            writer.write(b"GET /idle HTTP/1.1\r\nhost: x\r\n\r\n")
        for reader, _ in connections:
            await reader.readuntil(b"data: ")
        each = (ours.process.memory_info().rss - before) / CLIENTS
        for _, writer in connections:
            writer.transport.abort()
        await asyncio.sleep(0.5)
        reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
        writer.write(b"GET /left HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        left = json.loads((await reader.read(-1)).rpartition(b"\r\n\r\n")[2])
        writer.close()
        return each, left

    each, left = asyncio.run(measured())
    limit = 40 * 1024
    yield (
        f"memory of an idle stream, {CLIENTS} open",
        size(each),
        size(limit),
        f"{each / limit:.2f}",
        "the limit",
    )
    yield (
        f"streams left 0.5 s after {CLIENTS} clients disconnected",
        str(left),
        "0",
        "–",
        "the limit",
    )


# The servers


async def paced() -> AsyncIterator[dict[str, Any]]:
    """Yield chunks one by one, as a generator of text does."""
    for _ in range(CHUNKS):
        await asyncio.sleep(CHUNK_SECONDS)
        yield CHUNK


async def flat() -> AsyncIterator[dict[str, Any]]:
    """Yield chunks without a pause."""
    for _ in range(CHUNKS):
        await asyncio.sleep(0)
        yield CHUNK


async def one() -> AsyncIterator[dict[str, Any]]:
    """Yield a single chunk."""
    yield CHUNK


async def waiting() -> AsyncIterator[dict[str, Any]]:
    """Yield one chunk, then wait."""
    yield CHUNK
    await asyncio.sleep(3600)


def ours() -> Any:
    """Return our app."""
    app = App("streams")
    for path, function in (("/paced", paced), ("/flat", flat), ("/one", one), ("/idle", waiting)):
        app.ml_stream(path)(function)

    async def plain() -> dict[str, Any]:
        return CHUNK

    async def left() -> int:
        return len(app.open_streams)

    app.get("/plain")(plain)
    app.get("/left")(left)
    return app


def peer() -> Any:
    """Return the same endpoints in the form of sse-starlette's README."""
    from sse_starlette.sse import EventSourceResponse
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import Route

    def endpoint(function: Callable[[], AsyncIterator[Any]]) -> Any:
        async def events() -> AsyncIterator[dict[str, str]]:
            async for chunk in function():
                yield {"data": json.dumps(chunk)}

        async def answer(request: Request) -> Any:
            return EventSourceResponse(events())

        return answer

    return Starlette(routes=[Route("/paced", endpoint(paced)), Route("/flat", endpoint(flat))])


def serve(app: Any) -> None:
    """Serve an app and print its port."""
    import socket

    import uvicorn

    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 8192), limit))
    if len(sys.argv) > 1:
        serve({"ours": ours, "peer": peer}[sys.argv[1]]())
    else:
        print_table(rows())
