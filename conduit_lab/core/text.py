"""Short text: the first line of an error, a one-line excerpt, a bounded message."""

from __future__ import annotations

MAX_LINE_CHARACTERS = 200
MAX_TITLE_CHARACTERS = 40


def first_line(error: BaseException) -> str:
    """Return the first line of another library's message, at most 200 characters."""
    line = str(error).strip().partition("\n")[0]
    return line[:MAX_LINE_CHARACTERS] or type(error).__name__


def clip(text: str, limit: int) -> str:
    """Return `text`, truncated to `limit` characters with an ellipsis."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def first_words(text: str) -> str:
    """Return the first words of `text`, on one line of at most 40 characters."""
    return one_line(text.lstrip(), MAX_TITLE_CHARACTERS)


def one_line(text: str, width: int) -> str:
    """Return `text` on one line of at most `width` characters, with an ellipsis if truncated."""
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width and len(text) <= 4 * width else f"{line[: width - 1]}…"
