"""The proof of an export as an image, `proof.svg`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from conduit_lab.core.text import clip
from conduit_lab.core.views import figures
from conduit_lab.export.agreement import INT8_TOLERANCE, INT8_VECTOR_TOLERANCE, Comparing
from conduit_lab.export.replay import Outcome

_WIDTH = 960
_MARGIN = 40
_ROW = 32
_MAX_ROWS = 12  # endpoints; further ones are counted
_MAX_MARKS = 24  # calls per endpoint
_MAX_NAME_CHARACTERS = 44
_NOTE_ROW = 22
_MAX_NOTES = 8
_MAX_NOTE_CHARACTERS = 130
_MARKS, _MARK_STEP = 450, 12  # x position of the first mark, and distance to the next
_WORD_CHARACTER = 7  # width of a quiet one, rounded up
_WORDS: Mapping[Comparing, str] = {
    "exact": "exactly equal",
    "tolerance": "equal (floats within 0.0001)",
    "int8": f"close (floats within {INT8_TOLERANCE}, vectors within {INT8_VECTOR_TOLERANCE})",
    "shape": "with the same shape",
    "answered": "answered (write calls)",
}
_STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --quiet: #57606a; --line: #d8dee4;
  --mark: #0072b2; --ground: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --quiet: #9198a1; --line: #3d444d;
  --mark: #56b4e9; --ground: #0d1117; } }
text { font: 15px system-ui, sans-serif; fill: var(--text); font-variant-numeric: tabular-nums; }
.title { font-size: 26px; font-weight: 600; }
.code { font-family: ui-monospace, monospace; }
.quiet { fill: var(--quiet); font-size: 13px; }
.ground { fill: var(--ground); }
.line { stroke: var(--line); }
.mark { fill: var(--mark); }
.open { fill: none; stroke: var(--mark); stroke-width: 1.5; }
"""


def proof_picture(
    name: str,
    outcomes: Sequence[Outcome],
    objects: int,
    versions: Mapping[str, str],
    digest: str,
    notes: Sequence[str] = (),
) -> str:
    """Return the SVG: one row per endpoint, one mark per call, filled if the answer was equal.

    `versions` are those of the packages that ran, `digest` is the hash of the folder's files, and
    `notes` are lines about its models.
    """
    grouped: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        grouped.setdefault(outcome.endpoint, []).append(outcome)
    same = sum(outcome.verdict == "same" for outcome in outcomes)
    title = (
        f"{same} of {figures.plural(len(outcomes), 'call')} answered the same in a fresh process"
    )
    if close := sum(outcome.how == "int8" for outcome in outcomes):
        title += f", {close} close in int8"
    reached = figures.plural(objects, "object")
    parts = [
        _text(_MARGIN, 52, name, "quiet"),
        _text(_MARGIN, 88, title, "title"),
        _text(_MARGIN, 116, f"{reached} behind the endpoints compared, all equal", "quiet"),
    ]
    y = 156
    for endpoint, calls in list(grouped.items())[:_MAX_ROWS]:
        parts += [_line(y - 22), *_row(y, endpoint, calls)]
        y += _ROW
    if (more := len(grouped) - _MAX_ROWS) > 0:
        parts += [_line(y - 22), _text(_MARGIN, y, f"and {figures.plural(more, 'endpoint')} more")]
        y += _ROW
    parts.append(_line(y - 22))
    for note in notes[:_MAX_NOTES]:
        parts.append(_text(_MARGIN, y + 6, clip(note, _MAX_NOTE_CHARACTERS), "quiet"))
        y += _NOTE_ROW
    shown = " · ".join(f"{package} {version}" for package, version in versions.items())
    parts.append(_text(_MARGIN, y + 6, shown, "quiet"))
    parts.append(_text(_WIDTH - _MARGIN, y + 6, f"files {digest[:16]}", "quiet code", "end"))
    height = y + 32
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="{escape(title)}">\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect class="ground" width="{_WIDTH}" height="{height}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _row(y: int, endpoint: str, calls: Sequence[Outcome]) -> list[str]:
    ways = [call.how for call in calls]
    words = ", ".join(f"{ways.count(how)} {_WORDS[how]}" for how in dict.fromkeys(ways))
    room = max(0, _WIDTH - _MARGIN - _WORD_CHARACTER * len(words) - _MARKS)
    marks = [
        f'<rect class="{"mark" if call.verdict == "same" else "open"}" '
        f'x="{_MARKS + _MARK_STEP * at}" y="{y - 10}" width="8" height="8"/>'
        for at, call in enumerate(calls[: min(_MAX_MARKS, room // _MARK_STEP)])
    ]
    return [
        _text(_MARGIN, y, clip(endpoint, _MAX_NAME_CHARACTERS), "code"),
        *marks,
        _text(_WIDTH - _MARGIN, y, words, "quiet", "end"),
    ]


def _text(x: int, y: int, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(y: int) -> str:
    return f'<line class="line" x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{y}" y2="{y}"/>'
