"""Token and Generation: strings with attributes that hide no string method."""

from __future__ import annotations

import pytest

from conduit_lab.models.generation.result import Generation, Token, Usage


@pytest.mark.parametrize("kind", [Token, Generation])
def test_attributes_shadow_no_method_of_str(kind: type[str]) -> None:
    own = {name for name in vars(kind) if not name.startswith("_")}
    assert own.isdisjoint(dir(str))


def test_string_methods_work() -> None:
    assert Token("ab", position=7).index("b") == 1
    assert Generation("abba").index("bb") == 1
    assert Generation("abba").count("b") == 2


def test_text_is_the_plain_string() -> None:
    for made in (Token("ab"), Generation("ab")):
        assert (made.text, type(made.text)) == ("ab", str)


def test_generation_shows_its_text_and_its_usage() -> None:
    made = Generation("a <b>", (), "length", Usage(3, 2, 5, 0.5, 1.5))
    bundle = made._repr_mimebundle_()
    assert bundle["text/plain"] == "a <b>"
    assert "a &lt;b&gt;" in bundle["text/html"]
    for fact in ("4.00 tokens/s", "first 500 ms", "prompt 3 tokens", "2 cached"):
        assert f" · {fact}<" in bundle["text/html"]
    assert ">length<" in bundle["text/html"]
    assert repr(made) == "'a <b>'"


def test_usage_as_text() -> None:
    assert str(Usage(3, 0, 1, 0.5, 0.5)) == "3 + 1 tokens, first after 500 ms"
    assert Usage(3, 0, 1, 0.5, 0.5).tokens_per_second == 0
    assert Usage(3, 0, 5, 0.5, 2.5).tokens_per_second == 2
