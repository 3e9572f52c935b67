"""GenerationView: the kernel's half of a generation's live view; the page's half is `view.js`.

Protocol: the value and its branches are numbered in order of discovery; the value is 0. The page
receives messages with some of

    {"streams": [{"number": n, "parent": m or null, "position": p, "common": c, "name": "...",
                  "prompt": "..."}],
     "tokens": [[n, offset, [text, ...], [logprob, ...]], ...],
     "facts": [{"number": n, "facts": ["● running", ...], "rates": [tokens/s, ...], "error": ""}],
     "alternatives": {"number": n, "index": i, "chosen": id,
                      "rows": [[id, text, probability, adjusted, cut], ...]},
     "problem": {"number": n, "index": i, "sentence": "..."},
     "show": n, "look": {...}}

The page has the tokens before `position` from the parent; the first `common` ones are muted.
`offset` counts the tokens already sent for a stream, from its position on. A page that has fewer
has missed a message and requests a replay; it skips tokens that it has. The page sends `{"replay":
true}`, `{"stop": n or "all"}`, `{"alternatives": [n, i]}`, `{"branch": [n, i, token]}` with an ID
or a text, and `{"look": {...}}`, the state of the view, which a replay returns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from conduit_lab.core.errors import ConduitError
from conduit_lab.notebook.mount import sendable

if TYPE_CHECKING:
    from conduit_lab.models.generation.result import Token
    from conduit_lab.models.generation.token_stream import TokenStream

MAX_VIEW_TOKENS = 20_000  # per flush, about 300 KB: half of the Jupyter server's limit
FIGURES_SECONDS = 0.25  # figures that change faster are unreadable
RATE_POINTS = 36


@dataclass
class _Followed:
    """A stream of the tree and its part sent so far; used only by the hub's thread."""

    stream: TokenStream
    number: int
    parent: int | None
    announced: bool = False
    sent: int = 0  # tokens from `position` on
    facts: list[str] = field(default_factory=list)
    facts_at: float = 0.0
    done: bool = False

    @property
    def position(self) -> int:
        """Index of the first token that the page does not have from the parent."""
        return 0 if self.parent is None else self.stream.position

    def forget(self) -> None:
        """Send all of it again."""
        self.announced = self.done = False
        self.sent, self.facts, self.facts_at = 0, [], 0.0


class GenerationView:
    """Sends the tokens of a stream and its branches in batches, and creates branches for the page.

    Thread-safe. Model steps run on a separate thread, never on the message thread.
    """

    def __init__(self, stream: TokenStream, send: Callable[[dict[str, Any]], object]) -> None:
        self.stream = stream
        self._send = send
        self._lock = threading.Lock()  # guards _tree
        self._tree = [_Followed(stream, 0, None)]
        self._replay_asked = threading.Event()
        self._closed = threading.Event()
        self._look: dict[str, Any] | None = None

    def opened(self) -> None:
        """Send everything again."""
        self._replay_asked.set()

    def flush(self) -> None:
        """Send the changes since the last flush, if any, as one message."""
        message: dict[str, Any] = {}
        tree = self._discovered()
        if self._replay_asked.is_set():
            self._replay_asked.clear()
            for followed in tree:
                followed.forget()
            if self._look is not None:
                message["look"] = self._look
        room = MAX_VIEW_TOKENS
        for followed in tree:
            if not followed.done:
                room -= self._add_changes(followed, message, room)
        if message:
            self._send(message)

    def receive(self, message: dict[str, Any]) -> None:
        """Handle a message from the page."""
        if "look" in message:
            self._look = message["look"]
        elif "stop" in message:
            self._stop(message["stop"])
        elif "alternatives" in message:
            number, position = message["alternatives"]
            self._work(self._send_alternatives, number, position)
        elif "branch" in message:
            number, position, token = message["branch"]
            self._work(self._branch, number, position, token)
        else:
            self._replay_asked.set()

    def close(self) -> None:
        """Stop sending."""
        self._closed.set()

    def _discovered(self) -> list[_Followed]:
        """Return the streams of the tree, new ones last, each after its parent."""
        with self._lock:
            known = {id(followed.stream) for followed in self._tree}
            for followed in self._tree:  # it grows during the loop
                for branch in followed.stream.branches:
                    if id(branch) not in known:
                        known.add(id(branch))
                        self._tree.append(_Followed(branch, len(self._tree), followed.number))
            return list(self._tree)

    def _add_changes(self, followed: _Followed, message: dict[str, Any], room: int) -> int:
        """Add a stream's changes to `message`; return the number of tokens, at most `room`."""
        stream = followed.stream
        finished = stream.finished  # checked first: all tokens are then available
        if not followed.announced:
            followed.announced = True
            message.setdefault("streams", []).append(_announcement(followed))
        own = stream.tokens[followed.position :]
        fresh = own[followed.sent : followed.sent + max(0, room)]
        if fresh:
            batch = [followed.number, followed.sent, *_columns(fresh)]
            message.setdefault("tokens", []).append(batch)
            followed.sent += len(fresh)
        now = monotonic()
        if (finished or now >= followed.facts_at) and (facts := stream.facts):
            followed.facts_at = now + FIGURES_SECONDS
            if facts != followed.facts:
                followed.facts = facts
                told = {"number": followed.number, "facts": facts, "rates": _rates(own)}
                message.setdefault("facts", []).append(told | {"error": _error(stream)})
        followed.done = finished and followed.sent == len(own)
        return len(fresh)

    def _stop(self, number: Any) -> None:
        for followed in self._discovered():
            if number in ("all", followed.number):
                followed.stream.cancel()

    # On a separate thread

    def _work(self, task: Callable[..., None], number: int, position: int, *rest: Any) -> None:
        tree = self._discovered()
        if 0 <= number < len(tree):
            arguments = (task, tree[number], int(position), *rest)
            threading.Thread(target=self._try, args=arguments, daemon=True).start()

    def _try(self, task: Callable[..., None], followed: _Followed, index: int, *rest: Any) -> None:
        try:
            task(followed, index, *rest)
        except (ConduitError, RuntimeError, IndexError) as problem:
            told = {"number": followed.number, "index": index, "sentence": sendable(str(problem))}
            self._answer({"problem": told})

    def _answer(self, message: dict[str, Any]) -> None:
        if not self._closed.is_set():  # otherwise the page would create the view again
            self._send(message)

    def _send_alternatives(self, followed: _Followed, index: int) -> None:
        rows = [
            [
                found.id,
                sendable(found.text),
                _rounded(found.probability),
                _rounded(found.adjusted),
                found.cut,
            ]
            for found in followed.stream.alternatives(index)
        ]
        told = {"number": followed.number, "index": index, "rows": rows}
        self._answer({"alternatives": told | {"chosen": followed.stream.tokens[index].id}})

    def _branch(self, followed: _Followed, index: int, token: int | str) -> None:
        stream = self._branched_before(followed.stream, index, token)
        if stream is None:
            stream = followed.stream.branch(index, token)
        (number,) = (found.number for found in self._discovered() if found.stream is stream)
        self._answer({"show": number})

    @staticmethod
    def _branched_before(stream: TokenStream, index: int, token: int | str) -> TokenStream | None:
        """Return the existing branch with this token, as a second one would have the same text."""
        for branch in stream.branches:
            there = branch.tokens[index : index + 1] if branch.position == index else []
            if there and there[0].id == token and not branch.cancelled:
                return branch
        return None


def with_branches(stream: TokenStream) -> Iterator[TokenStream]:
    """Yield a stream, its branches and theirs."""
    yield stream
    for branch in stream.branches:
        yield from with_branches(branch)


def _announcement(followed: _Followed) -> dict[str, Any]:
    stream = followed.stream
    return {
        "number": followed.number,
        "parent": followed.parent,
        "position": followed.position,
        "common": stream.position,
        "name": sendable(stream.name),
        "prompt": sendable(stream.prompt) if followed.parent is None else "",
    }


def _columns(tokens: Sequence[Token]) -> tuple[list[str], list[float]]:
    return [sendable(str(token)) for token in tokens], [round(token.logprob, 3) for token in tokens]


def _rounded(probability: float) -> float:
    return float(f"{probability:.4g}")


def _rates(tokens: Sequence[Token]) -> list[float]:
    """Return tokens per second in equal time spans, with at least four tokens each on average."""
    if len(tokens) < 8 or (took := tokens[-1].time - tokens[0].time) <= 0:
        return []
    points = min(RATE_POINTS, len(tokens) // 4)
    counts = [0] * points
    for token in tokens:
        counts[min(points - 1, int((token.time - tokens[0].time) / took * points))] += 1
    return [float(f"{count * points / took:.3g}") for count in counts]


def _error(stream: TokenStream) -> str:
    error = stream.error
    return "" if error is None else sendable(f"✕ {type(error).__name__}: {error}")
