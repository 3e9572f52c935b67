"""A generator and its process: exit, fork, eviction and garbage collection."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from time import perf_counter

import pytest

from conduit_lab.models.generation.generator import Generator
from tests.models.generation.writers import DECODERS, golden

EXIT = """
from pathlib import Path
from conduit_lab.models.generation.generator import Generator
writers = [Generator(Path({folder!r}), device="cpu", context=256) for _ in range(4)]
streams = [writer.stream("Kettle", max_tokens=250) for writer in writers]
next(iter(streams[0]))
print("made")
"""


def test_process_exits_while_sequences_are_running() -> None:
    script = EXIT.format(folder=str(DECODERS / "llama"))
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, timeout=60, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "made\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_generates_with_its_own_session() -> None:
    writer = Generator(DECODERS / "llama", device="cpu")
    stream = writer.stream("Kettle", max_tokens=250)
    next(iter(stream))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            text = golden("llama")[0]
            code = (
                0
                if [token.id for token in writer.generate(text.prompt).tokens] == text.tokens
                else 2
            )
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    stream.cancel()
    writer.unload()


def test_session_is_opened_again_after_an_eviction() -> None:
    writer = Generator(DECODERS / "llama", device="cpu").open()
    text = golden("llama")[0]
    assert [token.id for token in writer.generate(text.prompt).tokens] == text.tokens
    opened = writer._parts()
    opened.scheduler.stop()
    writer.shared.close()
    assert not writer.loaded
    assert [token.id for token in writer.generate(text.prompt).tokens] == text.tokens
    writer.unload()


def test_unloaded_generator_is_garbage_collected() -> None:
    writer = Generator(DECODERS / "qwen2", device="cpu")
    writer.generate("Kettle", max_tokens=4)
    decoder = weakref.ref(writer._parts().decoder)
    writer.unload()
    del writer
    gc.collect()
    assert decoder() is None


def test_event_loop_is_not_blocked() -> None:
    writer = Generator(DECODERS / "qwen2", device="cpu").open()
    gaps: list[float] = []

    async def watch() -> None:
        before = perf_counter()
        while True:
            await asyncio.sleep(0)
            now = perf_counter()
            gaps.append(now - before)
            before = now

    async def main() -> Sequence[str]:
        watching = asyncio.create_task(watch())
        texts = await asyncio.gather(*(writer.acall(text.prompt) for text in golden("qwen2") * 4))
        watching.cancel()
        return texts

    assert len(asyncio.run(main())) == 16
    assert len(gaps) > 20  # the loop iterated many times meanwhile
    writer.unload()
