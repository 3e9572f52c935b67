"""PDF: the text of each page, and indications that it differs from the visible text."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

from conduit_lab.core.errors import InputError, MissingExtra
from conduit_lab.core.forking import hold_at_fork
from conduit_lab.core.text import first_line
from conduit_lab.core.views import figures

# Languages with spaces have few longer words; a clause that lost its spaces is longer.
MAX_WORD_LETTERS = 30
MAX_LONG_WORD_SHARE = 0.2  # of a text's letters; beyond it, the text has lost its spaces
MAX_UNKNOWN_SHARE = 0.05  # of a text's characters; beyond it, the text is broken

_lock = threading.Lock()  # pdfium is not thread-safe, even for separate documents
hold_at_fork(_lock)

_ALL = (-1e6, -1e6, 1e6, 1e6)  # points; includes text that crosses the edge of its page
# pdfium's mark for a word that is hyphenated at the end of a line.
_HYPHEN = re.compile("(?<=[^\\W\\d_])[\x02\ufffe](?=[^\\W\\d_])")
_LIGATURES = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
_NOTHING = re.compile(r"[\ue000-\uf8ff\ufffd\x01-\x08\x0e-\x1f]|\(cid:\d+\)")
_LETTERS = re.compile(r"[^\W\d_]+")
# Scripts without spaces between words: Thai to Myanmar, Khmer, Chinese, Japanese and Korean.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]"
)


class Pages(NamedTuple):
    """The text of each page, the title, and a problem with the text, or ""."""

    texts: list[str]
    title: str
    problem: str


def read_pages(source: str, data: bytes) -> Pages:
    """Read a PDF.

    Raises `InputError` naming `source` for a broken or encrypted file, and `MissingExtra` without
    pypdfium2.
    """
    try:
        import pypdfium2
    except ImportError:
        raise MissingExtra("pypdfium2", "documents", f"reading {source}") from None
    texts, scanned = [], []
    with _lock:
        try:
            with closing(pypdfium2.PdfDocument(data)) as document:
                title = document.get_metadata_value("Title")
                for number in range(len(document)):
                    with closing(document[number]) as page:
                        text = _text(page)
                        if not text.strip() and _has_image(page):
                            scanned.append(number + 1)
                    texts.append(text)
        except Exception as error:  # a broken file raises anything, even UnicodeDecodeError
            if getattr(error, "err_code", None) == pypdfium2.raw.FPDF_ERR_PASSWORD:
                raise InputError(f"{source} needs a password: save it without one") from None
            raise InputError(
                f"{source} is not a readable PDF: {type(error).__name__}: {first_line(error)}"
            ) from error
    return Pages(texts, clean(title).strip(), find_problem(texts, scanned))


def clean(text: str) -> str:
    """Return text with ligatures replaced by letters, and without NUL and lone surrogates.

    Words hyphenated at a line end are joined.
    """
    text = _HYPHEN.sub("", text.replace("\r\n", "\n").replace("\0", "").translate(_LIGATURES))
    text = text.replace("\x02", "-").replace("\ufffe", "-").replace("\r", " ")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def find_problem(texts: Sequence[str], scanned: Sequence[int] = ()) -> str:
    """Return a problem with a PDF's text and the next step, or "".

    `scanned` are the pages with images and no text.
    """
    text = "\n".join(texts)
    if not text.strip():
        return "has no text: scanned pages need text recognition first"
    problems = []
    if scanned:
        named = ", ".join(map(str, scanned[:10])) + (", …" if len(scanned) > 10 else "")
        problems.append(
            f"has {figures.plural(len(scanned), 'page')} with images and no text ({named}): "
            "scanned pages need text recognition first"
        )
    unknown = sum(len(found[0]) for found in _NOTHING.finditer(text))
    if unknown > MAX_UNKNOWN_SHARE * len("".join(text.split())):
        problems.append(
            f"has {figures.plural(unknown, 'character')} that its fonts do not map to Unicode: "
            "the text is broken; save it from its source again, or use text recognition"
        )
    words = [word for word in _LETTERS.findall(text) if not _UNSPACED.search(word)]
    long = sum(len(word) for word in words if len(word) > MAX_WORD_LETTERS)
    if long > max(100, MAX_LONG_WORD_SHARE * sum(map(len, words))):
        problems.append(
            "has words without spaces between them: "
            "the text is broken; save it from its source again, or use text recognition"
        )
    return "; ".join(problems)


def _text(page: Any) -> str:
    with closing(page.get_textpage()) as text:
        return clean(text.get_text_bounded(*_ALL))


def _has_image(page: Any) -> bool:
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    return any(True for _ in page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE]))
