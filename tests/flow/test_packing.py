"""The passages that go into a prompt without room for all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.flow.packing import Packed, pack

SENTENCES = [
    "Ask us.",
    "Send it back!",
    "“Is it free?”",
    "See 3.5 e.g. on page 4.",
    "A long one, without an end",
]
passages = st.lists(
    st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=6).map(" ".join), max_size=5
)


def within(room: int):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return lambda texts: sum(map(len, texts)) <= room


def test_what_fits_goes_in_whole() -> None:
    assert pack(["one.", "two."], within(8)) == [Packed(0, "one."), Packed(1, "two.")]


def test_what_does_not_fit_is_cut_at_the_end_of_a_sentence() -> None:
    assert pack(["One is here. Two is there. Three."], within(28)) == [
        Packed(0, "One is here. Two is there.")
    ]


def test_a_shorter_passage_takes_the_place_of_one_without_room_for_a_sentence() -> None:
    assert pack(["One.", "Two is much too long.", "Six."], within(9)) == [
        Packed(0, "One."),
        Packed(2, "Six."),
    ]


def test_the_best_is_cut_at_a_word_where_not_even_its_first_sentence_fits() -> None:
    assert pack(["Ones and twos and threes.", "Four and more."], within(10)) == [
        Packed(0, "Ones and")
    ]


def test_a_best_of_one_endless_word_is_cut_anywhere() -> None:
    assert pack(["水" * 9000, "Kettles."], within(3000)) == [Packed(0, "水" * 3000)]


def test_a_heading_alone_is_not_packed() -> None:
    assert pack(["# About kettles\n\nThey are descaled."], within(17)) == []
    assert pack(["One.", "# Two\n\nIt is too long."], within(12)) == [Packed(0, "One.")]


def test_nothing_is_packed_where_nothing_fits() -> None:
    assert pack(["Kettles.", "Pans."], within(0)) == []


def test_a_passage_as_long_as_a_library_is_cut_without_reading_it_all() -> None:
    read = []

    def fits(texts: list[str]) -> bool:
        read.append(sum(map(len, texts)))
        return read[-1] <= 5000

    (packed,) = pack(["# All\n\nOne two. Three.\n" * 500_000], fits)
    assert 4950 < len(packed.text) <= 5000
    assert max(read[1:]) <= 20_000


@pytest.mark.parametrize(
    ("text", "beginnings"),
    [
        ("Go on e.g. here. Then stop.", ["Go on e.g. here."]),
        ("It has 3.5 litres. More.", ["It has 3.5 litres."]),
        ("(It is free.) We pay.", ["(It is free.)"]),
        ("Is it?! Yes… No", ["Is it?!", "Is it?! Yes…"]),
        ("- one\n- two\n- three", ["- one", "- one\n- two"]),
        (
            "## Is it free?\n\nYes. #1 is.\nNo",
            ["## Is it free?\n\nYes.", "## Is it free?\n\nYes. #1 is."],
        ),
        ("一。二！三", ["一。", "一。二！"]),
        ("no end at all", []),
    ],
)
def test_where_a_sentence_ends(text: str, beginnings: list[str]) -> None:
    # the first passage takes one character, so that the second is never cut at a word
    rooms = [pack([".", text], within(room + 1)) for room in range(len(text))]
    found = {packed[-1].text for packed in rooms if len(packed) > 1}
    assert found == set(beginnings)


@given(passages, st.integers(0, 200))
def test_what_is_packed_fits_and_begins_the_passages_in_their_order(
    texts: list[str], room: int
) -> None:
    packed = pack(texts, within(room))
    assert sum(len(part.text) for part in packed) <= room
    assert [part.place for part in packed] == sorted({part.place for part in packed})
    assert all(texts[part.place].startswith(part.text) for part in packed)


@given(passages, st.integers(0, 200))
def test_a_passage_that_would_have_fitted_is_not_cut(texts: list[str], room: int) -> None:
    before = 0
    for part in pack(texts, within(room)):
        assert part.text == texts[part.place] or before + len(texts[part.place]) > room
        before += len(part.text)
