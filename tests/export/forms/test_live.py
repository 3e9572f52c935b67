"""Objects of one process are refused, with the function that builds them as code."""

from __future__ import annotations

import contextlib

import pytest

from conduit_lab.export.closure import Closure
from tests.export.forms.carried import MADE, carried, refusal
from tests.export.session import Session

IMPORTS = (
    "import asyncio, csv, queue, re, socket, sqlite3, sys, tempfile, threading\n"
    "from concurrent.futures import ThreadPoolExecutor"
)


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        ("threading.Thread()", "Thread"),
        ("ThreadPoolExecutor(1)", "ThreadPoolExecutor"),
        ("sqlite3.connect(':memory:')", "Connection"),
        ("(n for n in range(3))", "generator"),
        ("socket.socket()", "socket"),
        ("tempfile.TemporaryFile()", "BufferedRandom"),
        ("open(__file__)", "TextIOWrapper"),
        ("csv.reader(['a,b'])", "reader"),
        ("map(str, (n for n in range(3)))", "map"),
        ("re.finditer('a', 'aa')", "callable_iterator"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_an_object_of_one_process_is_refused(
    session: Session, made: str, kind: str, inside: bool
) -> None:
    session.names["__file__"] = __file__
    made = f"[{made}]" if inside else made
    try:
        message = refusal(session, IMPORTS, f"V = {made}")
    finally:
        held = session.names["V"]
        with contextlib.suppress(AttributeError):
            (held[0] if inside else held).close()
    holds = "holds" if inside else "is"
    assert message == (
        f"V {holds} a live {kind}, which has no file form (GET /v → v → V): "
        "build it in a function, and call V() in place of V:\n\n"
        f"    @lab.resource\n    def V():\n        return {made}"
    )


@pytest.mark.parametrize(
    ("made", "change"),
    [
        ("threading.Lock()", "V.acquire()"),
        ("threading.RLock()", "V.acquire()"),
        ("queue.Queue()", "V.put(1)"),
        ("queue.SimpleQueue()", "V.put(1)"),
    ],
)
def test_a_free_lock_and_an_empty_queue_are_made_again(
    session: Session, made: str, change: str
) -> None:
    assert carried(session, IMPORTS, f"V = {made}").endswith(f"V = {made}")
    session.run(change)
    assert "V is a live" in _refused(session)


def _refused(session: Session) -> str:
    with pytest.raises(Exception, match="which has no file form") as caught:
        Closure(session.lab, session.cells, session.names)
    return str(caught.value)


def test_a_stream_of_the_system_is_no_object_of_the_session(session: Session) -> None:
    assert carried(session, "import sys\nV = sys.stdout").endswith("V = sys.stdout")


def test_an_open_lock_among_others_is_made_by_the_statement(session: Session) -> None:
    cell = "V = {'lock': threading.Lock(), 'n': 1}"
    assert carried(session, IMPORTS, MADE, cell).endswith(cell)
