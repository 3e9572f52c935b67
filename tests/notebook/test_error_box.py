"""The box of an error: its sentence with code in it, and the fix that can be copied."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from traceback import FrameSummary

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import InputError, MissingExtra
from conduit_lab.notebook.error_box import code_spans, error_bundle, respelled, split_fix

FILE = "<cell>"


@pytest.fixture
def users() -> Iterator[FrameSummary]:
    source = (
        "if True:\n    out = lab.load(\n        'data/topik.onnx', devise='cpu')\nmodels['topik']"
    )
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    yield FrameSummary(FILE, 2, "<module>", end_lineno=3)
    linecache.cache.pop(FILE, None)


@pytest.mark.parametrize(
    ("sentence", "fix"),
    [
        ("got str. Encode it first: topic.predict(embedder.encode(text)).", True),
        ("web needs uvicorn, which is not installed: pip install 'conduit-lab[web]'", True),
        ("run it again: load_model('a').predict([1, (2, 3)])", True),
        ("expected a list: use tolist() or list(value)", False),
        ("no model: check the path and the root it starts from", False),
        ("Route(…, default=stage) handles all other names: Route(…, default=stage)", False),
        ("a call of f(x) failed: it has no result", False),
    ],
)
def test_a_fix_is_code_after_a_colon_at_the_end(sentence: str, fix: bool) -> None:
    stated, code = split_fix(sentence)
    assert bool(code) == fix
    assert f"{stated} {code}".strip() == sentence.rstrip(".") if fix else stated == sentence


def test_code_is_found_within_a_sentence() -> None:
    sentence = "top_p is 0: use temperature=0 or device='cpu', f(\")\") or g(x)[0].h(), not i(."
    found = [sentence[start:end] for start, end in code_spans(sentence)]
    assert found == ["temperature=0", "device='cpu'", 'f(")")', "g(x)[0].h()"]


@given(st.text(alphabet="ab.(='\"): …[]\n\0", max_size=60))
def test_spans_of_any_sentence_are_in_order(sentence: str) -> None:
    place = 0
    for start, end in code_spans(sentence):
        assert place <= start < end <= len(sentence)
        place = end


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("no model at data/topik.onnx. Did you mean 'data/topic.onnx'?", "'data/topic.onnx', d"),
        ("load has no option 'devise'. Did you mean 'device'?", "device='cpu'"),
    ],
)
def test_the_users_statement_is_proposed_with_the_nearest_name(
    sentence: str, expected: str, users: FrameSummary
) -> None:
    fix = respelled(sentence, users)
    assert fix.startswith("out = lab.load(\n    ")
    assert expected in fix
    assert "devise" not in fix or "topik" not in fix


@pytest.mark.parametrize(
    "sentence",
    ["no model 'topik'", "no stage 'moot'. Did you mean 'mood'?", "Did you mean 'load'? No."],
)
def test_nothing_is_proposed_without_the_name_in_the_statement(
    sentence: str, users: FrameSummary
) -> None:
    assert respelled(sentence, users) == ""


def test_nothing_is_proposed_without_the_source() -> None:
    gone = FrameSummary("<gone>", 1, "f", lookup_line=False, line="")
    assert respelled("no 'topik'. Did you mean 'topic'?", gone) == ""


def test_a_hostile_message_stays_text(users: FrameSummary) -> None:
    html = error_bundle(InputError("<script>f('<b>')</script>"), users, [users])["text/html"]
    assert "<script" not in html
    assert "<b>&#x27;" not in html


def test_a_missing_package_has_its_command_to_copy(users: FrameSummary) -> None:
    html = error_bundle(MissingExtra("uvicorn", "web", "serving"), users, [users])["text/html"]
    assert ">pip install &#x27;conduit-lab[web]&#x27;</pre>" in html
