from __future__ import annotations

import json
import re
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import InputError, MissingExtra, ModelLoadError
from conduit_lab.models.generation.constraint import Constraint, GrammarCompiler
from conduit_lab.models.generation.detokenizer import IncrementalDetokenizer
from conduit_lab.models.generation.sampling import Sampler
from conduit_lab.models.generation.sampling_options import SamplingOptions
from tests.models.generation.test_detokenizer import byte_level, sentencepiece, wordpiece

PADDING = 7  # logits are often wider than the tokenizer
EOS = 1
ALPHABET = "ab é🦉"


def constraints(tokenizer: Any = byte_level) -> GrammarCompiler:
    return GrammarCompiler(tokenizer().to_str(), tokenizer().get_vocab_size() + PADDING, [EOS])


def written(
    constraint: Constraint, seed: int, tokenizer: Any = byte_level, limit: int = 400
) -> str | None:
    """Return the text generated from random logits, or None if it did not end.

    Long tokens are less likely, and the end token becomes more likely with each step.
    """
    random = np.random.default_rng(seed)
    backend = tokenizer()
    width = backend.get_vocab_size() + PADDING
    sampler = Sampler(1, width)
    sampler.join(0, SamplingOptions(temperature=1, seed=seed), [], constraint)
    text = IncrementalDetokenizer(backend)
    said = ""
    for step in range(limit):
        logits = random.normal(0, 2, (1, width)).astype(np.float32)
        logits[0, EOS] += step
        token = int(sampler.sample(logits, [0]).ids[0])
        if token == EOS:
            return said + text.flush()
        said += text.push(token)
        if constraint.error:
            return None
        if constraint.complete:
            assert constraint.accepting
            assert constraint.allowed().nonzero()[0].tolist() == [EOS]
            return said + text.flush()
    return None


TEXTS = st.text(ALPHABET, min_size=1, max_size=5)


@pytest.mark.parametrize("tokenizer", [byte_level, sentencepiece])
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_text_is_one_of_the_choices(tokenizer: Any, data: Any) -> None:
    letters = st.text(ALPHABET, min_size=1, max_size=5)
    choices = data.draw(
        st.lists(letters.filter(lambda text: not text.startswith(" ")), min_size=1, max_size=4)
    )
    got = written(constraints(tokenizer).choices(choices), data.draw(st.integers(0, 99)), tokenizer)
    assert got in choices


def test_every_choice_can_be_generated() -> None:
    choices = ["the", "the pan", "the kettle", "heiß 🫖", '"(.*)\\d\n"']
    made = constraints()
    assert {written(made.choices(choices), seed) for seed in range(60)} == set(choices)


PATTERNS = st.recursive(
    st.one_of(TEXTS.map(re.escape), st.sampled_from(["[a-cé]", "[^a]", "[0-9]", "(?:🦉é)"])),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["?", "{1,3}", "{2}", "*"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=5,
)


@settings(deadline=None, max_examples=60)
@given(PATTERNS, st.integers(0, 99))
def test_text_matches_the_pattern(pattern: str, seed: int) -> None:
    got = written(constraints().regex(pattern), seed)
    assert got is None or re.fullmatch(pattern, got)


def test_pattern_over_characters_of_many_bytes() -> None:
    made = constraints()
    for seed in range(20):
        got = written(made.regex("[🦉é🫖x]{3}"), seed)
        assert got is not None
        assert re.fullmatch("[🦉é🫖x]{3}", got)


SCHEMAS = st.recursive(
    st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "integer", "minimum": -20, "maximum": 300}),
        st.just({"type": "string", "maxLength": 4}),
        st.lists(TEXTS, min_size=1, max_size=3, unique=True).map(lambda texts: {"enum": texts}),
        st.just({"type": "null"}),
    ),
    lambda inner: st.one_of(
        inner.map(lambda items: {"type": "array", "items": items, "minItems": 1, "maxItems": 2}),
        st.dictionaries(TEXTS, inner, min_size=1, max_size=3).map(
            lambda found: {
                "type": "object",
                "properties": found,
                "required": list(found),
                "additionalProperties": False,
            }
        ),
    ),
    max_leaves=4,
)


@settings(deadline=None, max_examples=60)
@given(SCHEMAS, st.integers(0, 99))
def test_text_is_json_of_the_schema(schema: dict[str, Any], seed: int) -> None:
    got = written(constraints().json_schema(schema), seed)
    assert got is not None
    assert fits(json.loads(got), schema)


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Return whether a value matches one of the schemas above."""
    if "enum" in schema:
        return value in schema["enum"]
    if schema["type"] == "object":
        found = schema["properties"]
        return list(value) == list(found) and all(fits(value[name], found[name]) for name in found)
    if schema["type"] == "array":
        return 1 <= len(value) <= 2 and all(fits(each, schema["items"]) for each in value)
    kinds = {"boolean": bool, "integer": int, "string": str, "null": type(None)}
    right = type(value) is kinds[schema["type"]]
    if schema["type"] == "integer":
        return right and -20 <= value <= 300
    return right and (schema["type"] != "string" or len(value) <= 4)


def test_schema_may_be_a_string() -> None:
    assert written(constraints().json_schema('{"const": {"é": [1]}}'), 0) is not None


def test_white_space_of_json_is_bounded() -> None:
    made = constraints().json_schema(
        {"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 1}
    )
    space = byte_level().token_to_id("Ġ")
    bracket = byte_level().token_to_id("[")
    made.accept(bracket)
    made.accept(space)
    assert not made.allowed()[space]


# Ends


def test_matching_text_may_continue_or_end() -> None:
    made = constraints().choices(["a", "ab"])
    a, b = (byte_level().token_to_id(letter) for letter in "ab")
    assert not made.accepting
    assert not made.allowed()[EOS]
    made.accept(a)
    assert made.accepting
    assert not made.complete
    assert made.allowed()[[EOS, b]].all()
    made.accept(b)
    assert made.complete
    assert made.allowed().nonzero()[0].tolist() == [EOS]
    made.accept(EOS)
    assert made.complete
    assert not made.error


def test_token_after_the_end_is_ignored() -> None:
    made = constraints().choices(["a"])
    for _ in range(2):
        made.accept(byte_level().token_to_id("a"))
        assert (made.complete, made.error) == (True, "")


def test_model_without_special_tokens_ends_with_an_added_one() -> None:
    content = json.loads(byte_level().to_str()) | {"added_tokens": []}
    made = GrammarCompiler(json.dumps(content), len(content["model"]["vocab"]), [])
    constraint = made.choices(["a", "ab"])
    constraint.accept(byte_level().token_to_id("a"))
    assert (constraint.accepting, constraint.complete) == (True, False)
    assert constraint.allowed().nonzero()[0].tolist() == [byte_level().token_to_id("b")]


def test_all_ends_are_allowed_where_one_is() -> None:
    tokenizer = byte_level()
    made = GrammarCompiler(tokenizer.to_str(), tokenizer.get_vocab_size(), [1, 0]).choices(
        ["a", "ab"]
    )
    made.accept(tokenizer.token_to_id("a"))
    assert made.allowed()[[0, 1]].all()


OPEN = {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}


def matches(schema: Any, text: str) -> bool:
    """Return whether a constraint lets a text through and takes it as whole."""
    made = constraints().json_schema(schema)
    for token in byte_level().encode(text).ids:
        if made.complete or not made.allowed()[token]:
            return False
        made.accept(token)
    return made.accepting


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (OPEN, ["0.1", "0.5", "0.01"], ["0", "-0", "0.0", "0.51", "1"]),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5}, ["0.3"], ["0", "0.5"]),
        (
            {"type": "number", "minimum": -0.5, "exclusiveMaximum": 0},
            ["-0.5", "-0.1"],
            ["0", "-0", "-0.0"],
        ),
        (
            {"type": "number", "exclusiveMinimum": -1.5, "exclusiveMaximum": -1},
            ["-1.2"],
            ["-1", "-1.5", "-1.0"],
        ),
        (
            {"type": "number", "exclusiveMinimum": 10, "maximum": 10.5},
            ["10.1", "10.5"],
            ["10", "10.0", "9"],
        ),
        (
            {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 2},
            ["1.5"],
            ["1", "2", "2.0"],
        ),
        (
            {"type": "number", "exclusiveMinimum": 0, "maximum": 2, "multipleOf": 0.5},
            ["0.5", "2"],
            ["0", "0.3"],
        ),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 3}, ["1", "2"], ["0", "3"]),
        ({"type": "integer", "exclusiveMinimum": 0, "maximum": 2.5}, ["1", "2"], ["0", "3"]),
        (
            {"type": "integer", "exclusiveMaximum": 9007199254740992},
            ["9007199254740991"],
            ["9007199254740992"],
        ),
        ({"exclusiveMinimum": 0, "maximum": 0.5}, ["0.1", '"a"'], ["0"]),
        ({"allOf": [{"type": "number", "exclusiveMinimum": 0}, {"maximum": 0.5}]}, ["0.1"], ["0"]),
        (
            {
                "type": "number",
                "exclusiveMinimum": 0,
                "anyOf": [{"maximum": 0.5}, {"maximum": 0.2}],
            },
            ["0.1"],
            ["0"],
        ),
        ({"anyOf": [OPEN, {"type": "boolean"}]}, ["0.1", "true"], ["0"]),
        ({"type": "array", "items": OPEN}, ["[0.1]"], ["[0]", "[0.1,0]"]),
        ({"$defs": {"default": OPEN}, "$ref": "#/$defs/default"}, ["0.1"], ["0"]),
        (
            {"type": "object", "properties": {"const": OPEN}, "required": ["const"]},
            ['{"const": 0.1}'],
            ['{"const": 0}'],
        ),
        (
            {"enum": [{"exclusiveMinimum": 0}]},
            ['{"exclusiveMinimum": 0}'],
            ['{"exclusiveMinimum": 1}'],
        ),
    ],
)
def test_exclusive_bound_is_excluded(schema: Any, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not matches(schema, text)] == []
    assert [text for text in bad if matches(schema, text)] == []


BOUNDS = st.sampled_from([-2, -1.5, -1, -0.5, 0, 0.25, 0.5, 1, 1.25, 2, 10])


@settings(deadline=None, max_examples=40)
@given(
    BOUNDS,
    BOUNDS,
    st.sampled_from(["minimum", "exclusiveMinimum"]),
    st.sampled_from(["maximum", "exclusiveMaximum"]),
)
def test_no_number_out_of_bounds_is_generated(
    low: float, high: float, least: str, most: str
) -> None:
    if low >= high:
        return
    schema = {"type": "number", least: low, most: high}
    for value in {low, high, int(low), int(high), -0.0, (low + high) / 2}:
        for text in {f"{value:g}", f"{value:.1f}"}:
            within = low <= float(text) <= high
            within = within and not (least[0] == "e" and float(text) == low)
            within = within and not (most[0] == "e" and float(text) == high)
            assert within or not matches(schema, text)


def test_copy_is_independent() -> None:
    made = constraints().choices(["ab", "ba"])
    other = made.copy()
    made.accept(byte_level().token_to_id("a"))
    other.accept(byte_level().token_to_id("b"))
    assert made.allowed()[byte_level().token_to_id("b")]
    assert other.allowed()[byte_level().token_to_id("a")]


def test_disallowed_token_ends_the_constraint_with_a_reason() -> None:
    made = constraints().choices(["a"])
    made.accept(byte_level().token_to_id("b"))
    assert made.error
    assert made.complete
    assert not made.accepting
    assert made.allowed().nonzero()[0].tolist() == [EOS]


def test_pattern_that_becomes_too_costly_ends_with_a_reason() -> None:
    made = constraints().regex("a{2000000000}")
    assert written(made, 1) is None
    assert "too many" in made.error
    assert made.complete
    assert made.allowed().nonzero()[0].tolist() == [EOS]


def test_constraint_without_an_allowed_token_ends_with_a_reason() -> None:
    class Stuck:
        """A matcher whose masks are empty."""

        def is_error(self) -> bool:
            return False

        def is_stopped(self) -> bool:
            return False

        def unsafe_compute_mask_ptr(self, address: int, size: int) -> None:
            pass

    made = Constraint(Stuck(), 40, [3, 99], 100)
    assert made.allowed().nonzero()[0].tolist() == [3]
    assert made.error == "no token of this model is allowed"
    assert made.complete


# Rejected grammars


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ("yes", "choices expects a list of strings"),
        ([1], "choices expects a list of strings"),
        ([], "choices expects 1 to 1000 strings, none of them empty, got 0"),
        (["a", ""], "choices expects 1 to 1000 strings, none of them empty, got 2"),
        (["a"] * 1001, "choices expects 1 to 1000 strings, none of them empty, got 1001"),
        (["a" * 50_001], "choices expects at most 50000 characters, got 50001"),
        (["\ud800"], "choices cannot be used: "),
    ],
)
def test_invalid_choices(choices: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        constraints().choices(choices)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (5, "regex expects a pattern"),
        ("", "regex expects a pattern, a non-empty string"),
        ("(a", "regex cannot be used: .*unclosed group"),
        (r"(a)\1", "regex cannot be used: .*invalid regex"),
        ("(?=a)b", "regex cannot be used: .*invalid regex"),
        (r"[^\s\S]", "regex cannot be used: "),
        ("(" * 5000 + "a" + ")" * 5000, "regex cannot be used: "),
        ("a" * 50_001, "regex expects at most 50000 characters, got 50001"),
        ("\udfff", "regex cannot be used: "),
    ],
)
def test_invalid_or_too_costly_pattern(pattern: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.compile(f"^{message}", re.DOTALL)):
        constraints().regex(pattern)


TOGETHER = "json_schema expects at most 6 patterns, formats and lengths for one string"


def nested(depth: int) -> dict[str, Any]:
    return (
        {"pattern": f"a.{{{depth}}}b", "anyOf": [nested(depth - 1)]}
        if depth
        else {"type": "string"}
    )


def referring(depth: int) -> dict[str, Any]:
    return {"type": "string", "pattern": f"a.{{{depth}}}b", "$ref": f"#/$defs/{depth + 1}"}


def test_schema_with_many_separate_patterns_is_accepted() -> None:
    found = {f"p{i}": {"$ref": "#/$defs/code"} for i in range(20)} | {"again": {"$ref": "#"}}
    schema = {
        "$defs": {"code": {"type": "string", "pattern": "^[A-Z]{2}$", "maxLength": 3}},
        "type": "object",
        "properties": found,
        "required": list(found)[:-1],
        "additionalProperties": False,
    }
    assert constraints().json_schema(schema).allowed()[byte_level().token_to_id("{")]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{", "json_schema is not JSON"),
        ("[]", "json_schema expects an object, got list"),
        ({"const": float("nan")}, "json_schema is not JSON"),
        ({"const": object()}, "json_schema is not JSON"),
        ({"type": "kettle"}, "json_schema cannot be used: "),
        ({"not": {}}, "json_schema cannot be used: .*not"),
        (
            {"$ref": "http://127.0.0.1:1/schema"},
            "json_schema expects references to its own parts, .* got 'http://127.0.0.1:1/schema'",
        ),
        (
            {"$defs": {"a": {"$anchor": "b"}}, "$ref": "#b"},
            "json_schema expects references to its own parts, .* got '#b'",
        ),
        (
            {"$defs": {"a": {}}, "$ref": "#/$defs/%61"},
            "json_schema expects references .* got '#/.defs/%61'",
        ),
        (
            {"items": {"$id": "other:a", "$ref": "#"}},
            "json_schema expects references within itself, got a nested .id",
        ),
        ({"$ref": "#"}, "json_schema cannot be used: "),
        (
            {"type": "integer", "multipleOf": 999983},
            "json_schema expects a product of all multipleOf of at most 10000, got 999983",
        ),
        (
            {"type": "integer", "multipleOf": 1_000_000},
            "json_schema expects a product of all multipleOf .*, got 1e.06",
        ),
        (
            {"allOf": [{"type": "integer", "multipleOf": m} for m in (0.97, 991)]},
            "json_schema expects a product of all multipleOf .*, got 96127",
        ),
        ({"type": "string", "allOf": [{"pattern": f"a.{{{i}}}b"} for i in range(40)]}, TOGETHER),
        (nested(40), TOGETHER),
        (
            {"$defs": {str(i): referring(i) for i in range(40)} | {"40": {}}, "$ref": "#/$defs/0"},
            TOGETHER,
        ),
        (
            json.loads('{"items":' * 300 + "{}" + "}" * 300),
            "json_schema cannot be used: recursion limit",
        ),
        ({"enum": []}, "json_schema cannot be used: "),
        ({"type": "string", "pattern": "(?=a)"}, "json_schema cannot be used: "),
        ({"type": "string", "maxLength": 5, "minLength": 9}, "json_schema cannot be used: "),
        ({"description": "a" * 50_001}, "json_schema expects at most 50000 characters, got 5"),
    ],
)
def test_invalid_or_too_costly_schema(schema: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.compile(f"^{message}", re.DOTALL)):
        constraints().json_schema(schema)


def test_schema_sets_no_options_of_the_library() -> None:
    made = constraints().json_schema(
        {"x-guidance": {"whitespace_pattern": "z*"}, "type": "array", "maxItems": 0}
    )
    got = written(made, 3)
    assert got is not None
    assert json.loads(got) == []


def test_unsupported_tokenizer_is_reported() -> None:
    with pytest.raises(
        ModelLoadError, match="the tokenizer of this model cannot be used for constrained text"
    ):
        constraints(wordpiece).regex("a")


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(
        MissingExtra, match=r"constrained text needs llguidance, .* 'conduit-lab\[constrained\]'"
    ):
        constraints().regex("a")
