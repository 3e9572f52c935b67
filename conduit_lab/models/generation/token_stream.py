"""TokenStream: the tokens of one sequence as they are generated, and its branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from conduit_lab.core.errors import InputError, StreamCancelled
from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.core.streams.stream import STATE_MARKS, Stream
from conduit_lab.core.text import first_words
from conduit_lab.core.trace.span import Span, current
from conduit_lab.core.trace.tally import tallying
from conduit_lab.core.views.view import View
from conduit_lab.models.folder_model import FolderModel
from conduit_lab.models.generation.alternatives import Alternative
from conduit_lab.models.generation.branching import alternatives_at, branch_request, typed_tokens
from conduit_lab.models.generation.generation_call import OpenedGenerator
from conduit_lab.models.generation.generation_request import GenerationRequest
from conduit_lab.models.generation.generation_view import progress_facts, stream_view
from conduit_lab.models.generation.result import Generation, Token

_GeneratorModel = FolderModel[OpenedGenerator]
_MakeRequest = Callable[..., GenerationRequest]
_S = TypeVar("_S", bound=Stream[Any, Any])


class TokenStream(PushedStream[Token, Generation]):
    """The tokens of one sequence; its result is the `Generation`.

    `branch` continues from a different token at a position. A branch is itself a stream: iterating
    it yields its own tokens from `position` on, starting with the chosen ones; `tokens`, `text` and
    the result hold the whole sequence, including the prefix shared with its `parent`. A parent and
    its branches run and are cancelled independently.

    Attributes: `parent`, the stream that a branch started from, or None; `position`, the index of
    the branch's first own token; `prompt`, the text of the prompt, or the messages of a chat, one
    per line; `max_tokens`, the maximum number of tokens of the whole generation; `known`, the
    alternatives requested so far, by position.
    """

    def __init__(
        self,
        name: str,
        model: _GeneratorModel,
        make: _MakeRequest,
        parent: TokenStream | None = None,
        position: int = 0,
    ) -> None:
        super().__init__(name=name)
        self.parent = parent
        self.position = position
        self.known: dict[int, list[Alternative]] = {}
        self._model = model
        self._branches: list[TokenStream] = []
        self._request = make(
            keeps=True,
            on_token=self.append,
            on_end=lambda ended: self.end(ended.result, ended.error),
        )
        self.start()
        model._parts().scheduler.submit([self._request])
        self.on_cancel(self._request.cancel)

    def end(self, result: Generation | None, error: BaseException | None = None) -> None:
        """End the stream with its result or an error; called by the scheduler."""
        if error is None:
            self.finish(result)
        else:
            self.fail(error)

    @property
    def prompt(self) -> str:
        """The text of the prompt."""
        return self._request.text

    @property
    def max_tokens(self) -> int:
        """The maximum number of tokens of the whole generation."""
        return self._request.limit

    @property
    def tokens(self) -> list[Token]:
        """All tokens so far, by position, including tokens that the log has dropped."""
        return self._request.tokens[: self.position + self.count]

    @property
    def text(self) -> str:
        """The whole text so far."""
        return "".join(self.tokens)

    @property
    def branches(self) -> list[TokenStream]:
        """The branches of this stream, newest last."""
        return list(self._branches)

    def alternatives(self, position: int) -> list[Alternative]:
        """Return the candidate tokens at a position, with their probabilities.

        These are about the twelve most likely tokens and the actual one: first the tokens that can
        be sampled, then the excluded ones, each with the option that excluded it. They are computed
        by one run of the model on first request, so decoding does not pay for them; the run waits
        for a free row. Raises `InputError` for a position without a token, and `RuntimeError` in a
        callback of a stream, on the thread that decodes.
        """
        position = self._checked(position, "alternatives")
        if self.parent is not None and position < self.position:
            return self.parent.alternatives(position)
        if position not in self.known:
            self.known[position] = alternatives_at(self._model._parts(), self._request, position)
        return self.known[position]

    def branch(self, position: int, token: int | str | Alternative | None = None) -> TokenStream:
        """Return a stream that continues from another token at a position, with the same options.

        The tokens before `position` are kept and followed by `token`: an id, an `Alternative`, or a
        text, which is tokenized; by default the most likely token that can be sampled there and
        that neither this stream nor a branch of it has used. The rest is generated up to
        `max_tokens`. The seed is unchanged, and each position has its own random number: the same
        token produces the same text again. The kept tokens are not recomputed while their KV cache
        is available. Works on running and finished streams, from any thread. Raises `InputError`
        for a position without a token, and for a token that the model does not have, that its
        constraint does not allow, or that exceeds `max_tokens`.
        """
        position = self._checked(position, "branch")
        opened = self._model._parts()
        chosen = self._chosen(opened, position, token)
        make = branch_request(opened, self._request, position, chosen)
        text = opened.tokenizer.backend.decode(chosen, skip_special_tokens=False)
        name = f"{self._root.name} › {first_words(text) or '␣'}"
        ids = [*self._request.prompt, *(each.id for each in self.tokens[:position]), *chosen]
        made = start_stream(self._model, make, name, ids, self, position)
        self._branches.append(made)
        return made

    def _chosen(
        self, opened: OpenedGenerator, position: int, token: int | str | Alternative | None
    ) -> list[int]:
        """Return the token ids that a branch starts with."""
        if token is None:
            return [self._next_best(position)]
        if isinstance(token, Alternative):
            return [token.id]
        if isinstance(token, Token):
            return [token.id]
        if isinstance(token, str):
            return typed_tokens(opened, self._request, position, token)
        if isinstance(token, int | np.integer) and not isinstance(token, bool):
            return [int(token)]
        raise InputError(
            f"branch expects a token as its id, an Alternative or a text, "
            f"got {type(token).__name__}"
        )

    def _next_best(self, position: int) -> int:
        """Return the most likely unused token at a position."""
        places = [each for each in self._branches if each.position == position]
        taken = {self.tokens[position].id, *(each._request.chosen[0] for each in places)}
        for each in self.alternatives(position):
            if each.id not in taken and each.cut in (None, "greedy"):
                return each.id
        raise InputError(
            f"position {position} has no other token that can be sampled: name one, "
            f'stream.branch({position}, "text")'
        )

    def _checked(self, position: int, call: str) -> int:
        """Return a position as an int; raise `InputError` if there is no token."""
        count = len(self.tokens)
        if not count:
            raise InputError(
                f"{call} expects a token, and the stream has none yet: wait for the first one, "
                "next(iter(stream))"
            )
        integer = isinstance(position, int | np.integer) and not isinstance(position, bool)
        if not integer or not 0 <= position < count:
            raise InputError(
                f"{call} expects a position from 0 to {count - 1}, an index of stream.tokens, "
                f"got {position!r}"
            )
        return int(position)

    @property
    def _root(self) -> TokenStream:
        stream = self
        while stream.parent is not None:
            stream = stream.parent
        return stream

    def _raise_cancelled(self) -> None:
        if self.state == "cancelled":
            raise StreamCancelled(self.name, self.text)

    # Showing

    @property
    def facts(self) -> list[str]:
        """The main figures, for a header line."""
        own = self.tokens[self._request.given :]
        state = f"{STATE_MARKS[self.state]} {self.state}"
        return [state, *progress_facts(own, len(self.tokens), self.max_tokens)]

    def _view(self) -> View:
        return stream_view(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self._view().bundle(f"{self!r}\n{self.text}")


def start_stream(
    model: _GeneratorModel,
    make: _MakeRequest,
    name: str,
    given: Any,
    parent: TokenStream | None = None,
    position: int = 0,
) -> TokenStream:
    """Start a stream, in its own span if a trace is recorded; `given` is its input."""
    return start_generation(model, given, lambda: TokenStream(name, model, make, parent, position))


def start_generation(model: _GeneratorModel, given: Any, start: Callable[[], _S]) -> _S:
    """Start a generator's stream with `start`; record it in a span, or count it without one."""
    here = current()
    if here is None:
        tally = tallying()
        stream = start()
        if tally is not None:
            statistics = tally.statistics
            statistics.count(model.name)

            def count_error(ended: Stream[Any, Any]) -> None:
                if ended.error is not None:
                    statistics.count_error(model.name)

            stream.on_end(count_error)
        return stream
    with here.child(model.name, model.kind, model, given) as span:
        stream = start()
        opened = model._parts()
        stream.on_end(lambda ended: _record_end(span, opened, ended))
        span.follow(stream)
    return stream


def _record_end(span: Span, opened: OpenedGenerator, stream: Stream[Any, Any]) -> None:
    """Record the end of a stream in its span, on the thread that ended it."""
    shared = opened.shared
    if shared.note and shared.state == "cpu":
        span.annotate(device="cpu", device_fallback=shared.note)
    if stream.state == "done":
        span.output = made = stream.result()
        if isinstance(made, Generation):
            span.annotate(usage=made.usage, tokens=made.usage.generated)
        else:  # of several choices
            span.annotate(tokens=sum(each.usage.generated for each in made))
