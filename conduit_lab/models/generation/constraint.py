"""Constraint: text that keeps to a list of choices, a regular expression or a JSON schema, token by
token.

The grammars are llguidance's. Beside outlines-core (both are Rust, MIT and Apache-2.0, without
dependencies; versions
1.9 and 0.2.14, 32,000 tokens) it makes a small schema ready in 6 ms and not in 240 ms, since it
computes the allowed tokens of a state when the text is there and no table of all states before; it
counts what that costs and stops, so that a hostile schema cannot hold a server up; it reads a
`tokenizer.json` as it is, and one wheel serves every Python from 3.10 on.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from conduit_lab.core.errors import InputError, MissingExtra, ModelLoadError

# What a request may ask for. With the limits below, the worst that was found takes 0.4 s.
MAX_CHOICES = 1_000
MAX_CHARACTERS = 50_000  # of a pattern, of a schema as JSON, of all choices
MAX_DIVISOR = (
    10_000  # of all multipleOf together; each remainder is a state, which no other limit counts
)
# patterns that one text of a schema must match together; 20 took 1.6 s, 40 more than a minute
MAX_MEETING = 6
# llguidance's own limits are for grammars that one trusts: some patterns took 1.4 s for a step.
_LIMITS = {
    "initial_lexer_fuel": 100_000,
    "step_lexer_fuel": 100_000,
    "step_max_items": 50_000,
    "max_lexer_states": 50_000,
    "max_grammar_size": 100_000,
    "verbose_errors": False,
}
_VALUES = ("const", "enum", "default", "examples")  # keywords whose values are no schemas
_NAMED = (
    "properties",
    "patternProperties",
    "dependentSchemas",
    "$defs",
    "definitions",
)  # of schemas by name
_NARROWING = 1e-9  # how far a bound is moved, and that per unit of a large one
_RELATIVE_NARROWING = 1e-14
_MAX_NARROWED = 1e13  # beyond it, whole numbers themselves are that near to each other
# One space at most where JSON allows any: small models otherwise go on with white space without
# end.
_JSON = {"whitespace_pattern": " ?", "whitespace_flexible": False, "lenient": False}


class Constraints:
    """What makes constraints for the texts of one model; its tokenizer is read at the first one, in
    0.1 to 1 s.

    `tokenizer` is the content of a `tokenizer.json`, `vocabulary` the width of the logits, `eos`
    the tokens that end a text. A model without any ends a constrained text by one of its special
    tokens, or where nothing may follow.
    """

    def __init__(self, tokenizer: str, vocabulary: int, eos: Sequence[int]) -> None:
        self._source = tokenizer
        self._vocabulary = vocabulary
        self._eos = [token for token in eos if token < vocabulary]
        self._width = vocabulary  # of the library's masks
        self._tokenizer: Any = None
        self._reading = threading.Lock()

    def choices(self, choices: Sequence[str]) -> Constraint:
        """Return a constraint to one of some texts; `InputError` where there is none."""
        if (
            isinstance(choices, str)
            or not isinstance(choices, Sequence)
            or not all(isinstance(c, str) for c in choices)
        ):
            raise InputError("choices wants a list of texts")
        if not 0 < len(choices) <= MAX_CHOICES or not all(choices):
            raise InputError(
                f"choices has {len(choices)} texts: wanted 1 to {MAX_CHOICES}, none of them empty"
            )
        _check("choices", "".join(choices))
        pattern = "|".join(
            "".join(f"\\x{{{ord(character):x}}}" for character in choice) for choice in choices
        )
        return self._constraint("choices", self._library().LLMatcher.grammar_from_regex(pattern))

    def regex(self, pattern: str) -> Constraint:
        """Return a constraint to what a pattern matches from begin to end.

        The syntax is that of Rust's regex crate: no back references, no looking around. Raises
        `InputError` for a pattern that is wrong or too costly.
        """
        if not isinstance(pattern, str) or not pattern:
            raise InputError("regex wants a pattern, a text that is not empty")
        _check("regex", pattern)
        return self._constraint("regex", self._library().LLMatcher.grammar_from_regex(pattern))

    def json_schema(self, schema: Mapping[str, Any] | str) -> Constraint:
        """Return a constraint to the JSON that a schema describes, properties in the schema's
        order.

        Raises `InputError` for a schema that is wrong, too costly, or has keywords that cannot be
        kept to.
        """
        try:
            plain = (
                json.loads(schema)
                if isinstance(schema, str)
                else json.loads(json.dumps(schema, allow_nan=False))
            )
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"json_schema is not JSON: {str(error)[:200]}") from error
        if not isinstance(plain, dict):
            raise InputError(f"json_schema is a {type(plain).__name__}: wanted an object")
        plain.pop(
            "x-guidance", None
        )  # the library's own options, among them those that are set here
        divisor = math.prod(map(_divisor, _multiples(plain)))
        if divisor > MAX_DIVISOR:
            raise InputError(
                f"json_schema has multipleOf of {divisor:g} in all: wanted at most {MAX_DIVISOR}"
            )
        text = json.dumps(_narrowed(plain))
        _check("json_schema", text)
        if _meeting(plain, plain, {}) > MAX_MEETING:
            raise InputError(
                f"json_schema wants a text that matches more than {MAX_MEETING} patterns at once"
            )
        try:
            grammar = self._library().LLMatcher.grammar_from_json_schema(text, overrides=_JSON)
        except ValueError as error:
            raise InputError(f"json_schema cannot be used: {str(error)[:300]}") from error
        return self._constraint("json_schema", grammar)

    def _constraint(self, kind: str, grammar: str) -> Constraint:
        library = self._library()
        limits = library.LLParserLimits(**_LIMITS)
        matcher = library.LLMatcher(self._tokenizer, grammar, log_level=0, limits=limits)
        constraint = Constraint(matcher, self._vocabulary, self._eos, self._width)
        constraint.allowed()  # what is too costly shows at the first step, if not before
        if constraint.error:
            raise InputError(f"{kind} cannot be used: {constraint.error}")
        return constraint

    def _library(self) -> Any:
        try:
            import llguidance
        except ImportError as error:
            raise MissingExtra("llguidance", "constrained", "constrained text") from error
        with self._reading:
            if self._tokenizer is None:
                try:
                    source, self._eos = _with_end(self._source, self._vocabulary, self._eos)
                    self._width = max(self._vocabulary, *(token + 1 for token in self._eos))
                    self._tokenizer = llguidance.LLTokenizer(
                        source, n_vocab=self._width, eos_token=self._eos
                    )
                except ValueError as error:
                    raise ModelLoadError(
                        f"the tokenizer of this model cannot be used for constrained text: {str(error)[:300]}"
                    ) from error
        return llguidance


class Constraint:
    """What one text must keep to: which tokens may come next, and whether it is complete.

    `complete` says that nothing but an end may follow. `error` tells why a constraint cannot be
    kept to any longer, which a costly one may come to in the middle; from then on only an end is
    allowed. One constraint serves one text.
    """

    def __init__(self, matcher: Any, vocabulary: int, eos: Sequence[int], width: int) -> None:
        self._matcher = matcher
        self._bits = np.zeros(-(-width // 32), np.int32)
        self._vocabulary = vocabulary
        self._width = width
        self._eos = list(eos)
        self.error = ""

    def copy(self) -> Constraint:
        """Return the same for another text, from where this one is."""
        return Constraint(self._matcher.deep_copy(), self._vocabulary, self._eos, self._width)

    @property
    def complete(self) -> bool:
        """Whether the text matches and cannot go on."""
        return bool(self.error) or bool(self._matcher.is_stopped())

    @property
    def accepting(self) -> bool:
        """Whether the text matches as it is; it may be able to go on."""
        return not self.error and bool(self._matcher.is_accepting())

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Return bool `[vocabulary]`, true for a token that may come next; at least one is."""
        if not self._failed() and not self._matcher.is_stopped():
            self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
            bytes_of_bits = self._bits.view(np.uint8)
            allowed: npt.NDArray[np.bool_] = (
                np.unpackbits(bytes_of_bits, count=self._vocabulary, bitorder="little") == 1
            )
            if not self._failed():
                if allowed.any():
                    return allowed
                self.error = "no token of this model can go on"
        ended = np.zeros(self._vocabulary, np.bool_)
        ended[[token for token in self._eos if token < self._vocabulary] or 0] = (
            True  # any: it is the last
        )
        return ended

    def take(self, token: int) -> None:
        """Go on by the token that was chosen."""
        if not self._failed() and not self._matcher.is_stopped():
            self._matcher.consume_token(token)
            self._failed()

    def _failed(self) -> bool:
        if self._matcher.is_error():
            self.error = (
                self._matcher.get_error().partition("\n<")[0][:300] or "it cannot be kept to"
            )
        return bool(self.error)


def _check(kind: str, text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{kind} has {len(text)} characters: wanted at most {MAX_CHARACTERS}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{kind} cannot be used: {text[error.start]!r} is no character of a text"
        ) from error


def _narrowed(schema: Any) -> Any:
    """Return a schema with whole exclusive bounds moved inwards, off the whole number.

    llguidance 1.9.1 writes a whole number that is an exclusive bound where the other bound has the
    same whole part, as 0 for {"exclusiveMinimum": 0, "maximum": 0.5}. It keeps to bounds that are
    no whole numbers.
    """
    if isinstance(schema, list):
        return [_narrowed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: value if key in _VALUES else _narrowed(value) for key, value in schema.items()}
    for key in _NAMED:
        if isinstance(schema.get(key), dict):
            made[key] = {name: _narrowed(inner) for name, inner in schema[key].items()}
    for key, inward in (("exclusiveMinimum", 1), ("exclusiveMaximum", -1)):
        bound = made.get(key)
        if not isinstance(bound, int | float) or isinstance(bound, bool):
            continue
        if abs(bound) <= _MAX_NARROWED and bound == int(bound):
            made[key] = bound + inward * max(_NARROWING, abs(bound) * _RELATIVE_NARROWING)
    return made


def _with_end(tokenizer: str, vocabulary: int, eos: Sequence[int]) -> tuple[str, list[int]]:
    """Return a `tokenizer.json` without tokens that have no logits, and the ids that end a text.

    Where `eos` is empty that is a special token, for no constraint allows those as text, or one of
    its own.
    """
    content = json.loads(tokenizer)
    added = content.get("added_tokens") or []
    kept = [token for token in added if token["id"] < vocabulary]
    ends = list(eos) or [token["id"] for token in kept if token.get("special")][:1]
    if not ends:
        ends = [1 + max([*_ids(content["model"]["vocab"]), *(token["id"] for token in kept)])]
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        kept = [
            *kept,
            {"id": ends[0], "content": "<|end of constrained text|>", "special": True, **flags},
        ]
    if kept == added:
        return tokenizer, ends
    content["added_tokens"] = kept
    return json.dumps(content), ends


def _ids(vocabulary: Any) -> Iterable[int]:
    return vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))


def _multiples(schema: Any) -> Iterator[float]:
    """Yield every multipleOf of a schema."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "multipleOf" and isinstance(value, int | float):
                yield value
            else:
                yield from _multiples(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _multiples(value)


def _divisor(multiple: float) -> float:
    """Return a multipleOf as the whole number that its digits are: 0.25 is 25."""
    digits = f"{abs(multiple):.15g}".partition("e")[0].replace(".", "").strip("0")
    return float(max(abs(multiple), int(digits or 1)))


def _meeting(schema: Any, root: Mapping[str, Any], known: dict[str, int]) -> int:
    """Return how many patterns, formats and lengths may be asked of one and the same text, at most.

    `known` are those of the references that were followed.
    """
    if isinstance(schema, list):
        return max((_meeting(each, root, known) for each in schema), default=0)
    if not isinstance(schema, dict):
        return 0
    if schema is not root and isinstance(schema.get("$id"), str):
        raise InputError(
            "json_schema has an $id inside: wanted one schema whose references are all to itself"
        )
    here = sum(key in schema for key in ("pattern", "format", "minLength", "maxLength"))
    together = schema.get("allOf")
    if isinstance(together, list):
        here += sum(_meeting(each, root, known) for each in together)
    here += sum(_meeting(schema.get(key), root, known) for key in ("anyOf", "oneOf"))
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference not in known:
            known[reference] = 0  # one that leads back to itself adds nothing
            known[reference] = _meeting(_referred(reference, root), root, known)
        here += known[reference]
    apart = (
        value
        for key, value in schema.items()
        if key not in ("allOf", "anyOf", "oneOf", "enum", "const")
    )
    return max(here, max((_meeting(value, root, known) for value in apart), default=0))


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    """Return the part of a schema that a reference names; what cannot be found here cannot be counted."""
    part: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(part, list) and name.isdecimal() and len(name) < 6:
            part = dict(enumerate(part)).get(int(name))
        else:
            part = part.get(name) if isinstance(part, dict) else None
    if (
        not reference.startswith("#")
        or not isinstance(part, dict | bool)
        or (part is root and reference != "#")
    ):
        raise InputError(
            f"json_schema refers to {reference[:100]!r}: wanted a part of itself, such as '#/$defs/name'"
        )
    return part
