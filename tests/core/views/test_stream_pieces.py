"""The pieces of streams: tables that grow, pictures, waves, strips on a clock."""

from __future__ import annotations

from base64 import b64decode

from conduit_lab.core.views.clock_strips import ClockStrips, ViewColumns, strip_ground
from conduit_lab.core.views.growing_table import GrowingTable, TableColumn, column_room
from conduit_lab.core.views.line_picture import LineColumns
from conduit_lab.core.views.pictures import FilmStrip, Picture, Player
from conduit_lab.core.views.view import View
from conduit_lab.core.views.wave_picture import WavePicture, wave_url

NAN = float("nan")


def test_a_column_keeps_room_for_its_widest_cell_up_to_a_limit() -> None:
    assert column_room("name", 10) == 6.0
    assert column_room("a longer name", 2) == 7.8
    assert column_room("a", 90) == 14.4
    html = GrowingTable([TableColumn("a", True, 10)], [("0", ["1"])]).html()
    assert "text-align:right;min-width:6.0em" in html
    assert '<td style="text-align:right' in html


def test_a_growing_table_as_text() -> None:
    table = GrowingTable([TableColumn("n", True), TableColumn("name")], [("10", ["1", "x"])])
    assert table.plain() == "row  n  name\n 10  1  x"


def test_a_picture_reserves_its_room() -> None:
    html = Picture("data:image/png;base64,AA==", 'a "b"', 20, 10).html()
    assert 'width="20" height="10"' in html
    assert 'alt="a &quot;b&quot;"' in html
    assert "width=" not in Picture("data:image/png;base64,AA==", "a").html()


def test_frames_and_players_escape_their_texts() -> None:
    assert "<i>" not in FilmStrip([("data:,", "<i>")]).html()
    assert "<i>" not in Player("data:audio/wav;base64,", '"<i>').html()


def test_a_wave_has_a_stroke_per_column_with_sound() -> None:
    columns = LineColumns([-1.0, NAN, 0.0], [1.0, NAN, 0.5], [0.0, NAN, 0.2])
    svg = b64decode(wave_url(columns).partition(",")[2]).decode()
    assert 'd="M100.0 1.0V71.5M500.0 18.5V36.5"' in svg
    assert WavePicture(columns, "1 s").plain() == "█▅"


def test_a_strip_has_a_stop_per_run_of_equal_periods() -> None:
    assert strip_ground([-1, 0, 0, 1.0]) == (
        "background:linear-gradient(to right,rgba(128,128,128,0) 0.00% 25.00%,"
        "rgba(128,128,128,.2) 25.00% 75.00%,rgba(27,134,200,1.00) 75.00% 100.00%)"
    )
    assert strip_ground([]) == ""


def test_strips_as_text_and_with_escaped_names() -> None:
    strips = ClockStrips([("<a>", [-1, 0, 0.1, 1.0])], "0 s", "2 s")
    assert strips.plain().splitlines()[1] == "<a>   ·▁█"
    assert "&lt;a&gt;" in strips.html()


def test_the_header_of_a_live_view_stays_one_line() -> None:
    html = View("Stream", 'a">b', one_line=True).html()
    assert html.count("white-space:nowrap") == 1
    assert html.index("white-space:nowrap") < html.index("<b>a&quot;&gt;b</b>")
    assert "nowrap" not in View("Stream", "a").html()


def test_views_stand_in_columns() -> None:
    columns = ViewColumns([View("Stream", "a"), View("Stream", "b")])
    assert columns.plain() == "Stream 'a'\nStream 'b'"
    assert columns.html().count("flex:1 1 300px") == 2
