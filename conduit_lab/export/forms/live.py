"""The form of objects bound to this process: refused, with the mend."""

from __future__ import annotations

import asyncio
import io
import queue
import socket
import sqlite3
import subprocess
import threading
import types
from concurrent.futures import Executor, Future
from typing import Any

from conduit_lab.export.forms.form import Draft
from conduit_lab.export.forms.value import ObjectForm, repeat_assignment, still_gives

_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_MAX_ITERATORS = 20  # one inside another
_QUEUES = (queue.Queue, queue.SimpleQueue, asyncio.Queue)
LIVE = (
    threading.Thread,
    socket.socket,
    io.FileIO,
    io.BufferedReader,
    io.BufferedWriter,
    io.BufferedRandom,
    io.TextIOWrapper,
    sqlite3.Connection,
    sqlite3.Cursor,
    Executor,
    Future,
    asyncio.Future,
    subprocess.Popen,
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    *_LOCKS,
    *_QUEUES,
)


class ProcessBoundForm(ObjectForm):
    """A thread, a file, a connection or a generator belongs to its process.

    A free lock or an empty queue equals a new one, so the session's statement recreates it.
    """

    def expression(self, value: Any, draft: Draft) -> str:
        """Raise `NoForm` for a free lock or an empty queue; refuse anything else."""
        problem = f"{draft.name} holds a live {type(value).__name__}, which has no file form"
        if _is_like_new(value):
            raise draft.no_form(problem, draft.resource_mend)
        raise draft.refusal(problem, draft.resource_mend)

    def statement(self, value: Any, draft: Draft) -> str:
        """Repeat the statement of a free lock or an empty queue; refuse anything else."""
        own = draft.own
        if _is_like_new(value) or (own is not None and still_gives(own, value, draft)):
            return repeat_assignment(value, draft)
        kind = type(value).__name__
        raise draft.refusal(
            f"{draft.name} is a live {kind}, which has no file form", draft.resource_mend
        )


def is_opaque_iterator(value: Any) -> bool:
    """Return whether an iterator of a library hides its position, also from `copy`.

    It may have been advanced: `header = next(reader)`.
    """
    pending, seen = [value], 0
    while pending and seen < _MAX_ITERATORS:
        each, seen = pending.pop(), seen + 1
        if isinstance(each, types.GeneratorType):
            return True
        if isinstance(each, types.BuiltinMethodType):  # of `re.finditer`
            each = each.__self__
        elif type(_next_of(type(each))) is not types.WrapperDescriptorType:
            continue
        try:
            made = each.__reduce_ex__(4)
        except TypeError:
            return True
        pending += made[1] if isinstance(made, tuple) else ()
    return False


def _next_of(kind: type) -> Any:
    return next((vars(base)["__next__"] for base in kind.__mro__ if "__next__" in vars(base)), None)


def _is_like_new(value: Any) -> bool:
    if isinstance(value, _QUEUES):
        return bool(value.empty())
    return isinstance(value, _LOCKS) and "unlocked" in repr(value)
