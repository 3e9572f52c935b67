"""A process with running streams: how it exits, is interrupted, forks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PRELUDE = """
import asyncio, os, signal, sys, threading, time
from conduit_lab.core.streams.stream import Stream
"""


def run(code: str, folder: Path) -> tuple[int, str, str]:
    """Return (exit code, stdout, stderr) of a fresh Python with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", PRELUDE + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    return done.returncode, done.stdout, done.stderr


def test_exits_cleanly_with_a_running_sync_stream(tmp_path: Path) -> None:
    code = """
        def endless():
            while True:
                time.sleep(0.001)
                yield "x"
        stream = Stream(endless())
        next(iter(stream))
        print("end")
    """
    assert run(code, tmp_path) == (0, "end\n", "")


def test_exits_cleanly_with_a_blocked_sync_stream(tmp_path: Path) -> None:
    code = """
        def blocked():
            yield "x"
            threading.Event().wait()
        next(iter(Stream(blocked())))
        print("end")
    """
    assert run(code, tmp_path) == (0, "end\n", "")


def test_exits_cleanly_with_a_running_async_stream_whose_finally_runs(tmp_path: Path) -> None:
    code = """
        async def endless():
            try:
                while True:
                    await asyncio.sleep(0.001)
                    yield "x"
            finally:
                await asyncio.sleep(0)
                print("closed", flush=True)
        stream = Stream(endless())
        next(iter(stream))
        print("end", flush=True)
    """
    assert run(code, tmp_path) == (0, "end\nclosed\n", "")


def test_exits_cleanly_with_an_ended_async_stream(tmp_path: Path) -> None:
    code = """
        async def short():
            yield "x"
        print(Stream(short()).result(30))
    """
    assert run(code, tmp_path) == (0, "x\n", "")


def test_exits_though_an_async_generator_blocks_the_loop(tmp_path: Path) -> None:
    code = """
        async def blocking():
            yield "x"
            threading.Event().wait()
        next(iter(Stream(blocking())))
        print("end")
    """
    status, out, _ = run(code, tmp_path)
    assert (status, out) == (0, "end\n")


def test_failed_stream_without_a_reader_prints_nothing(tmp_path: Path) -> None:
    code = """
        def fail():
            raise ValueError
            yield
        async def fail_async():
            raise ValueError
            yield
        for source in fail(), fail_async():
            stream = Stream(source)
            stream.wait(30)
            print(stream.state)
    """
    assert run(code, tmp_path) == (0, "failed\nfailed\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals to oneself are POSIX")
@pytest.mark.parametrize("read", ["stream.result()", "list(stream)", "stream.wait()"])
def test_interrupt_of_a_blocking_read_cancels_the_stream(tmp_path: Path, read: str) -> None:
    code = f"""
        async def endless():
            try:
                yield "x"
                await asyncio.sleep(60)
            finally:
                closed.set()
        closed = threading.Event()
        stream = Stream(endless())
        next(iter(stream))
        main = threading.main_thread().ident
        threading.Timer(0.05, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
        try:
            {read}
        except KeyboardInterrupt:
            print(stream.state, closed.wait(30))
    """
    assert run(code, tmp_path) == (0, "cancelled True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_streams_on_a_loop_of_its_own_and_exits(tmp_path: Path) -> None:
    code = """
        import warnings
        async def short():
            yield "x"
        Stream(short()).result(30)
        warnings.simplefilter("ignore")  # Python 3.12 warns of a fork beside threads
        child = os.fork()
        if child == 0:
            print(Stream(short()).result(30), flush=True)
            sys.exit(0)
        print(os.waitpid(child, 0)[1], Stream(short()).result(30))
    """
    assert run(code, tmp_path) == (0, "x\n0 x\n", "")
