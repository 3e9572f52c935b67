"""The view of a generation: speed, prompt, tinted text, alternatives and branches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from conduit_lab.core.streams.stream import STATE_MARKS
from conduit_lab.core.text import MAX_TITLE_CHARACTERS, one_line
from conduit_lab.core.views import figures
from conduit_lab.core.views.pieces import Bar, Bars, Folded, Line, ViewPiece
from conduit_lab.core.views.token_text import TokenText
from conduit_lab.core.views.view import View

if TYPE_CHECKING:
    from conduit_lab.models.generation.alternatives import Alternative

MAX_UNSURE_TOKENS = 5  # whose alternatives are shown
MAX_BRANCHES = 20
MAX_BRANCH_CHARACTERS = 4_000

_WHITE = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})


def generation_view(
    prompt: str, tokens: Sequence[tuple[str, float]], limit: int, usage: Any, finish: str
) -> View:
    """Return the view of a finished generation; its tokens are (text, probability)."""
    facts = [figures.rate(usage.tokens_per_second, "tokens")] if usage.tokens_per_second else []
    if usage.generated:
        facts.append(f"first {figures.seconds(usage.first_token)}")
    facts.append(_progress(len(tokens), limit))
    facts.append(f"prompt {figures.plural(usage.prompt, 'token')}")
    if usage.cached:
        facts.append(f"{figures.count(usage.cached)} cached")
    return View("Generation", finish, facts, pieces=[TokenText(tokens, prompt)])


def progress_facts(own: Sequence[Any], count: int, limit: int) -> list[str]:
    """Return the figures of a stream, from its own tokens and the number of all tokens."""
    facts = []
    if len(own) > 1 and own[-1].time > own[0].time:
        facts.append(figures.rate((len(own) - 1) / (own[-1].time - own[0].time), "tokens"))
    if own:
        facts.append(f"first {figures.seconds(own[0].time)}")
    return [*facts, _progress(count, limit)]


def _progress(count: int, limit: int) -> str:
    return f"{figures.count(count)} of {figures.count(max(count, limit))}"


def stream_view(stream: Any) -> View:
    """Return the view of a `TokenStream` in its current state, with its branches."""
    tokens = stream.tokens
    pieces: list[ViewPiece] = [TokenText(_spans(tokens), stream.prompt, common=stream.position)]
    if stream.error is not None:
        pieces.append(Line(f"{type(stream.error).__name__}: {stream.error}"))
    pieces += _alternatives(tokens, stream.known)
    pieces += _branches(stream, iter(range(MAX_BRANCHES)), "")
    return View("Generation", stream.name, stream.facts, pieces=pieces)


def _spans(tokens: Sequence[Any]) -> list[tuple[str, float]]:
    return [(token.text, token.probability) for token in tokens]


def _alternatives(
    tokens: Sequence[Any], known: Mapping[int, Sequence[Alternative]]
) -> list[ViewPiece]:
    """Return the requested alternatives of the least certain tokens, in token order."""
    places = [place for place in list(known) if place < len(tokens)]
    unsure = sorted(places, key=lambda place: float(tokens[place].logprob))[:MAX_UNSURE_TOKENS]
    if not unsure:
        return []
    bars = [_bars(place, tokens, known[place]) for place in sorted(unsure)]
    return [Folded(f"alternatives of {figures.plural(len(bars), 'token')}", bars)]


def _bars(place: int, tokens: Sequence[Any], alternatives: Sequence[Alternative]) -> Bars:
    before = one_line("".join(tokens[max(0, place - 4) : place]), MAX_TITLE_CHARACTERS)
    bars = [
        Bar(
            _visible(each.text),
            each.probability,
            f"{each.probability:.3f} → {each.adjusted:.3f}",
            strong=each.id == tokens[place].id,
            note=f"cut by {each.cut}" if each.cut else "",
        )
        for each in alternatives
    ]
    title = f"position {place}, after “{before}”: the model's probability → as sampled"
    return Bars(bars, title=title, noun="alternative")


def _branches(stream: Any, room: Iterator[int], mark: str) -> list[ViewPiece]:
    """Return the branches of a stream, each with its own branches, as long as there is room.

    `mark` prefixes the branches of a branch.
    """
    pieces: list[ViewPiece] = []
    branches = stream.branches
    for place, branch in enumerate(branches):
        if next(room, None) is None:
            left = figures.plural(len(branches) - place, "more branch")
            return [*pieces, Line(f"{left}: stream.branches", "quiet")]
        tokens, at = branch.tokens, branch.position
        first = _visible(tokens[at].text) if len(tokens) > at else "…"
        count = figures.plural(len(tokens) - at, "token")
        state = f"{STATE_MARKS[branch.state]} {branch.state}"
        text = TokenText(_spans(tokens), common=at, limit=MAX_BRANCH_CHARACTERS)
        inner = [text, *_branches(branch, room, f"{mark}↳ ")]
        pieces.append(Folded(f"{mark}branch at {at}: {first} · {count} · {state}", inner))
    return pieces


def _visible(text: str) -> str:
    """Return a token's text with visible whitespace."""
    return text.translate(_WHITE) or "␣"
