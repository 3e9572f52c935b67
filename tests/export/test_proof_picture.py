"""The picture of a proof: a row per endpoint, a mark per call, and harmless names."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.export.agreement import Comparing
from conduit_lab.export.proof_picture import proof_picture
from conduit_lab.export.replay import Outcome
from conduit_lab.serving.recorded import Example

VERSIONS = {"Python": "3.11.7", "numpy": "2.4.6"}
SVG = "{http://www.w3.org/2000/svg}"


def outcome(path: str, how: Comparing = "exact") -> Outcome:
    example = Example("POST", path, "value", {}, 1, writes=how == "answered")
    return Outcome(example, None, 0.01, how)


def texts(picture: str) -> list[str]:
    return [str(each.text) for each in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def marks(picture: str) -> list[str]:
    found = ElementTree.fromstring(picture).iter(f"{SVG}rect")
    return [each.attrib["class"] for each in found if each.attrib["class"] != "ground"]


def test_a_row_per_endpoint_says_how_its_calls_were_compared() -> None:
    calls = [outcome("/a"), outcome("/a", "tolerance"), outcome("/b", "shape")]
    calls.append(outcome("/c", "answered"))
    picture = proof_picture("desk", calls, 78, VERSIONS, "ab12" * 16)
    shown = texts(picture)
    assert shown[:3] == [
        "desk",
        "2 of 4 calls answered the same in a fresh process",
        "78 objects behind the endpoints compared, all equal",
    ]
    assert shown[3:5] == ["POST /a", "1 exactly equal, 1 equal (floats within 0.0001)"]
    assert shown[-2:] == ["Python 3.11.7 · numpy 2.4.6", "files ab12ab12ab12ab12"]
    assert marks(picture) == ["mark", "mark", "open", "open"]


def test_many_endpoints_and_calls_stay_on_one_screen() -> None:
    calls = [outcome(f"/{n}") for n in range(40)] + [outcome("/0")] * 100
    picture = proof_picture("desk", calls, 1, VERSIONS, "")
    assert "and 28 endpoints more" in texts(picture)
    assert len(marks(picture)) == 24 + 11
    assert float(ElementTree.fromstring(picture).attrib["height"]) < 700


def test_the_marks_of_many_calls_leave_room_for_their_words() -> None:
    for hows, least in ((["tolerance"], 15), (["int8"], 8), (["int8", "shape", "answered"], 0)):
        calls = [outcome("/a", how) for how in hows for _ in range(30)]  # type: ignore[arg-type]
        picture = proof_picture("desk", calls, 1, VERSIONS, "")
        words = texts(picture)[4]
        rows = ElementTree.fromstring(picture).iter(f"{SVG}rect")
        ends = [int(each.attrib["x"]) + 8 for each in rows if each.attrib["class"] != "ground"]
        assert len(ends) >= least
        assert all(end < 960 - 40 - 6.6 * len(words) for end in ends)


@given(name=st.text(st.characters(exclude_categories=["C"]), max_size=30))
def test_any_name_is_text(name: str) -> None:
    picture = proof_picture(name, [outcome(f"/{name}")], 1, {name: "1"}, name)
    assert (texts(picture)[0] or "") == name or not name.strip()
