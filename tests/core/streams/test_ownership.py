"""Ownership: streams begun inside a call are cancelled with it, else they go on."""

from __future__ import annotations

import contextvars
import gc
import threading
from weakref import ref

import pytest

from conduit_lab.core.streams import ownership
from conduit_lab.core.streams.ownership import CallScope, adopt, cancelled
from conduit_lab.core.streams.pushed import PushedStream


class Child:
    def __init__(self) -> None:
        self.cancels = 0

    def cancel(self) -> None:
        self.cancels += 1


def adopted() -> Child:
    child = Child()
    adopt(child)
    return child


def test_a_block_that_raises_cancels_its_children() -> None:
    with pytest.raises(RuntimeError), CallScope():
        child = adopted()
        assert not cancelled()
        raise RuntimeError
    assert child.cancels == 1
    assert adopted().cancels == 0  # outside of every block


def test_a_block_that_returns_leaves_them_running() -> None:
    with CallScope() as scope:
        child = adopted()
    scope.cancel()
    assert child.cancels == 0


def test_one_that_begins_after_the_cancellation_is_cancelled_at_once() -> None:
    with CallScope() as scope:
        scope.cancel()
        assert cancelled()
        assert adopted().cancels == 1


def test_children_of_a_block_that_returned_belong_to_the_one_around_it() -> None:
    with CallScope() as outer:
        with CallScope() as inner:
            early = adopted()
            context = contextvars.copy_context()
        late = context.run(adopted)
        outer.cancel()
    assert (early.cancels, late.cancels) == (1, 1)
    assert not inner.cancelled


def test_a_block_is_cancelled_with_the_one_around_it() -> None:
    with CallScope() as outer, CallScope() as inner:
        child = adopted()
        outer.cancel()
        assert inner.cancelled
    assert child.cancels == 1


def test_another_thread_in_a_copy_of_the_context_belongs_to_the_block() -> None:
    found = []
    with CallScope() as scope:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(lambda: found.append(adopted()),))
        thread.start()
        thread.join()
        scope.cancel()
    assert found[0].cancels == 1


def test_children_are_not_kept_alive() -> None:
    with CallScope():
        child = ref(adopted())
        gc.collect()
        assert child() is None


def test_a_stream_owns_what_begins_in_its_context() -> None:
    stream: PushedStream[str] = PushedStream()
    context = contextvars.copy_context()
    context.run(ownership.set_owner, stream)
    child = context.run(adopted)
    assert not context.run(cancelled)
    stream.cancel()
    assert context.run(cancelled)
    assert child.cancels == 1
    assert context.run(adopted).cancels == 1


def test_yield_from_a_stream_gives_its_value() -> None:
    stream: PushedStream[str, int] = PushedStream()
    stream.append("a")
    stream.finish(7)
    reader = iter(stream)
    assert next(reader) == "a"
    with pytest.raises(StopIteration) as stop:
        next(reader)
    assert stop.value.value == 7
