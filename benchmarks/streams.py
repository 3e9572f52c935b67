"""Streams in process and over HTTP, against a bare queue and sse-starlette's plain use.

Each server runs in a process of its own, so that its CPU time and memory are its own; a chunk over
HTTP is a small dict. Figures that have a limit instead of a peer name it. Without sse-starlette its
rows are left out.

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
from time import perf_counter, sleep
from typing import Any

import psutil
from measure import ROUNDS, Row, compared, in_turn, print_table

from conduit_lab import App, Stream
from conduit_lab.core.views.figures import rate, seconds, size

CHUNK = {"chunk": "token ", "complete": False}
STREAMS, CHUNKS, PACE = 64, 250, 0.004  # at a time, chunks of each, seconds between two
CLIENTS = 1000


def rows() -> Iterator[Row]:
    """Yield the table's rows."""
    yield throughput()
    yield hand_over()
    yield memory()
    with (
        server("ours") as ours,
        server("peer") if find_spec("sse_starlette") else nothing() as peer,
    ):
        if peer is not None:
            yield per_chunk(ours, peer, "paced", f"one each {seconds(PACE)}")
            yield per_chunk(ours, peer, "flat", "as fast as they come")
        yield first_byte(ours)
    with server("ours") as ours:
        yield from idle(ours)


def throughput(count: int = 200_000) -> Row:
    """One reader takes a stream's chunks, against a bare queue between two threads."""

    def chunks() -> Iterator[str]:
        for _ in range(count):
            yield "token"

    def stream() -> float:
        begin = perf_counter()
        got = sum(1 for _ in Stream(chunks(), keep=2**30))
        assert got == count
        return count / (perf_counter() - begin)

    def bare() -> float:
        handed: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        def produce() -> None:
            for chunk in chunks():
                handed.put(chunk)
            handed.put(None)

        begin = perf_counter()
        thread = threading.Thread(target=produce)
        thread.start()
        while handed.get() is not None:
            pass
        thread.join()
        return count / (perf_counter() - begin)

    a, b, ratio = in_turn(stream, bare)
    return (
        "chunks through a Stream, one reader",
        rate(a, "chunks"),
        rate(b, "chunks"),
        ratio,
        "queue.SimpleQueue",
    )


def hand_over(count: int = 200) -> Row:
    """How long a lone chunk needs to a reader that waits, against a bare queue."""

    def times() -> Iterator[float]:
        for _ in range(count):
            sleep(0.001)
            yield perf_counter()

    def stream() -> float:
        return statistics.median(perf_counter() - made for made in Stream(times()))

    def bare() -> float:
        handed: queue.SimpleQueue[float] = queue.SimpleQueue()

        def produce() -> None:
            for made in times():
                handed.put(made)

        thread = threading.Thread(target=produce)
        thread.start()
        waits = []
        for _ in range(count):
            made = handed.get()
            waits.append(perf_counter() - made)
        thread.join()
        return statistics.median(waits)

    a, b, ratio = in_turn(stream, bare)
    return (
        "a lone chunk reaches a waiting reader",
        seconds(a),
        seconds(b),
        ratio,
        "queue.SimpleQueue",
    )


def memory(count: int = 1000) -> Row:
    """What a stream of one chunk holds once it has ended."""

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
        """Return the seconds of CPU time that it has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def server(which: str) -> Iterator[Address]:
    """Run one of the servers below in a process of its own."""
    command = [sys.executable, str(Path(__file__)), which]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Address(int(process.stdout.readline()), psutil.Process(process.pid))
        finally:
            process.terminate()


@contextmanager
def nothing() -> Iterator[None]:
    """Stand in for a server that cannot run."""
    yield None


def per_chunk(ours: Address, peer: Address, kind: str, words: str) -> Row:
    """CPU time of the server for each chunk of many streams that run at the same time."""

    def measured(address: Address) -> float:
        begin = address.cpu()
        got = asyncio.run(read_all(address.port, kind))
        assert got == STREAMS * CHUNKS, got
        return (address.cpu() - begin) / got

    a, b, ratio = in_turn(lambda: measured(ours), lambda: measured(peer), 5)
    return (
        f"CPU a chunk over HTTP, {STREAMS} streams, {words}",
        seconds(a),
        seconds(b),
        ratio,
        "sse-starlette, plain",
    )


async def read_all(port: int, path: str) -> int:
    """Read `STREAMS` streams to their ends and return how many chunks came."""

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        got = (await reader.read(-1)).count(b"data: ")
        writer.close()
        return got

    return sum(await asyncio.gather(*(one() for _ in range(STREAMS))))


def first_byte(ours: Address, calls: int = 200) -> Row:
    """Time to the first event of a stream, and to a plain response of the same app, on one connection."""

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
    """Memory of a stream that waits; what is left when all clients have gone."""

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
    yield f"streams left 0.5 s after {CLIENTS} clients left", str(left), "0", "–", "the limit"


# The servers


async def paced() -> AsyncIterator[dict[str, Any]]:
    """Chunks that come one by one, as tokens do."""
    for _ in range(CHUNKS):
        await asyncio.sleep(PACE)
        yield CHUNK


async def flat() -> AsyncIterator[dict[str, Any]]:
    """Chunks that are there at once."""
    for _ in range(CHUNKS):
        await asyncio.sleep(0)
        yield CHUNK


async def one() -> AsyncIterator[dict[str, Any]]:
    """A single chunk."""
    yield CHUNK


async def waiting() -> AsyncIterator[dict[str, Any]]:
    """One chunk, and then nothing."""
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
    """Return the same endpoints as sse-starlette's README writes them."""
    from sse_starlette.sse import EventSourceResponse  # type: ignore[import-not-found]
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
