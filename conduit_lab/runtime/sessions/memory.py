"""Memory: the bytes this process may use, and the limit of onnxruntime's arena on the CPU."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from conduit_lab.runtime.hardware import devices

ARENA_MEMORY_SHARE = 0.8  # of the machine's memory, shared by all runs on the CPU
_DEFAULT_MEMORY_BYTES = 8 * 2**30  # on a system that does not report its memory


@cache
def limit_arena() -> None:
    """Register one limited CPU arena for all sessions: a graph that requests too much then fails.

    Without a limit the system overcommits memory and kills the process later.
    """
    ort = devices.onnxruntime()
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    limit = int(memory_bytes() * ARENA_MEMORY_SHARE)
    # strategy 1 grows by the size of the request; the default rounds up to a power of two
    arena = ort.OrtArenaCfg({"max_mem": limit, "arena_extend_strategy": 1})
    ort.create_and_register_allocator(memory, arena)


def memory_bytes() -> int:
    """Return the memory this process may use, in bytes: the machine's or the container's limit."""
    if hasattr(os, "sysconf"):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    else:
        total = _DEFAULT_MEMORY_BYTES
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(total, int(limit.read_text()))
    except (OSError, ValueError):  # no cgroup, or "max"
        return total
