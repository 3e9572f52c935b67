"""Constraint: tokens restricted to a list of choices, a regular expression or a JSON schema.

Grammars are compiled by llguidance. Compared with outlines-core (both are Rust, MIT and Apache-2.0,
without dependencies; versions 1.9 and 0.2.14, 32,000 tokens) it compiles a small schema in 6 ms
instead of 240 ms, since it computes the token mask of a state on demand; it limits the cost of a
grammar, so a hostile schema cannot block a server; it reads a `tokenizer.json` directly, and one
wheel supports all Python versions from 3.10.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from conduit_lab.core.errors import InputError, MissingExtra, ModelLoadError
from conduit_lab.models.generation.json_schema import check_json_schema, narrow_bounds

# Limits of a request. With these and the limits below, the worst known grammar takes 0.4 s.
_MAX_CHOICES = 1_000
_MAX_GRAMMAR_CHARACTERS = 50_000  # of a pattern, of a schema as JSON, of all choices
# llguidance's defaults are for trusted grammars: some patterns took 1.4 s per step.
_PARSER_LIMITS = {
    "initial_lexer_fuel": 100_000,
    "step_lexer_fuel": 100_000,
    "step_max_items": 50_000,
    "max_lexer_states": 50_000,
    "max_grammar_size": 100_000,
    "verbose_errors": False,
}
# JSON allows any amount of whitespace, which small models generate endlessly: at most one space.
_JSON_OPTIONS = {"whitespace_pattern": " ?", "whitespace_flexible": False, "lenient": False}


class GrammarCompiler:
    """Compiles constraints for one model; loads its tokenizer for the first one, in 0.1 to 1 s.

    `tokenizer` is the content of a `tokenizer.json`, `vocabulary` the width of the logits, `eos`
    the end-of-sequence tokens. For a model without such tokens, a constrained sequence ends with a
    special token, or as soon as no token may follow. Thread-safe.
    """

    def __init__(self, tokenizer: str, vocabulary: int, eos: Sequence[int]) -> None:
        self._source = tokenizer
        self._vocabulary = vocabulary
        self._eos = [token for token in eos if token < vocabulary]
        self._width = vocabulary  # of the library's masks
        self._tokenizer: Any = None
        self._lock = threading.Lock()  # guards the tokenizer, end tokens and width

    def choices(self, choices: Sequence[str]) -> Constraint:
        """Return a constraint that allows one of `choices`."""
        if (
            isinstance(choices, str)
            or not isinstance(choices, Sequence)
            or not all(isinstance(choice, str) for choice in choices)
        ):
            raise InputError("choices expects a list of strings")
        if not 0 < len(choices) <= _MAX_CHOICES or not all(choices):
            raise InputError(
                f"choices expects 1 to {_MAX_CHOICES} strings, none of them empty, "
                f"got {len(choices)}"
            )
        _check_text("choices", "".join(choices))
        pattern = "|".join(
            "".join(f"\\x{{{ord(character):x}}}" for character in choice) for choice in choices
        )
        return self._compile("choices", self._library().LLMatcher.grammar_from_regex(pattern))

    def regex(self, pattern: str) -> Constraint:
        """Return a constraint that allows full matches of a pattern.

        The syntax is that of Rust's regex crate, without backreferences and look-around. Raises
        `InputError` for an invalid or too costly pattern.
        """
        if not isinstance(pattern, str) or not pattern:
            raise InputError("regex expects a pattern, a non-empty string")
        _check_text("regex", pattern)
        return self._compile("regex", self._library().LLMatcher.grammar_from_regex(pattern))

    def json_schema(self, schema: Mapping[str, Any] | str) -> Constraint:
        """Return a constraint that allows JSON matching a schema, with properties in schema order.

        Raises `InputError` for a schema that is invalid, too costly, or has unsupported keywords.
        """
        try:
            source = schema if isinstance(schema, str) else json.dumps(schema, allow_nan=False)
            parsed = json.loads(source)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"json_schema is not JSON: {str(error)[:200]}") from error
        if not isinstance(parsed, dict):
            raise InputError(f"json_schema expects an object, got {type(parsed).__name__}")
        parsed.pop("x-guidance", None)  # would override the library's options set here
        text = json.dumps(narrow_bounds(parsed))
        _check_text("json_schema", text)
        check_json_schema(parsed)
        matcher = self._library().LLMatcher
        try:
            grammar = matcher.grammar_from_json_schema(text, overrides=_JSON_OPTIONS)
        except ValueError as error:
            raise InputError(f"json_schema cannot be used: {str(error)[:300]}") from error
        return self._compile("json_schema", grammar)

    def _compile(self, kind: str, grammar: str) -> Constraint:
        library = self._library()
        limits = library.LLParserLimits(**_PARSER_LIMITS)
        matcher = library.LLMatcher(self._tokenizer, grammar, log_level=0, limits=limits)
        constraint = Constraint(matcher, self._vocabulary, self._eos, self._width)
        constraint.allowed()  # a grammar that is too costly fails by its first step
        if constraint.error:
            raise InputError(f"{kind} cannot be used: {constraint.error}")
        return constraint

    def _library(self) -> Any:
        """Return llguidance, with the tokenizer loaded."""
        try:
            import llguidance
        except ImportError as error:
            raise MissingExtra("llguidance", "constrained", "constrained text") from error
        with self._lock:
            if self._tokenizer is None:
                try:
                    source, self._eos = _with_end(self._source, self._vocabulary, self._eos)
                    self._width = max(self._vocabulary, *(token + 1 for token in self._eos))
                    self._tokenizer = llguidance.LLTokenizer(
                        source, n_vocab=self._width, eos_token=self._eos
                    )
                except ValueError as error:
                    raise ModelLoadError(
                        "the tokenizer of this model cannot be used for constrained text: "
                        f"{str(error)[:300]}"
                    ) from error
        return llguidance


class Constraint:
    """The constraint of one sequence: its allowed tokens, and whether it is complete.

    `complete` means that only an end token may follow. `error` is the reason why a constraint
    cannot be continued, which may occur midway for a costly one; from then on only an end token is
    allowed.
    """

    def __init__(self, matcher: Any, vocabulary: int, eos: Sequence[int], width: int) -> None:
        self._matcher = matcher
        self._mask = np.zeros(-(-width // 32), np.int32)
        self._vocabulary = vocabulary
        self._width = width
        self._eos = list(eos)
        self.error = ""

    def copy(self) -> Constraint:
        """Return an independent copy in the same state."""
        return Constraint(self._matcher.deep_copy(), self._vocabulary, self._eos, self._width)

    @property
    def complete(self) -> bool:
        """Whether the sequence matches and cannot continue."""
        return bool(self.error) or bool(self._matcher.is_stopped())

    @property
    def accepting(self) -> bool:
        """Whether the sequence matches as it is; it may still continue."""
        return not self.error and bool(self._matcher.is_accepting())

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Return bool `[vocabulary]`, true for each allowed token; at least one is true."""
        if not self._failed() and not self._matcher.is_stopped():
            self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
            bits = np.unpackbits(
                self._mask.view(np.uint8), count=self._vocabulary, bitorder="little"
            )
            allowed: npt.NDArray[np.bool_] = bits == 1
            if not self._failed():
                if allowed.any():
                    return allowed
                self.error = "no token of this model is allowed"
        ends = np.zeros(self._vocabulary, np.bool_)
        # if no end token has logits, any token will do: it is the last
        ends[[token for token in self._eos if token < self._vocabulary] or 0] = True
        return ends

    def accept(self, token: int) -> None:
        """Advance by the chosen token."""
        if not self._failed() and not self._matcher.is_stopped():
            self._matcher.consume_token(token)
            self._failed()

    def _failed(self) -> bool:
        if self._matcher.is_error():
            reason = self._matcher.get_error().partition("\n<")[0][:300]
            self.error = reason or "the grammar failed"
        return bool(self.error)


def _check_text(kind: str, text: str) -> None:
    if len(text) > _MAX_GRAMMAR_CHARACTERS:
        raise InputError(
            f"{kind} expects at most {_MAX_GRAMMAR_CHARACTERS} characters, got {len(text)}"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{kind} cannot be used: {text[error.start]!r} is not a valid character"
        ) from error


def _with_end(tokenizer: str, vocabulary: int, eos: Sequence[int]) -> tuple[str, list[int]]:
    """Return a `tokenizer.json` without tokens that have no logits, and the ids of its end tokens.

    If `eos` is empty, the end token is a special token, which no constraint allows as text, or a
    token added for this purpose.
    """
    content = json.loads(tokenizer)
    added = content.get("added_tokens") or []
    kept = [token for token in added if token["id"] < vocabulary]
    ends = list(eos) or [token["id"] for token in kept if token.get("special")][:1]
    if not ends:
        ends = [1 + max([*_model_ids(content["model"]["vocab"]), *(each["id"] for each in kept)])]
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        end = {"id": ends[0], "content": "<|end of constrained text|>", "special": True, **flags}
        kept = [*kept, end]
    if kept == added:
        return tokenizer, ends
    content["added_tokens"] = kept
    return json.dumps(content), ends


def _model_ids(vocabulary: Any) -> Iterable[int]:
    return vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
