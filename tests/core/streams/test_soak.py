"""A hundred thousand streams leave no thread, descriptor or memory behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from conduit_lab.core.streams.stream import Stream

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not Path("/proc/self/fd").is_dir(), reason="counts descriptors and memory in /proc"
    ),
]

ROUNDS = 10
EACH = 10_000


def three() -> Iterator[int]:
    yield from range(3)


async def three_async() -> AsyncIterator[int]:
    for number in range(3):
        yield number


def opened_and_closed(number: int) -> None:
    """Read one to its end, leave one in the middle, cancel one, drop one."""
    stream = Stream(three() if number % 2 else three_async(), name=f"soak {number}")
    match number % 4:
        case 0:
            assert list(stream) == [0, 1, 2]
        case 1:
            next(iter(stream))
            stream.cancel()
        case 2:
            stream.cancel()
        case _:
            stream.result()
            assert stream.state == "done"


def held() -> tuple[int, int, int]:
    """Return threads, descriptors and bytes of private memory."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    memory = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), memory


def test_a_hundred_thousand_streams_leave_threads_descriptors_and_memory_flat() -> None:
    for number in range(EACH):
        opened_and_closed(number)
    begin = held()
    for number in range(ROUNDS * EACH):
        opened_and_closed(number)
    end = held()
    assert end[0] <= begin[0] + 2
    assert end[1] <= begin[1] + 2
    assert end[2] <= begin[2] + 20 * 2**20  # 200 bytes a stream would be as much
