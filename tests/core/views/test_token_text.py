"""TokenText: tinted tokens, a muted prefix, and an overlong text."""

from __future__ import annotations

import re

import pytest

from conduit_lab.core.views.token_text import MAX_CHARACTERS, MAX_TOKENS, TokenText, tint


def words(html: str) -> str:
    """Return the text of HTML."""
    return re.sub(r"<[^>]*>", "", html)


def test_an_unsure_token_has_a_stronger_tint() -> None:
    strengths = [float(tint(p).rpartition(",")[2][:-1]) for p in (0.9, 0.5, 0.1, 0.0)]
    assert strengths == [0.05, 0.25, 0.45, 0.5]
    assert tint(0.99) == tint(1.0) == tint(float("nan")) == ""


def test_each_tinted_token_has_its_probability_as_title() -> None:
    shown = TokenText([("a", 0.42), ("b", 1.0), ("c", 0.004)]).html()
    assert re.findall(r'title="([^"]*)">(\w)</em>', shown) == [("p 0.42", "a"), ("p 0.004", "c")]
    assert words(shown) == "abc"


def test_everything_is_escaped() -> None:
    shown = TokenText([("<b>", 0.1), ("</em>", 1.0)], prompt="<i>").html()
    assert words(shown) == "&lt;i&gt;&lt;b&gt;&lt;/em&gt;"


def test_the_prompt_and_the_common_beginning_are_quiet() -> None:
    shown = TokenText([("a", 0.1), ("b", 0.1), ("c", 0.1)], prompt="P", common=2).html()
    assert re.findall(r'<span style="opacity:.6">(\w+)</span>', shown) == ["P", "ab"]
    assert re.findall(r"<em [^>]*>(\w)</em>", shown) == ["c"]


def test_plain_is_the_text_without_the_prompt() -> None:
    assert TokenText([("a", 0.1), ("b", 0.2)], prompt="P").plain() == "ab"


@pytest.mark.parametrize(("length", "count"), [(50, 1_000), (1, 3 * MAX_TOKENS)])
def test_the_middle_of_a_long_text_is_cut_and_counted(length: int, count: int) -> None:
    tokens = [(f"{place:0{length}}"[-length:], 0.5) for place in range(count)]
    shown = TokenText(tokens).html()
    cut = re.search(r"… ([\d\u2009]+) characters not shown …", shown)
    assert cut is not None
    left = int(cut[1].replace("\u2009", ""))
    text = words(shown).replace(cut[0], "").replace("\n", "")
    assert len(text) + left == length * count
    assert len(text) <= MAX_CHARACTERS
    assert text.startswith(tokens[0][0])
    assert text.endswith(tokens[-1][0])
    assert shown.count("<em ") <= MAX_TOKENS


def test_one_token_that_is_too_long_is_left_out() -> None:
    assert "20\u2009001 characters not shown" in TokenText([("x" * 20_001, 0.5)]).html()


def test_a_long_prompt_is_cut() -> None:
    shown = words(TokenText([("end", 1.0)], prompt="p" * 30_000).html())
    assert "10\u2009000 characters not shown" in shown
    assert shown.endswith("end")
