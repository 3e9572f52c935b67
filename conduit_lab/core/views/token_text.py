"""TokenText: generated text with the background of each token tinted by its probability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from conduit_lab.core.views import figures, html
from conduit_lab.core.views.pieces import TEXT_WIDTH, ViewPiece

MAX_CHARACTERS = 20_000
MAX_TOKENS = 4_000  # each tinted token is its own element
SURE = 0.99  # tokens are not tinted from this probability on

_HUE = "0,114,178"  # of charts.OKABE_ITO
_STRONGEST = 0.5
_TEXT = "font-size:14px;line-height:24px;white-space:pre-wrap;overflow-wrap:break-word"
_QUIET = "opacity:.6"
_SMALL = "font-size:12px;line-height:16px"


def tint(probability: float) -> str:
    """Return a token's background as a CSS colour, stronger for less probable ones; "" for none."""
    if not probability < SURE:  # also true for NaN
        return ""
    return f"rgba({_HUE},{_STRONGEST * (1 - max(0.0, probability)):.2f})"


@dataclass(frozen=True)
class TokenText(ViewPiece):
    """The text of tokens, each (text, probability), after a muted prompt.

    The first `common` tokens are muted too: a branch shares them with the text that it diverges
    from. Beyond `limit` characters, or 4,000 tokens, the middle is replaced by a note.
    """

    tokens: Sequence[tuple[str, float]]
    prompt: str = ""
    common: int = 0
    limit: int = MAX_CHARACTERS

    def plain(self) -> str:
        """Return the text without the prompt."""
        return "".join(text for text, _ in self.tokens)

    def html(self) -> str:
        """Return the text; the tooltip of a tinted token shows its probability."""
        prompt = _cut_text(self.prompt, self.limit)
        quiet = "".join(text for text, _ in self.tokens[: self.common])
        shown = _span(prompt) + _span(_cut_text(quiet, self.limit))
        begin, end = self._kept()
        own = self.tokens[self.common :]
        if begin < end:
            left = sum(len(text) for text, _ in own[begin:end])
            gap = f"\n… {figures.plural(left, 'character')} not shown …\n"
            shown += _tinted(own[:begin]) + _span(gap) + _tinted(own[end:])
        else:
            shown += _tinted(own)
        style = f"{html.TEXT_STYLE};{TEXT_WIDTH};{_TEXT};max-height:480px;overflow-y:auto"
        return f'<div style="{style}">{shown}</div>'

    def _kept(self) -> tuple[int, int]:
        """Return the range of own tokens to cut out; empty if all are shown."""
        own = self.tokens[self.common :]
        if len(own) <= MAX_TOKENS and sum(len(text) for text, _ in own) <= self.limit:
            return 0, 0
        begin = _fitting((text for text, _ in own), self.limit // 2)
        end = len(own) - _fitting((text for text, _ in reversed(own)), self.limit // 2)
        return begin, max(begin, end)


def _fitting(texts: Iterator[str], limit: int) -> int:
    """Return how many of the first texts fit into `limit`."""
    count = size = 0
    for text in texts:
        size += len(text)
        if size > limit or count == MAX_TOKENS // 2:
            break
        count += 1
    return count


def _tinted(tokens: Sequence[tuple[str, float]]) -> str:
    """Return tokens as escaped HTML; untinted ones are plain text."""
    return "".join(
        f'<em style="background:{ground};font-style:normal" title="p {_number(probability)}">'
        f"{escape(text)}</em>"
        if text and (ground := tint(probability))
        else escape(text)
        for text, probability in tokens
    )


def _number(probability: float) -> str:
    return f"{probability:.2f}" if probability >= 0.01 else f"{probability:.1g}"


def _span(text: str) -> str:
    return f'<span style="{_QUIET}">{escape(text)}</span>' if text else ""


def _cut_text(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    left = len(text) - limit // 2 * 2
    gap = f"\n… {figures.plural(left, 'character')} not shown …\n"
    return f"{text[: limit // 2]}{gap}{text[-(limit // 2) :]}"
