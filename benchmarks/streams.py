"""In-process streams compared with a bare queue; `serving_streams.py` measures them over HTTP.

Figures compared with a limit instead of a peer name the limit.

Run it with `.venv/bin/python benchmarks/streams.py`.
"""

from __future__ import annotations

import gc
import queue
import statistics
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from time import perf_counter, process_time, sleep
from typing import Any

from measure import Row, in_turn, print_table

from conduit_lab import Stream
from conduit_lab.core.views.figures import rate, seconds, size

PASSED = 200_000  # chunks through one in-process stream
FORMS = ("dicts", "integers", "one constant string")


def rows() -> Iterator[Row]:
    """Yield the table's rows."""
    for form in FORMS:
        yield throughput(form)
        yield cpu_time(form)
    yield hand_over()
    yield memory()


def throughput(form: str) -> Row:
    """Iterate over a stream's chunks with one reader, compared with a queue between two threads."""
    a, b, ratio = in_turn(
        lambda: PASSED / timed(perf_counter, through_stream, form),
        lambda: PASSED / timed(perf_counter, through_queue, form),
    )
    name = f"chunks through a Stream, one reader, {form}"
    return name, rate(a, "chunks"), rate(b, "chunks"), ratio, "queue.SimpleQueue"


def cpu_time(form: str) -> Row:
    """Measure the same in CPU time, which is less sensitive to other work on the machine."""
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
    """Yield `PASSED` chunks, each created on demand."""
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
    """Return the number of chunks received by a loop over a stream."""
    return sum(1 for _ in Stream(chunks(form), keep=2**30))


def through_queue(form: str) -> int:
    """Return the number of chunks that another thread receives from a queue."""
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
    """Measure the time until a chunk reaches a waiting reader, compared with a bare queue."""

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
    """Measure the memory of an ended stream of one chunk."""

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


if __name__ == "__main__":
    print_table(rows())
