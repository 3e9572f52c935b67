"""SessionTwin: a forked copy of the session that makes calls without affecting the session."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from conduit_lab.export.state.anatomy import class_name
from conduit_lab.runtime.sessions.cache import sessions
from conduit_lab.serving.recorded import Example

MAX_ANSWER_SECONDS = 30.0  # per call, besides a multiple of its recorded duration

# a forked copy reopens its inference sessions, and shares the processor with the export
_SLOWNESS = 20
_HOST_DEVICES = ("cpu", "numpy")
# their threads hold locks that a child would wait for forever
_NOT_FORKED = ("jax", "polars", "tensorflow")


class TwinLost(Exception):
    """The copy exited, or did not answer in time."""


class CallFailed(Exception):
    """A call raised an error in the copy; the message has its type and text."""


class SessionTwin:
    """A forked process that runs `answer` for one example at a time.

    Side effects stay in the copy. It produces no output, does not use the kernel's sockets, and
    exits without running exit handlers.
    """

    def __init__(self, answer: Callable[[Example], Any]) -> None:
        here, there = Pipe()
        state = random.getstate()  # Python reseeds its generator in a forked process
        with warnings.catch_warnings():
            # Python 3.12 warns about locks held by other threads: a copy that hangs is replaced
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process = os.fork()
        if not self._process:
            here.close()
            random.setstate(state)
            _live(answer, there)
        there.close()
        self._pipe = here

    def answer(self, example: Example) -> Any:
        """Return the JSON answer of one call; raise `TwinLost` or `CallFailed`."""
        try:
            self._pipe.send_bytes(example.to_json().encode())
            if not self._pipe.poll(MAX_ANSWER_SECONDS + _SLOWNESS * example.seconds):
                raise TwinLost("it did not answer in time")
            reply = json.loads(self._pipe.recv_bytes())
        except (OSError, EOFError) as error:
            raise TwinLost("it ended") from error
        if "error" in reply:
            raise CallFailed(reply["error"])
        return reply["answer"]

    def close(self) -> None:
        """Stop the copy; idempotent."""
        if self._process:
            self._pipe.close()
            with suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._process, 0)
            self._process = 0


def why_not_forked() -> str:
    """Explain why this process cannot be forked; "" if it can."""
    # Apple's frameworks abort in a forked child
    if not hasattr(os, "fork") or sys.platform == "darwin":
        return "this system cannot fork a process"
    held = sorted({each.device for each in sessions if each.loaded} - {*_HOST_DEVICES})
    if held:
        return f"a model holds {', '.join(held)}, which a forked process cannot use"
    loaded = [name for name in _NOT_FORKED if name in sys.modules]
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        loaded.append("torch on CUDA")
    return f"{' and '.join(loaded)} cannot be used in a forked process" if loaded else ""


def _live(answer: Callable[[Example], Any], pipe: Connection) -> NoReturn:
    """Answer until the pipe is closed; never return into the session's code."""
    try:
        gc.disable()  # no finalizers of the session's objects
        with suppress(ValueError):
            # a kernel interrupts its whole process group
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _be_silent()
        while True:
            pipe.send_bytes(json.dumps(_reply(answer, pipe.recv_bytes())).encode())
    finally:
        os._exit(0)


def _reply(answer: Callable[[Example], Any], line: bytes) -> dict[str, Any]:
    try:
        return {"answer": answer(Example.from_json(line.decode()))}
    except BaseException as error:  # including SystemExit, which a function may raise
        return {"error": f"{class_name(type(error))}: {error}"}


def _be_silent() -> None:
    """Discard printed text: in a notebook, `sys.stdout` writes to the kernel's socket."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    sys.stdout = sys.stderr = open(nowhere, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
