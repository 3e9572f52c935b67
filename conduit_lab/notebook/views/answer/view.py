"""AnswerView: the kernel's half of an answer's live view; the page's half is `view.js`.

Protocol: the page receives messages with `seq`, their sequence number, and some of

    {"whole": true, "question": "...", "facts": ["● running", "3 sources", ...],
     "text": "...", "numbers": [[place, "1"], ...], "notes": ["..."],
     "cards": [{"number": "1", "title": "...", "share": 0.7, "score": "0.700",
                "excerpt": [["...", marked], ...], "summary": "...",
                "passage": [["...", marked], ...], "facts": "..."}]}

`text` continues that of the last message, or starts over if the message is `whole`. `numbers`, of
sources, and `cards` replace the earlier ones; a place counts UTF-16 units, as JavaScript does. A
page that has missed a message requests a whole one. The page sends `{"replay": true}` and `{"stop":
true}`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from conduit_lab.core.views.pieces import Card, Folded, Line, Marked
from conduit_lab.flow.citation import Citation, CitationFinder
from conduit_lab.notebook.mount import sendable
from conduit_lab.notebook.views.stream.view import FACTS_SECONDS

if TYPE_CHECKING:
    from conduit_lab.flow.answer_stream import AnswerStream

MAX_ANSWER_CHARACTERS = 32_768  # per flush


class AnswerView:
    """Sends the sources of an answer once they are found, then its text and citations.

    Citations are found here, by the same rule as in the static form.
    """

    def __init__(self, stream: AnswerStream, send: Callable[[dict[str, Any]], object]) -> None:
        self.stream = stream
        self._send = send
        self._seq = 0
        self._replay_asked = threading.Event()
        self._begin()

    def opened(self) -> None:
        """Send everything again; thread-safe."""
        self._replay_asked.set()

    def receive(self, message: dict[str, Any]) -> None:
        """Handle a message from the page; thread-safe."""
        if message.get("stop"):
            self.stream.cancel()
        else:
            self._replay_asked.set()

    def flush(self) -> None:
        """Send the changes since the last flush, if any, as one message."""
        message: dict[str, Any] = {}
        if self._replay_asked.is_set() or not self._seq:
            self._replay_asked.clear()
            self._begin()
            message = {"whole": True, "question": sendable(self.stream.draft.question)}
        self._add_figures(message)
        if self.stream.draft.found is not None:
            self._add_answer(message)
        if message:
            self._send({"seq": self._seq} | message)
            self._seq += 1

    def close(self) -> None:
        """Do nothing: the view has no reader."""

    def _begin(self) -> None:
        self._text = ""  # as sent
        self._found: list[Citation] | None = None  # as sent; None before the sources
        self._finder: CitationFinder | None = None
        self._facts: list[str] = []
        self._facts_at = 0.0

    def _add_figures(self, message: dict[str, Any]) -> None:
        facts, now = self.stream.facts, monotonic()
        if now >= self._facts_at and facts != self._facts:
            message["facts"] = self._facts = facts
            self._facts_at = now + FACTS_SECONDS

    def _add_answer(self, message: dict[str, Any]) -> None:
        answer = self.stream.draft.answer
        if self._finder is None:
            self._finder = CitationFinder([source["text"] for source in answer["sources"]])
            message["notes"] = [sendable(note) for note in self.stream.notes]
        begin = len(self._text)
        if text := answer["response"][begin : begin + MAX_ANSWER_CHARACTERS]:
            self._text += text
            message["text"] = sendable(text)
        elif self._found is not None:
            return
        found = self._finder.update(self._text)
        if found == self._found:
            return
        self._found = found
        message["numbers"] = [
            [_units(self._text, cited.at[1]), str(cited.source + 1)] for cited in found
        ]
        message["cards"] = [_card(card) for card in answer.source_cards(found, ended=False)]


def _card(card: Card) -> dict[str, Any]:
    """Return a source's card in the form that the page expects."""
    shown: dict[str, Any] = {"number": card.number, "title": sendable(card.title)}
    shown |= {"share": card.share, "score": card.score}
    for piece in card.pieces:
        if isinstance(piece, Marked):
            shown["excerpt"] = _parts(piece)
        elif isinstance(piece, Folded):
            shown["summary"] = piece.summary
            for inner in piece.pieces:
                if isinstance(inner, Marked):
                    shown["passage"] = _parts(inner)
                elif isinstance(inner, Line):
                    shown["facts"] = sendable(inner.text)
    return shown


def _parts(piece: Marked) -> list[tuple[str, bool]]:
    """Return a highlighted text as parts, each with whether it is highlighted."""
    parts, at = [], 0
    for start, end in piece.spans:
        parts += [(piece.text[at:start], False), (piece.text[start:end], True)]
        at = end
    return [(sendable(part), mark) for part, mark in [*parts, (piece.text[at:], False)] if part]


def _units(text: str, place: int) -> int:
    """Convert a place to UTF-16 units."""
    return len(sendable(text[:place]).encode("utf-16-le")) // 2
