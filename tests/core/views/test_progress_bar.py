from __future__ import annotations

from conduit_lab.core.views.progress_bar import ProgressBar


def test_a_bar_is_filled_by_its_share() -> None:
    bar = ProgressBar("encode", "1 of 4 texts", 0.25)
    assert bar.plain() == "encode · 1 of 4 texts"
    assert "rgb(0,114,178) 25.0%,rgba(128,128,128,.2) 25.0%" in bar.html()


def test_without_a_share_it_is_empty() -> None:
    assert "rgb(0,114,178) 0.0%" in ProgressBar("encode", "12 s").html()


def test_its_texts_are_escaped() -> None:
    assert "<b>" not in ProgressBar("<b>", "<b>").html()
