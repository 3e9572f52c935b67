"""How much a trace keeps, and that nothing keeps it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest

from conduit_lab.core.stage import Function
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.call_record import _SPAN_BYTES, FIRST_SPANS, NEWEST_SPANS, Values
from conduit_lab.core.views import figures
from conduit_lab.core.weight import weight

identity = Function(lambda value: value, name="identity")


@pytest.fixture
def _no_collector() -> Iterator[None]:
    """Leave freeing to reference counts."""
    gc.disable()
    yield
    gc.enable()


def array() -> np.ndarray:
    return np.zeros(1000, np.float32)


def fail(value: object) -> None:
    local = array()
    raise ZeroDivisionError(f"no {local.shape}")


@pytest.mark.usefixtures("_no_collector")
def test_a_trace_is_freed_without_the_collector() -> None:
    outer = Function(lambda value: [identity(value) for _ in range(3)], name="outer")
    with recorder.record("all") as recorded:
        outer(1)
        Stream(identity(n) for n in range(3)).result(20)
        with pytest.raises(ZeroDivisionError):
            Function(fail)(1)
    spans = [weakref.ref(span) for span in recorded]
    assert len(spans) == 9
    del recorded
    assert [ref() for ref in spans] == [None] * 9


def test_a_span_has_no_duration_before_its_end() -> None:
    with recorder.record("all") as recorded:
        assert (recorded.root.duration, recorded.root.ended) == (0.0, False)
    assert recorded.root.ended


@pytest.mark.usefixtures("_no_collector")
def test_values_go_with_their_trace() -> None:
    values = Values()
    given = weakref.ref(value := array())
    with recorder.record("all", values=values) as recorded:
        identity(value)
    del value
    assert recorded["identity"].gave is given()
    del recorded
    assert given() is None


@pytest.mark.usefixtures("_no_collector")
def test_a_failed_span_keeps_no_values_of_its_frames() -> None:
    made: list[weakref.ref[np.ndarray]] = []

    def failing(value: object) -> None:
        local = array()
        made.append(weakref.ref(local))
        raise ZeroDivisionError

    with recorder.record("all") as recorded, suppress(ZeroDivisionError):
        Function(failing)(1)
    assert made[0]() is None
    assert isinstance(recorded["failing"].error, ZeroDivisionError)


def test_without_values_spans_have_neither_input_nor_output() -> None:
    with recorder.record("all", values=Values(0)) as recorded:
        identity(5)
    span = recorded["identity"]
    assert (span.target, span.input, span.output, span.forgotten) == (identity, None, None, False)


def test_the_values_of_the_newest_spans_are_kept() -> None:
    values = Values(36_000)
    with recorder.record("all", values=values) as recorded:
        for n in range(10):
            identity(np.full(500, n, np.float32))  # 2000 bytes in, 2000 out, and a copy of each
    kept = [int(span.input[0]) for span in recorded.root.children if span.input is not None]
    assert kept == [7, 8, 9] or kept == [6, 7, 8, 9]
    assert [span.forgotten for span in recorded.root.children] == [n not in kept for n in range(10)]
    assert repr(recorded).splitlines()[0].endswith(f"values of {10 - len(kept)} spans dropped")


def test_traces_that_share_their_values_share_the_limit() -> None:
    values = Values(20_000)
    traces = []
    for n in range(4):
        with recorder.record("all", values=values) as recorded:
            identity(np.full(500, n, np.float32))
        traces.append(recorded)
    assert [t["identity"].forgotten for t in traces] == [True, True, False, False]


def test_a_value_larger_than_the_limit_is_not_kept() -> None:
    with recorder.record("all", values=Values(1000)) as recorded:
        identity(array())
    assert (recorded["identity"].input, recorded["identity"].forgotten) == (None, True)


@pytest.mark.parametrize(("missing", "forgotten"), [(0, False), (1, True)])
def test_values_of_exactly_the_limit_are_kept(missing: int, forgotten: bool) -> None:
    value = array()
    with recorder.record(
        "all", values=Values(_SPAN_BYTES + 4 * weight(value) - missing)
    ) as recorded:
        identity(value)
    assert recorded["identity"].forgotten is forgotten


def test_of_many_spans_the_first_and_the_newest_are_kept_and_the_others_counted() -> None:
    with recorder.record("all") as recorded:
        for n in range(3000):
            Function(str, name=f"n{n}")(n)
    names = [span.name for span in recorded.root.children]
    newest = [f"n{n}" for n in range(3000 - NEWEST_SPANS, 3000)]
    assert names[: FIRST_SPANS - 1] == [f"n{n}" for n in range(FIRST_SPANS - 1)]
    assert names[FIRST_SPANS - 1 :] == newest
    left_out = f"{figures.plural(3000 - len(names), 'span')} dropped"
    assert repr(recorded).splitlines()[0].endswith(left_out)
    assert left_out in recorded._repr_mimebundle_()["text/html"]


def test_many_spans_below_one_another_stay_a_tree() -> None:
    leaf = Function(lambda value: value, name="leaf")
    branch = Function(lambda value: [leaf(n) for n in range(10)], name="branch")
    with recorder.record("all") as recorded:
        Function(lambda value: [branch(n) for n in range(500)], name="trunk")(0)
    depths = {span.name: depth for depth, span in recorded.root.walk()}
    assert depths == {"all": 0, "trunk": 1, "branch": 2, "leaf": 3}
    spans = list(recorded)
    assert len(spans) <= FIRST_SPANS + NEWEST_SPANS + 1
    left_out = f"{figures.plural(5502 - len(spans), 'span')} dropped"
    assert repr(recorded).splitlines()[0].endswith(left_out)


def test_what_was_used_is_known_however_many_spans() -> None:
    stores = [object() for _ in range(3)]
    with recorder.record("all") as recorded:
        for store in stores:
            with recorder.span("docs", "search", store, store_read=store):
                pass
        with recorder.span("small", "predict"):
            recorder.annotate(device="cpu", device_fallback="cuda failed")
        for n in range(3000):
            with recorder.span("docs", "write" if n == 1500 else "search") as span:
                assert span is not None
                if n == 1500:
                    span.annotate(store_write=stores[0], fallback="rules")
                else:
                    span.annotate(store_read=stores[n % 3])
    record = recorded.record
    assert list(record.read.values()) == stores
    assert list(record.written.values()) == [stores[0]]
    assert list(record.fallbacks) == ["rules"]
    assert record.on_cpu == {"small": "cuda failed"}


class Refused(Exception):
    def __init__(self, code: int, values: np.ndarray) -> None:
        super().__init__("refused", code)
        self.values = values

    def __str__(self) -> str:
        return f"refused with {len(self.values)} values"


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (KeyError("x"), KeyError, "'x'"),
        (FileNotFoundError(2, "no such file"), FileNotFoundError, "[Errno 2] no such file"),
        (ValueError("x" * 10_000), ValueError, "x" * 1000),
        (UnicodeDecodeError("utf-8", b"\xff" * 10**6, 0, 1, "bad"), UnicodeDecodeError, ""),
        (
            ExceptionGroup("several", [ValueError("a")]),
            Exception,
            "ExceptionGroup: several (1 sub-exception)",
        ),
        (Refused(5, np.zeros(3)), Exception, "Refused: refused with 3 values"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_span_keeps_type_and_text_of_an_error(error: Exception, kind: type, text: str) -> None:
    with pytest.raises(type(error)), recorder.record("all") as recorded:
        raise error
    kept = recorded.root.error
    assert (type(kept), str(kept)) == (kind, text)
    assert kept is not None
    assert kept.__traceback__ is None


def test_an_error_whose_text_raises_stays_the_error() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    with pytest.raises(Silent), recorder.record("all") as recorded:
        raise Silent
    assert str(recorded.root.error) == "Silent: its text raises ZeroDivisionError"
