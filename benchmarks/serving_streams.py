"""Streams over HTTP: CPU time per chunk, time to first event, against sse-starlette and raw ASGI.

Each server runs in a separate process, to measure its CPU time and memory: ours as `conduit-lab
serve` runs an app, the others under uvicorn as it is. A chunk is a small dict; a token is a `Token`
of the package's generator, appended to all streams by one thread, like its scheduler. Figures with
a limit instead of a peer name it.

Run it with `.venv/bin/python benchmarks/serving_streams.py [rounds]`.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import psutil
from measure import Row, compared, print_table

from conduit_lab import App
from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.core.views.figures import seconds, size
from conduit_lab.models.generation.result import Token
from conduit_lab.serving.gate.http_protocol import BoundedHttp
from conduit_lab.serving.life import ALONE_VARIABLE

CHUNK = {"chunk": "token ", "complete": False}
STREAMS, CHUNKS = 64, 250  # concurrent streams, chunks of each
CHUNK_SECONDS = 0.004  # between two chunks of a paced stream
BUSY_CHUNKS, BUSY_SECONDS = 20, 0.0002  # of a generator that computes
CLIENTS = 1000
FIRST_EVENTS = 200  # per round
ROUNDS = 7
PEERS = {"peer": "sse-starlette, as in its README", "raw": "raw ASGI"}


def rows(rounds: int) -> Iterator[Row]:
    """Yield the table's rows."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(server(name)) for name in ("ours", *PEERS)}
        yield from per_chunk(servers, "paced", f"one each {seconds(CHUNK_SECONDS)}", rounds)
        yield from per_chunk(servers, "flat", "as fast as they come", rounds)
        yield tokens(servers, rounds)
        for name in ("ours", *PEERS):
            yield first_event(name, servers[name], rounds)
        yield first_event("ours", servers["ours"], rounds, "sync", "of a sync generator")
        yield first_event("ours", servers["ours"], rounds, "busy", "of one that computes")
    with server("ours") as ours:
        yield from idle(ours)


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


def per_chunk(servers: dict[str, Address], kind: str, words: str, rounds: int) -> Iterator[Row]:
    """Measure each server's CPU time per chunk of many concurrent streams, alternately."""
    order = [name for _ in range(rounds) for name in servers] + ["ours"]
    for name in servers:
        cpu_per_chunk(servers[name], kind)  # warm
    found = [(name, cpu_per_chunk(servers[name], kind)) for name in order]
    ours = [value for name, value in found if name == "ours"]
    around = [(before + after) / 2 for before, after in pairwise(ours)]
    for name, title in PEERS.items():
        theirs = [value for each, value in found if each == name]
        a, b, ratio = compared(list(zip(around, theirs, strict=True)))
        label = f"CPU per chunk, {STREAMS} streams, {words}"
        yield label, seconds(a), seconds(b), ratio, title


def cpu_per_chunk(address: Address, kind: str) -> float:
    """Return the server's CPU seconds per chunk."""
    begin = address.cpu()
    got = asyncio.run(read_all(address.port, kind))
    assert got == STREAMS * CHUNKS, got
    return (address.cpu() - begin) / got


def tokens(servers: dict[str, Address], rounds: int) -> Row:
    """Measure CPU time per token of many generations, against a raw ASGI chunk at the same pace."""
    pairs = [
        (cpu_per_chunk(servers["ours"], "tokens"), cpu_per_chunk(servers["raw"], "paced"))
        for _ in range(rounds)
    ]
    a, b, ratio = compared(pairs)
    label = f"CPU per token, {STREAMS} generations, one each {seconds(CHUNK_SECONDS)}"
    return label, seconds(a), seconds(b), ratio, "a chunk of raw ASGI"


async def read_all(port: int, path: str) -> int:
    """Read `STREAMS` streams to their ends and return the number of chunks."""

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET /{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode()
        )
        got = (await reader.read(-1)).count(b"data: ")
        writer.close()
        return got

    return sum(await asyncio.gather(*(one() for _ in range(STREAMS))))


def first_event(
    name: str, address: Address, rounds: int, path: str = "one", words: str = "of a stream"
) -> Row:
    """Measure the time to the first event and to a plain answer of the same app."""

    async def measured() -> tuple[list[float], list[float]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        waits: dict[str, list[float]] = {path: [], "plain": []}
        marks = {path: (b"data: ", b"\r\n0\r\n\r\n"), "plain": (b"\r\n\r\n", b"}")}
        for _ in range(FIRST_EVENTS):
            for asked, (mark, end) in marks.items():
                begin = perf_counter()
                writer.write(f"GET /{asked} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
                await reader.readuntil(mark)
                waits[asked].append(perf_counter() - begin)
                await reader.readuntil(end)
        writer.close()
        return waits[path], waits["plain"]

    pairs = [tuple(map(statistics.median, asyncio.run(measured()))) for _ in range(rounds)]
    more = statistics.median(one - plain for one, plain in pairs)
    a, b, ratio = compared([(one, plain) for one, plain in pairs])
    title = PEERS.get(name, "ours")
    label = f"first event {words}, {title}: {seconds(more)} more"
    return label, seconds(a), seconds(b), ratio, "a plain answer of the same app"


def idle(ours: Address) -> Iterator[Row]:
    """Measure the memory of an idle stream, and the streams left after all clients disconnected."""

    async def measured() -> tuple[float, int]:
        await asyncio.sleep(0.5)
        before = ours.process.memory_info().rss
        connections = [
            await asyncio.open_connection("127.0.0.1", ours.port) for _ in range(CLIENTS)
        ]
        for _, writer in connections:
            writer.write(b"GET /idle HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        for reader, _ in connections:
            await reader.readuntil(b"data: ")
        each = (ours.process.memory_info().rss - before) / CLIENTS
        for _, writer in connections:
            writer.transport.abort()
        await asyncio.sleep(0.5)
        reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
        writer.write(b"GET /left HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        left = json.loads((await reader.read(-1)).rpartition(b"\r\n\r\n")[2])
        writer.close()
        return each, left

    each, left = asyncio.run(measured())
    limit = 40 * 1024
    ratio = f"{each / limit:.2f}"
    yield (
        f"memory of an idle stream, {CLIENTS} open",
        *(size(each), size(limit), ratio, "the limit"),
    )
    title = f"streams left 0.5 s after {CLIENTS} clients disconnected"
    yield title, str(left), "0", "–", "the limit"


# The servers


async def paced() -> AsyncIterator[dict[str, Any]]:
    """Yield chunks one by one, like a text generator."""
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


def sync() -> Iterator[dict[str, Any]]:
    """Yield a single chunk, on a thread."""
    yield CHUNK


def busy() -> Iterator[dict[str, Any]]:
    """Yield chunks on a thread that holds the GIL between them."""
    for _ in range(BUSY_CHUNKS):
        ends = perf_counter() + BUSY_SECONDS
        while perf_counter() < ends:
            pass
        yield CHUNK


async def waiting() -> AsyncIterator[dict[str, Any]]:
    """Yield one chunk, then wait."""
    yield CHUNK
    await asyncio.sleep(3600)


_GENERATORS = (("/paced", paced), ("/flat", flat), ("/one", one))


class Scheduler:
    """One thread that appends a token to every running stream, each `CHUNK_SECONDS`."""

    def __init__(self) -> None:
        self._running: list[PushedStream[Token]] = []
        threading.Thread(target=self._run, daemon=True).start()

    def stream(self) -> PushedStream[Token]:
        """Return a new stream of `CHUNKS` tokens."""
        stream: PushedStream[Token] = PushedStream()
        self._running.append(stream)
        return stream

    def _run(self) -> None:
        while True:
            sleep(CHUNK_SECONDS)
            for stream in list(self._running):
                stream.append(Token("token "))
                if stream.count == CHUNKS:
                    stream.finish()
                    self._running.remove(stream)


def ours() -> Any:
    """Return our app."""
    app = App("streams")
    for path, function in (*_GENERATORS, ("/idle", waiting), ("/sync", sync), ("/busy", busy)):
        app.ml_stream(path)(function)
    scheduler = Scheduler()
    app.ml_stream("/tokens")(scheduler.stream)

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
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    def endpoint(function: Callable[[], AsyncIterator[Any]]) -> Any:
        async def events() -> AsyncIterator[dict[str, str]]:
            async for chunk in function():
                yield {"data": json.dumps(chunk)}

        async def answer(request: Request) -> Any:
            return EventSourceResponse(events(), sep="\n")

        return answer

    async def plain(request: Request) -> JSONResponse:
        return JSONResponse(CHUNK)

    routes = [Route(path, endpoint(function)) for path, function in _GENERATORS]
    return Starlette(routes=[*routes, Route("/plain", plain)])


def raw() -> Any:
    """Return the same endpoints as one ASGI function that only encodes and sends chunks."""
    generators: dict[str, Callable[[], AsyncIterator[Any]]] = dict(_GENERATORS)
    kind = [(b"content-type", b"text/event-stream")]

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        function = generators.get(scope["path"])
        if function is None:
            await send({"type": "http.response.body", "body": json.dumps(CHUNK).encode()})
            return
        async for chunk in function():
            body = b"data: %b\n\n" % json.dumps(chunk).encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return answer


def serve(app: Any, http: Any = "auto") -> None:
    """Serve an app with a protocol class and print its port."""
    import socket

    import uvicorn

    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(app, http=http, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 8192), limit))
    asked = sys.argv[1] if len(sys.argv) > 1 else str(ROUNDS)
    if asked.isdigit():
        print_table(rows(int(asked)))
    else:
        served = {"ours": ours, "peer": peer, "raw": raw}[asked]()
        if asked == "ours":  # as `conduit-lab serve` does
            os.environ[ALONE_VARIABLE] = "1"
            serve(served, BoundedHttp)
        else:
            serve(served)
