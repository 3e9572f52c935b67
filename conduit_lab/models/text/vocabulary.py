"""Vocabulary: check that a tokenizer belongs to the model beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.models.text.tokenizer import Tokenizer

_TABLE_MULTIPLES = (8, 16, 32, 64, 128)  # embedding tables are padded to a multiple, for speed
# at most one row in this many is spare: multilingual MiniLM 35 of 250 037, mDeBERTa 899 of
# 251 000
_ROWS_PER_SPARE = 100
_NAMES = {"pad_token": ("[PAD]", "<pad>"), "cls_token": ("[CLS]",), "sep_token": ("[SEP]",)}
_NAMED = (*_NAMES, "unk_token", "bos_token", "eos_token", "mask_token")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens stated in a model's files: in `config.json` and the tokenizer's own configs.

    `rows` is the size of the graph's embedding table, or None.
    """

    where: str
    config: Mapping[str, Any]
    named: Mapping[str, Any]
    rows: int | None

    def check(self, tokenizer: Tokenizer) -> None:
        """Raise `ModelLoadError` if the tokenizer belongs to another model.

        Tokens that were added to the tokenizer but have no row in the model are dropped: their
        spelling is plain text.
        """
        sizes = (self.rows, self.config.get("vocab_size"))
        known: list[int] = [n for n in sizes if n is not None and _is_size(n)]
        if known:
            self._check_size(tokenizer, known[0], min(known))
        for reason in (*self._other_ids(tokenizer), *self._missing(tokenizer)):
            raise ModelLoadError(
                f"{self.where} {reason}: the tokenizer.json belongs to another model"
            )

    def _check_size(self, tokenizer: Tokenizer, rows: int, least: int) -> None:
        """Compare the tokenizer's ids with the model's table, which has `least` to `rows` rows."""
        own = tokenizer.backend.get_vocab(with_added_tokens=False)
        added = tokenizer.backend.get_added_tokens_decoder()
        last = max(own.values(), default=-1)
        beyond = [token for token in added if token >= least]
        inserted = {token for ids in tokenizer.added() for token in ids} | {0}
        if last >= least or inserted.intersection(beyond):
            if self.rows == least:  # a run would fail
                raise ModelLoadError(
                    f"{self.where} has a graph that does not take its tokenizer's tokens up to "
                    f"{max(last, *inserted)}: its table has {least} tokens; "
                    "the tokenizer.json belongs to another model"
                )
            self._refuse(max(last, *inserted) + 1, least)
        tokens = max([last, *(token for token in added if token < least)]) + 1
        padded = {-(-tokens // multiple) * multiple for multiple in _TABLE_MULTIPLES}
        if rows - tokens > rows // _ROWS_PER_SPARE and rows not in padded:
            self._refuse(tokens, rows)
        if beyond:
            tokenizer.drop(beyond)

    def _refuse(self, tokens: int, rows: int) -> None:
        raise ModelLoadError(
            f"{self.where} has a tokenizer of {tokens} tokens and a model of {rows}: "
            "the tokenizer.json belongs to another model"
        )

    def _other_ids(self, tokenizer: Tokenizer) -> Iterator[str]:
        """Yield the special tokens whose id in the configs differs from the tokenizer's."""
        backend = tokenizer.backend
        decoder = self.named.get("added_tokens_decoder")
        for key, value in (decoder if isinstance(decoder, dict) else {}).items():
            content = _content(value)
            known = key.isdecimal() and _is_id(int(key))
            actual = backend.id_to_token(int(key)) if known else None
            if content is None or actual is None or actual == content or not value.get("special"):
                continue
            yield (
                f"has the token {content!r} at {key} in tokenizer_config.json, "
                f"and {actual!r} in tokenizer.json"
            )
        for name, usual in _NAMES.items():
            expected = self.config.get(f"{name}_id")
            named = _content(self.named.get(name))
            found = map(backend.token_to_id, (named,) if named is not None else usual)
            ids = [token for token in found if token is not None]
            actual = backend.id_to_token(expected) if _is_id(expected) else None
            if actual is None or not ids or expected in ids:
                continue
            # a decoder may pad with its <s>, </s> or <unk>, even if its tokenizer uses another
            # token
            if not actual.startswith("<"):
                yield f"has {name}_id {expected} in config.json, and {ids[0]} in tokenizer.json"

    def _missing(self, tokenizer: Tokenizer) -> Iterator[str]:
        """Yield the configs' special tokens if the tokenizer lacks most of them."""
        names = {_content(self.named.get(name)) for name in _NAMED} - {None}
        unknown = (name for name in names if name and tokenizer.backend.token_to_id(name) is None)
        missing = sorted(unknown)
        if 2 * len(missing) > len(names):
            names_missing = ", ".join(missing)
            yield f"has no {names_missing} in tokenizer.json, which tokenizer_config.json names"


def _content(token: Any) -> str | None:
    """Return the text of a token that a config states as text or as an object."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31
