"""Responsiveness during sixteen generations: the event loop's lag and a trivial endpoint's latency.

Run it with `.venv/bin/python benchmarks/responsiveness.py FOLDER`, with a decoder folder as for
`generation.py`. Another process reads the streams over HTTP as server-sent events, so the measured
loop also serves them.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from measure import Row, print_table

from conduit_lab import App
from conduit_lab.core.views.figures import seconds
from conduit_lab.models.generation.generator import Generator
from conduit_lab.serving.run.thread import Server

STREAMS = 16
SECONDS = 15.0

# reads the streams repeatedly while calling the trivial endpoint; prints its latencies
CLIENT = """
import asyncio, sys, time, httpx
url, streams, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
end = time.perf_counter() + seconds

async def read(client, number):
    while time.perf_counter() < end:
        body = {"prompt": f"def function_{number}(self):", "max_tokens": 128}
        async with client.stream("POST", "/write", json=body) as answer:
            async for _ in answer.aiter_lines():
                pass

async def ask(client):
    await asyncio.sleep(2)
    while time.perf_counter() < end:
        begin = time.perf_counter()
        (await client.get("/one")).raise_for_status()
        print(time.perf_counter() - begin)
        await asyncio.sleep(0.02)

async def main():
    limits = httpx.Limits(max_connections=streams + 4)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        await asyncio.gather(*(read(client, i) for i in range(streams)), ask(client))

asyncio.run(main())
"""


def rows(folder: Path) -> Iterator[Row]:
    """Yield the table's rows."""
    app = App("bench", root=folder.parent)
    writer = Generator(folder)

    @app.get("/one")
    async def one() -> int:
        return 1

    @app.ml_stream("/write")
    def write(prompt: str, max_tokens: int) -> Any:
        return writer.stream(prompt, max_tokens=max_tokens)

    gaps: list[float] = []
    writer.open()
    with Server(app, port=0) as server:
        stop = threading.Event()
        asked = asyncio.run_coroutine_threadsafe(_gaps(gaps, stop), _loop(server))
        command = [sys.executable, "-c", CLIENT, server.url, str(STREAMS), str(SECONDS)]
        answers = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        stop.set()
        asked.result()
    writer.unload()
    took = np.array([float(line) for line in answers.split()])
    late = np.array(gaps)
    name = f"{folder.name}, {STREAMS} streams"
    for what, values, at, limit in (
        ("the event loop's lag", late, 99.9, "≤ 10 ms"),
        ("a trivial endpoint's latency", took, 99, "≤ 50 ms"),
    ):
        most = seconds(float(np.percentile(values, at)))
        yield (
            f"{name}: {what}, p{at:g} of {len(values)}",
            most,
            limit,
            f"p50 {seconds(float(np.median(values)))}",
            "",
        )


def _loop(server: Server) -> asyncio.AbstractEventLoop:
    """Return the event loop of the server."""
    found: list[asyncio.AbstractEventLoop] = []
    import httpx

    @server.app.get("/loop")
    async def loop() -> int:
        found.append(asyncio.get_running_loop())
        return 1

    httpx.get(f"{server.url}/loop").raise_for_status()
    return found[0]


async def _gaps(gaps: list[float], stop: threading.Event) -> None:
    """Every millisecond, record how late the loop resumes this task."""
    await asyncio.sleep(2)
    while not stop.is_set():
        begin = perf_counter()
        await asyncio.sleep(1e-3)
        gaps.append(perf_counter() - begin - 1e-3)


if __name__ == "__main__":
    print_table(rows(Path(sys.argv[1])))
