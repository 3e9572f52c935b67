"""ChoiceStream: the tokens of several generations of one call, as one stream."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.models.folder_model import FolderModel
from conduit_lab.models.generation.generation_call import GenerationCall, OpenedGenerator
from conduit_lab.models.generation.generation_request import GenerationRequest
from conduit_lab.models.generation.result import Generation, Token


class ChoiceStream(PushedStream[Token, list[Generation]]):
    """The tokens of all generations of `calls` as they arrive, each with the index of its `choice`.

    Its result is the list of generations in the order of the calls. Either all are queued or none,
    and cancelling the stream ends them all. Raises the errors of `generate`.
    """

    def __init__(
        self, model: FolderModel[OpenedGenerator], calls: Sequence[GenerationCall], *, name: str
    ) -> None:
        opened = model._parts()
        prompts = [call.requests(opened) for call in calls]
        super().__init__(name=name)
        self._requests: list[GenerationRequest] = []
        self._firsts: list[GenerationRequest] = []  # of each prompt
        for makers in prompts:
            made = [
                make(on_token=partial(self._add, len(self._requests) + place), on_end=self._end_one)
                for place, make in enumerate(makers)
            ]
            self._requests += made
            self._firsts += made[:1]
        self._left = len(self._requests)  # changed only on the scheduler's thread
        self.start()
        opened.scheduler.submit(self._requests)
        self.on_cancel(self._cancel_all)

    @property
    def prompt_tokens(self) -> int:
        """The tokens of the prompts, each counted once."""
        return sum(len(each.prompt) for each in self._firsts)

    @property
    def cached_tokens(self) -> int:
        """The tokens of the prompts that came from the prefix cache."""
        return sum(each.cached for each in self._firsts)

    @property
    def generated_tokens(self) -> int:
        """The tokens generated so far."""
        return sum(len(each.tokens) for each in self._requests)

    def stop_sequence(self, choice: int) -> str | None:
        """Return the stop sequence that ended a generation, or None."""
        return self._requests[choice].stop_sequence

    def _cancel_all(self) -> None:
        for request in self._requests:
            request.cancel()

    def _add(self, choice: int, token: Token) -> None:
        token.choice = choice
        self.append(token)

    def _end_one(self, ended: GenerationRequest) -> None:
        self._left -= 1
        if ended.error is not None:
            self._cancel_all()
            self.fail(ended.error)
        elif ended.result is not None and ended.result.finish_reason == "cancelled":
            self.cancel()
        elif self._left == 0:
            self.finish([each.result for each in self._requests if each.result is not None])
