from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.views import figures

some = settings(max_examples=200, deadline=None)
SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
BYTES = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}


def parse(shown: str, units: dict[str, float]) -> tuple[str, float]:
    """Return (the digits as shown, the value they stand for)."""
    figure, unit = shown.split(" ")
    figure = figure.replace(figures.THIN_SPACE, "")
    return figure, float(figure) * units[unit]


@some
@given(st.floats(1e-6, 1e6))
def test_seconds_have_three_significant_digits(value: float) -> None:
    shown = figures.seconds(value)
    figure, meant = parse(shown, SECONDS)
    assert "e" not in figure
    assert meant == pytest.approx(value, rel=0.00501)
    if value < 999:
        assert len(figure.replace(".", "")) == 3
        assert 1 <= float(figure) < 1000
    else:
        assert figure.isdigit()


@some
@given(st.integers(1, 2**45))
def test_sizes_have_three_significant_digits(value: int) -> None:
    figure, meant = parse(figures.size(value), dict(BYTES))
    assert "e" not in figure
    assert meant == pytest.approx(value, rel=0.00501)
    if value < 1024:
        assert figure == str(value)
    else:
        assert len(figure.replace(".", "")) >= 3


@some
@given(st.floats(1e-3, 1e9))
def test_rates_are_right_to_three_digits(value: float) -> None:
    figure, meant = parse(figures.rate(value, "x"), {"x/s": 1})
    assert meant == pytest.approx(value, rel=0.00501)
    assert len(figure.replace(".", "").lstrip("0")) >= 3


@some
@given(st.integers(-(10**15), 10**15))
def test_count_parts_thousands_and_loses_nothing(number: int) -> None:
    shown = figures.count(number)
    assert int(shown.replace(figures.THIN_SPACE, "")) == number
    assert all(len(part.lstrip("-")) == 3 for part in shown.split(figures.THIN_SPACE)[1:])


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (figures.seconds(0), "0 µs"),
        (figures.seconds(3.1), "3.10 s"),
        (figures.seconds(0.0124), "12.4 ms"),
        (figures.seconds(0.009996), "10.0 ms"),
        (figures.seconds(0.0009999), "1.00 ms"),
        (figures.seconds(99.96), "100 s"),
        (figures.seconds(5e-7), "0.500 µs"),
        (figures.size(0), "0 B"),
        (figures.size(512), "512 B"),
        (figures.size(1536), "1.50 KB"),
        (figures.size(2**31), "2.00 GB"),
        (figures.rate(0, "chunks"), "0 chunks/s"),
        (figures.rate(1234, "chunks"), "1\u2009234 chunks/s"),
        (figures.count(12345), "12\u2009345"),
    ],
)
def test_examples(shown: str, wanted: str) -> None:
    assert shown == wanted


@pytest.mark.parametrize(
    ("number", "noun", "shown"),
    [
        (0, "row", "0 rows"),
        (1, "row", "1 row"),
        (2, "entry", "2 entries"),
        (1, "entry", "1 entry"),
        (2, "day", "2 days"),
        (2, "class", "2 classes"),
        (3, "batch", "3 batches"),
        (2, "more row", "2 more rows"),
        (12_345, "miss", "12\u2009345 misses"),
    ],
)
def test_a_count_agrees_with_its_noun(number: int, noun: str, shown: str) -> None:
    assert figures.plural(number, noun) == shown
