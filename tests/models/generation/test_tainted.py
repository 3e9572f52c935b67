"""TaintedStr: every method equals that of str, and characters keep their taint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.models.generation.tainted import (
    TEMPLATE_METHODS,
    TaintedStr,
    concatenated,
    taint,
    taint_of,
)

# In these texts, each character itself shows whether it is data.
DATA, TEMPLATE = "abA \n\t", "xyX-_"
TEXTS = st.text(DATA + TEMPLATE, max_size=12)
METHODS_AND_ARGUMENTS: list[tuple[str, tuple[Any, ...]]] = [
    ("strip", ()),
    ("strip", ("ax",)),
    ("lstrip", ()),
    ("rstrip", ("y ",)),
    ("removeprefix", ("a",)),
    ("removesuffix", ("x",)),
    ("split", ()),
    ("split", (None, 1)),
    ("split", ("a",)),
    ("split", ("x", 1)),
    ("rsplit", ()),
    ("rsplit", (None, 1)),
    ("rsplit", ("x", 1)),
    ("splitlines", ()),
    ("splitlines", (True,)),
    ("partition", ("x",)),
    ("rpartition", ("a",)),
    ("upper", ()),
    ("lower", ()),
    ("title", ()),
    ("capitalize", ()),
    ("swapcase", ()),
    ("__getitem__", (slice(1, 5),)),
    ("__getitem__", (slice(None, None, -1),)),
    ("__mul__", (3,)),
]


def marked(text: str) -> TaintedStr:
    return TaintedStr(text, bytes(character.lower() in DATA.lower() for character in text))


def check(got: Any, right: Any) -> None:
    """Compare a result with that of str, and its taint with what its characters tell."""
    if isinstance(right, list | tuple):
        assert len(got) == len(right)
        for one, other in zip(got, right, strict=True):
            check(one, other)
        return
    assert got == right
    assert taint_of(got) == taint_of(marked(right))


@pytest.mark.parametrize(("method", "arguments"), METHODS_AND_ARGUMENTS)
@given(text=TEXTS)
def test_method_moves_the_taint_with_the_characters(
    method: str, arguments: tuple[Any, ...], text: str
) -> None:
    check(getattr(marked(text), method)(*arguments), getattr(text, method)(*arguments))


@given(TEXTS, TEXTS, TEXTS, st.integers(-1, 3))
def test_replaced_and_joined_parts_keep_their_taint(
    text: str, old: str, new: str, count: int
) -> None:
    check(marked(text).replace(old, marked(new), count), text.replace(old, new, count))
    check(marked(new).join([marked(text), marked(old)]), new.join([text, old]))
    check(marked(text) + marked(old), text + old)
    check(list(marked(text)), list(text))


def test_plain_text_beside_data_is_not_data() -> None:
    both = "<|" + TaintedStr("end") + "|>"
    assert (both, taint_of(both)) == ("<|end|>", b"\0\0\1\1\1\0\0")
    assert taint_of(concatenated(["ab", TaintedStr("c")])) == b"\0\0\1"


@pytest.mark.parametrize(
    "make",
    [lambda t: t.center(9), lambda t: t.zfill(9), lambda t: t.expandtabs(), lambda t: t.ljust(9)],
)
def test_result_of_other_length_is_data_as_a_whole(
    make: Callable[[TaintedStr], TaintedStr],
) -> None:
    assert taint_of(make(TaintedStr("a\tb", b"\0\0\1"))) == b"\1" * len(make(TaintedStr("a\tb")))


def test_every_template_method_equals_that_of_str() -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        **dict.fromkeys(("center", "ljust", "rjust", "zfill"), (9,)),
        **dict.fromkeys(
            ("startswith", "endswith", "find", "rfind", "count", "index", "rindex"), ("a",)
        ),
        **dict.fromkeys(("removeprefix", "removesuffix", "partition", "rpartition"), ("a",)),
        "replace": ("a", "b"),
        "join": (["a", "b"],),
    }
    for method in TEMPLATE_METHODS:
        given = arguments.get(method, ())
        assert getattr(TaintedStr("a-b a"), method)(*given) == getattr("a-b a", method)(*given), (
            method
        )


def test_strings_inside_of_data_are_data() -> None:
    made = taint({"a": ["b", 1, None, True, {"c": "d"}]})
    assert made == {"a": ["b", 1, None, True, {"c": "d"}]}
    (key,) = made
    assert taint_of(key) == taint_of(made["a"][0]) == taint_of(made["a"][4]["c"]) == b"\1"
