"""IncrementalDetokenizer: decode one sequence to text deltas, up to a stop sequence."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from typing import Any

_MAX_MARKS = 0x400  # the number of lone low surrogates
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenBytes:
    """The bytes that each token of a tokenizer contributes; shared by all sequences of a model.

    `backend` is a `tokenizers.Tokenizer`. Special tokens contribute none. A character may need the
    bytes of several tokens.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        decoder = backend.decoder
        kinds = _kinds(json.loads(decoder.__getstate__()) if decoder is not None else {})
        self._byte_level = kinds <= {"ByteLevel", "Fuse"} and "ByteLevel" in kinds
        self._byte_fallback = "ByteFallback" in kinds
        added = backend.get_added_tokens_decoder()
        self._special = {id: token.content for id, token in added.items() if token.special}
        self._cache: dict[int, bytes] = {}

    def visible(self, id: int) -> bool:
        """Return whether a token can contribute text: it is known and not special."""
        return id not in self._special and self._backend.id_to_token(id) is not None

    def name(self, id: int) -> str:
        """Return the spelling of a token in the vocabulary, or its id if it is not there."""
        return self._backend.id_to_token(id) or f"<{id}>"

    def special_in(self, texts: Sequence[str]) -> dict[int, str]:
        """Return the ids and spellings of the special tokens that occur in `texts`."""
        return {
            id: content
            for id, content in self._special.items()
            if any(content in text for text in texts)
        }

    def of(self, id: int, previous: int | None) -> bytes:
        """Return the bytes of a visible token after the `previous` visible one, None at the start.

        The start matters: SentencePiece decoders write a space only between two tokens.
        """
        if self._byte_level:
            if id not in self._cache:
                self._cache[id] = _byte_level_bytes(self._backend.id_to_token(id))
            return self._cache[id]
        if self._byte_fallback and (byte := _BYTE.fullmatch(self._backend.id_to_token(id))):
            value = int(byte[1], 16)
            if previous is not None or value > 0x7F:
                return value.to_bytes()
        if previous is None:
            return self._decode(id)
        before, both = self._decode(previous), self._decode(previous, id)
        return both[len(before) :] if both.startswith(before) else self._decode(id)

    def _decode(self, *ids: int) -> bytes:
        text: str = self._backend.decode(list(ids))
        return text.encode()


class IncrementalDetokenizer:
    """The text of one sequence: complete characters only, cut before the first stop sequence.

    The concatenated deltas equal the tokenizer's decoding of all tokens, up to the first complete
    stop sequence; `stopped` and `stop_sequence` are then set and later tokens add no text. Invalid
    UTF-8 becomes U+FFFD. The cost of a push does not grow with the text. Stop sequences may contain
    special tokens, which add no text themselves.
    """

    def __init__(
        self, token_bytes: Any, stop: Sequence[str] = (), *, after: int | None = None
    ) -> None:
        """Start after a prompt's last token; `token_bytes` may be a `tokenizers.Tokenizer` too."""
        self.stopped = False
        self.stop_sequence: str | None = None  # the first complete stop sequence
        self._spelled: dict[str, str] = {}  # original stop sequence by its form with marks
        self._bytes = (
            token_bytes if isinstance(token_bytes, TokenBytes) else TokenBytes(token_bytes)
        )
        self._marks: dict[int, str] = {}
        self._stops = self._with_marks(stop) if stop else ()
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._previous = after if after is not None and self._bytes.visible(after) else None
        self._held = ""  # a possible start of a stop sequence

    def _with_marks(self, stop: Sequence[str]) -> tuple[str, ...]:
        """Return the stop sequences, each also with a mark for every special token it contains.

        A mark is a lone surrogate, which never occurs in a text.
        """
        special = self._bytes.special_in(stop)
        self._marks = {
            id: chr(0xDC00 + place) for place, id in enumerate(list(special)[:_MAX_MARKS])
        }
        marks = {special[id]: mark for id, mark in self._marks.items()}
        if not marks:
            return tuple(stop)
        spelled = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))))
        marked = [spelled.sub(lambda found: marks[found[0]], each) for each in stop]
        self._spelled = dict(zip(marked, stop, strict=True))
        return tuple(dict.fromkeys([*stop, *marked]))

    def push(self, id: int) -> str:
        """Return the text delta of a token."""
        if self.stopped:
            return ""
        if not self._bytes.visible(id):
            return self._until_stop(self._marks[id]) if id in self._marks else ""
        text = self._utf8.decode(self._bytes.of(id, self._previous))
        self._previous = id
        return self._until_stop(text) if self._stops else text

    def spell(self, id: int) -> str:
        r"""Return the text that a token would add next, including bytes held back so far.

        A special token is spelled, and the bytes of an incomplete character are written `\xf0`.
        """
        if not self._bytes.visible(id):
            return self._bytes.name(id)
        held = self._utf8.getstate()[0]
        return (held + self._bytes.of(id, self._previous)).decode("utf-8", "backslashreplace")

    def flush(self) -> str:
        """Return the remaining held-back text at the end; U+FFFD for an incomplete character."""
        if self.stopped:
            return ""
        text = self._until_stop(self._utf8.decode(b"", final=True))
        if not self.stopped:
            text += self._without_marks(self._held)
        self._held = ""
        return text

    def _until_stop(self, text: str) -> str:
        """Return the text that cannot belong to a stop sequence, and hold back the rest."""
        if not text:
            return ""
        held = self._held + text
        found = [
            (begin + len(stop), begin, stop)
            for stop in self._stops
            if (begin := held.find(stop)) >= 0
        ]
        if found:
            _, begin, stop = min(found)
            self.stopped = True
            self.stop_sequence = self._spelled.get(stop, stop)
            self._held = ""
            return self._without_marks(held[:begin])
        keep = min((_partial_stop(held, stop) for stop in self._stops), default=len(held))
        self._held = held[keep:]
        return self._without_marks(held[:keep])

    def _without_marks(self, text: str) -> str:
        for mark in self._marks.values():
            text = text.replace(mark, "")
        return text


def _partial_stop(text: str, stop: str) -> int:
    """Return the index from which the end of `text` is a prefix of `stop`, else its length."""
    at = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while at >= 0 and not stop.startswith(text[at:]):
        at = text.find(stop[0], at + 1)
    return at if at >= 0 else len(text)


def _kinds(decoder: dict[str, Any]) -> set[str]:
    """Return the types of a decoder and of the decoders nested in it."""
    inner = decoder.get("decoders")
    return {str(decoder.get("type"))} if inner is None else set().union(*map(_kinds, inner))


def _byte_alphabet() -> dict[str, int]:
    """Return the byte for each character of byte-level BPE.

    Printable Latin-1 characters stand for themselves, the other bytes for the characters from
    U+0100 on, in order (Radford et al. 2019, GPT-2).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + place): byte for place, byte in enumerate(others)
    }


_BYTES = _byte_alphabet()


def _byte_level_bytes(token: str) -> bytes:
    """Return the bytes of a byte-level token; tokens added to the vocabulary are plain text."""
    try:
        return bytes(_BYTES[character] for character in token)
    except KeyError:
        return token.encode()
