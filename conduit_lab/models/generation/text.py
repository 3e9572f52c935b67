"""Text: the tokens of one generated text, one after another, to the text that each adds."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from typing import Any

_MAX_MARKS = 0x400  # lone low surrogates that there are
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Pieces:
    """The bytes that each token of a tokenizer adds to a text; one serves all texts of a model.

    `backend` is a `tokenizers.Tokenizer`. Special tokens add nothing. A character may need the
    bytes of several tokens.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        kinds = _kinds(
            json.loads(backend.decoder.__getstate__()) if backend.decoder is not None else {}
        )
        self._byte_level = kinds <= {"ByteLevel", "Fuse"} and "ByteLevel" in kinds
        self._byte_fallback = "ByteFallback" in kinds
        added = backend.get_added_tokens_decoder()
        self._special = {id: token.content for id, token in added.items() if token.special}
        self._known: dict[int, bytes] = {}

    def visible(self, id: int) -> bool:
        """Return whether a token can add to a text: it is known and not special."""
        return id not in self._special and self._backend.id_to_token(id) is not None

    def special_in(self, texts: Sequence[str]) -> dict[int, str]:
        """Return the special tokens that some texts spell, each with its spelling."""
        return {
            id: content
            for id, content in self._special.items()
            if any(content in text for text in texts)
        }

    def of(self, id: int, previous: int | None) -> bytes:
        """Return the bytes that a visible token adds after the `previous` visible one, None for the first of a text."""
        if self._byte_level:
            if id not in self._known:
                self._known[id] = _unwritten(self._backend.id_to_token(id))
            return self._known[id]
        if self._byte_fallback and (byte := _BYTE.fullmatch(self._backend.id_to_token(id))):
            value = int(byte[1], 16)
            if previous is not None or value > 0x7F:
                return value.to_bytes()
        # What decoders do depends on where a token stands: a space is only written between two of
        # them.
        if previous is None:
            return self._decoded(id)
        before, both = self._decoded(previous), self._decoded(previous, id)
        return both[len(before) :] if both.startswith(before) else self._decoded(id)

    def _decoded(self, *ids: int) -> bytes:
        text: str = self._backend.decode(list(ids))
        return text.encode()


class Text:
    """One text as it grows: whole characters only, and without the stop string that ends it.

    What the pushes return and at last the flush is, joined, what the tokenizer decodes from all
    tokens, up to the stop string that is complete first. `stopped` says that one was found; then
    nothing more is added. Bytes that are no UTF-8 become U+FFFD. The cost of a push does not grow
    with the text.

    A stop string may spell special tokens, which add nothing to the text themselves.
    """

    def __init__(self, pieces: Any, stop: Sequence[str] = (), *, after: int | None = None) -> None:
        """Begin a text after a token; `pieces` may be a `tokenizers.Tokenizer` too."""
        self.stopped = False
        self._pieces = pieces if isinstance(pieces, Pieces) else Pieces(pieces)
        self._marks: dict[int, str] = {}
        self._stops = self._marked(stop) if stop else ()
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._previous = after if after is not None and self._pieces.visible(after) else None
        self._held = ""  # may be the begin of a stop string

    def _marked(self, stop: Sequence[str]) -> tuple[str, ...]:
        """Return the stop strings, and again with a mark for each special token that they spell.

        A mark is a lone surrogate, which no text has.
        """
        special = self._pieces.special_in(stop)
        self._marks = {
            id: chr(0xDC00 + place) for place, id in enumerate(list(special)[:_MAX_MARKS])
        }
        marks = {special[id]: mark for id, mark in self._marks.items()}
        if not marks:
            return tuple(stop)
        spelled = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))))
        return tuple(
            dict.fromkeys(
                [*stop, *(spelled.sub(lambda found: marks[found[0]], each) for each in stop)]
            )
        )

    def push(self, id: int) -> str:
        """Return the text that can be told now that this token has come."""
        if self.stopped:
            return ""
        if not self._pieces.visible(id):
            return self._until_stop(self._marks[id]) if id in self._marks else ""
        text = self._utf8.decode(self._pieces.of(id, self._previous))
        self._previous = id
        return self._until_stop(text) if self._stops else text

    def flush(self) -> str:
        """Return the text that was held back, at the end; of an unfinished character U+FFFD."""
        if self.stopped:
            return ""
        text = self._until_stop(self._utf8.decode(b"", final=True))
        if not self.stopped:
            text += self._unmarked(self._held)
        self._held = ""
        return text

    def _until_stop(self, text: str) -> str:
        """Return what of the text held back and this one is no part of a stop string, and hold back the rest."""
        if not text:
            return ""
        held = self._held + text
        found = [
            (begin + len(stop), begin) for stop in self._stops if (begin := held.find(stop)) >= 0
        ]
        if found:
            self.stopped = True
            self._held = ""
            return self._unmarked(held[: min(found)[1]])
        keep = min((_begin(held, stop) for stop in self._stops), default=len(held))
        self._held = held[keep:]
        return self._unmarked(held[:keep])

    def _unmarked(self, text: str) -> str:
        for mark in self._marks.values():
            text = text.replace(mark, "")
        return text


def _begin(text: str, stop: str) -> int:
    """Return where the end of a text begins that is also the begin of a stop string; its length where nothing is."""
    at = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while at >= 0 and not stop.startswith(text[at:]):
        at = text.find(stop[0], at + 1)
    return at if at >= 0 else len(text)


def _kinds(decoder: dict[str, Any]) -> set[str]:
    """Return the types of a decoder and of those in it."""
    inner = decoder.get("decoders")
    return {str(decoder.get("type"))} if inner is None else set().union(*map(_kinds, inner))


def _alphabet() -> dict[str, int]:
    """Return the bytes by the characters that byte-level BPE writes them as.

    Printable Latin-1 characters stand for themselves, the other bytes for those from U+0100 on, in
    order (Radford et al. 2019, GPT-2).
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(0x100 + place): byte for place, byte in enumerate(others)
    }


_BYTES = _alphabet()


def _unwritten(token: str) -> bytes:
    """Return the bytes of a byte-level token; one that was added to the vocabulary is text as it is."""
    try:
        return bytes(_BYTES[character] for character in token)
    except KeyError:
        return token.encode()
