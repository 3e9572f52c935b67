"""The box above an error's traceback: its message, the fix to copy, and folded hidden frames."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator, Sequence
from html import escape
from io import StringIO
from linecache import getlines
from pathlib import Path
from textwrap import dedent
from traceback import FrameSummary

from conduit_lab.core.errors import ConduitError
from conduit_lab.core.nearest import nearest
from conduit_lab.core.syntax import parse_expression
from conduit_lab.core.text import clip
from conduit_lab.core.views import figures, html

_MAX_CHARACTERS = 2000
_MONO = "font-family:monospace;font-size:13px"
_CODE_LINE = (
    f"{_MONO};line-height:20px;margin:4px 0;padding:4px 8px;white-space:pre-wrap;"
    "background:rgba(128,128,128,.12);border-radius:4px;user-select:all"
)
_FRAMES = (
    f"{_MONO};line-height:20px;margin:4px 0;white-space:pre;"
    "overflow:auto;max-height:320px;background:none"
)
_CALL = re.compile(r"[A-Za-z_][\w.]*\(")
_PLAIN_CODE = re.compile(
    r"pip install (?:'[^']+'|[\w\[\]-]+)|(?<![\w.])[a-z_]\w*=(?:'[^']*'|\"[^\"]*\"|[\w.]+\w|\w)"
)
_PROPOSED = re.compile(r"Did you mean '([^'\n]+)'\?$")
_NAMES = (tokenize.NAME, tokenize.STRING)
_PACKAGE = Path(html.__file__).parents[3]


def error_bundle(
    error: ConduitError, users: FrameSummary, hidden: Sequence[FrameSummary]
) -> dict[str, str]:
    """Return the MIME bundle of an error's box; `users` is the user's frame that raised it."""
    kind = type(error).__name__
    sentence = clip(str(error), _MAX_CHARACTERS)
    stated, fix = split_fix(sentence)
    fix = fix or respelled(sentence, users)
    head = html.header("✕", kind)
    wrapped = "max-width:720px;overflow-wrap:anywhere"
    body = f'<div style="{html.TEXT_STYLE};{wrapped}">{_with_code(stated)}</div>'
    copied = f'<pre style="{_CODE_LINE};max-width:704px">{escape(fix)}</pre>' if fix else ""
    count = figures.plural(len(hidden), "hidden frame")
    folded = (
        f'<details style="{html.TEXT_STYLE}"><summary style="opacity:.7">{count} of conduit_lab '
        f'and its libraries</summary><pre style="{_FRAMES}">{escape(_listed(hidden))}</pre>'
        "</details>"
    )
    return html.bundle(f"{kind}: {sentence}", f"{head}{body}{copied}{folded}")


def split_fix(sentence: str) -> tuple[str, str]:
    """Split an error message into the sentence and the code that follows its last colon, if any."""
    for start, end in code_spans(sentence):
        alone = sentence[end:].strip(" .?") == "" and sentence[:start].endswith(": ")
        if alone and "…" not in sentence[start:end]:
            return sentence[:start].rstrip(), sentence[start:end]
    return sentence, ""


def respelled(sentence: str, users: FrameSummary) -> str:
    """Return the user's statement corrected to the suggested name, or "".

    The suggestion replaces the most similar name or string of the statement that the message also
    contains.
    """
    proposed = _PROPOSED.search(sentence)
    lines = getlines(users.filename)[(users.lineno or 1) - 1 : users.end_lineno]
    if proposed is None or not lines:
        return ""
    meant, statement = proposed[1], dedent("".join(lines)).rstrip()
    try:
        tokens = list(tokenize.generate_tokens(StringIO(statement).readline))
    except (tokenize.TokenError, SyntaxError):  # only part of a statement
        return ""
    named = {token: _text(token) for token in tokens if token.type in _NAMES}
    near = nearest(meant, [each for each in named.values() if each != meant and each in sentence])
    for token, text in named.items():
        if text == near:
            rows = statement.splitlines(keepends=True)
            row, start, end = token.start[0] - 1, token.start[1], token.end[1]
            new = token.string.replace(text, meant)
            rows[row] = rows[row][:start] + new + rows[row][end:]
            return "".join(rows)
    return ""


def _text(token: tokenize.TokenInfo) -> str:
    return token.string if token.type == tokenize.NAME else token.string.strip("\"'")


def code_spans(sentence: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of code in a sentence: calls, `name=value` and `pip install`, in order."""
    place = 0
    while place < len(sentence):
        call, plain = _CALL.search(sentence, place), _PLAIN_CODE.search(sentence, place)
        if call is None and plain is None:
            return
        if call is None or (plain is not None and plain.start() < call.start()):
            assert plain is not None
            yield plain.span()
            place = plain.end()
        elif (end := _end_of_call(sentence, call.start(), call.end())) is None:
            place = call.end()
        else:
            yield call.start(), end
            place = end


def _end_of_call(sentence: str, start: int, opened: int) -> int | None:
    """Return the end of the longest chain of calls from `start`, or None if it is not code."""
    ends = [opened + each.start() + 1 for each in re.finditer(r"\)", sentence[opened:])]
    found = None
    for end in ends[:8]:
        try:
            parse_expression(sentence[start:end].replace("…", "___"))
        except (SyntaxError, ValueError):
            continue
        if found is not None and not sentence[found:end].startswith((".", "[", "(")):
            break
        found = end
    return found


def _with_code(sentence: str) -> str:
    """Return the sentence as HTML, with code in a code font."""
    parts, place = [], 0
    for start, end in code_spans(sentence):
        code = f'<code style="{_MONO}">{escape(sentence[start:end])}</code>'
        parts += [escape(sentence[place:start]), code]
        place = end
    return "".join([*parts, escape(sentence[place:])])


def _listed(hidden: Sequence[FrameSummary]) -> str:
    """Return the frames as text: file and line, function, source line."""
    return "\n".join(
        f"{_short(each.filename)}:{each.lineno} in {each.name}\n    {each.line}" for each in hidden
    )


def _short(file: str) -> str:
    """Return a file's path from its package on: saved notebooks should not reveal locations."""
    if file.startswith(f"{_PACKAGE}/"):
        return file.removeprefix(f"{_PACKAGE}/")
    return re.split(r"-packages/|/lib/python[\d.]+/", file)[-1]
