"""Session answers: repeat the recorded calls in the session before using them as proof.

A changed answer means that the recording is stale, or that the answer varies: neither is a fault of
the export.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from conduit_lab.core.errors import ExportError
from conduit_lab.core.progress import silenced
from conduit_lab.core.streams.loop import package_loop
from conduit_lab.export.agreement import difference
from conduit_lab.export.replay import SECOND_ROUND_SECONDS, comparison
from conduit_lab.export.session_twin import CallFailed, SessionTwin, TwinLost, why_not_forked
from conduit_lab.export.stillness import is_still
from conduit_lab.serving import codec
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.recorded import Example
from conduit_lab.serving.request import Request


class SessionAnswers:
    """The session's current answers; a context manager.

    The calls are made in a forked copy of the session, in the order in which the exported app
    receives them: counters and random generators advance in the copy as they do in the export, and
    remain unchanged in the session. If the code of the `endpoints` changes nothing, the session
    itself makes the calls, since a copy would have to open its models again. It also makes them if
    it cannot be forked; one of the `warnings` then says why.
    """

    def __init__(
        self, app: App, endpoints: Sequence[Endpoint[..., Any]], warnings: list[str]
    ) -> None:
        self._app = app
        self._endpoints = endpoints
        self._warnings = warnings
        self._twin: SessionTwin | None = None
        self._is_decided = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._twin is not None:
            self._twin.close()
            self._twin = None

    def now(self, example: Example) -> Any:
        """Return the JSON answer to an example's request; raise `ExportError` if the call fails."""
        if not self._is_decided:
            self._is_decided = True
            self._fork()
        if self._twin is not None:
            try:
                return self._twin.answer(example)
            except CallFailed as failure:
                raise _failed(example, str(failure)) from failure
            except TwinLost as loss:
                self._twin.close()
                self._twin = None
                self._warn(f"a forked copy of it was lost: {loss}")
        try:
            return _answer(self._app, example)
        except (Exception, SystemExit) as error:
            raise _failed(example, f"{type(error).__name__}: {error}") from error

    def _fork(self) -> None:
        if is_still(self._app, self._endpoints):
            return
        reason = why_not_forked()
        if not reason:
            try:
                self._twin = SessionTwin(lambda example: _answer(self._app, example))
            except OSError as error:  # out of memory, or too many processes
                reason = str(error)
        if reason:
            self._warn(reason)

    def _warn(self, reason: str) -> None:
        self._warnings.append(
            f"the proof made its calls in this session itself ({reason}): "
            "counters, generators and variables that they use have advanced"
        )


def refreshed(session: SessionAnswers, example: Example) -> Example:
    """Return the example with the session's current answer, if a store that it read has changed."""
    if example.writes or not example.stale:
        return example
    return replace(example, answer=session.now(example))


def asked_again(
    session: SessionAnswers, examples: Sequence[Example], warnings: list[str]
) -> list[Example]:
    """Return the examples with the session's current answers, repeating all short calls.

    Calls are repeated in order. Of the longer ones, only those that read a changed store are
    repeated. A changed answer adds a warning.
    """
    chosen, left = set(), SECOND_ROUND_SECONDS
    for number, example in sorted(enumerate(examples), key=lambda item: item[1].seconds):
        left -= example.seconds
        if not example.writes and (left >= 0 or example.stale):
            chosen.add(number)
    found = []
    for number, example in enumerate(examples):
        if number not in chosen:
            found.append(example)
            continue
        now = replace(example, answer=session.now(example))
        found.append(now)
        if example.varies or example.sampled or example.stale:
            continue
        if (problem := difference(example.answer, now.answer, comparison(example))) is not None:
            warnings.append(
                f"{example.method} {example.path} answers differently now than when it was called "
                f"({problem}): the newer answer is used"
            )
    return found


def _failed(example: Example, failure: str) -> ExportError:
    return ExportError(
        f"{example.method} {example.path} succeeded when it was recorded, but fails in this "
        f"session now: {failure}. Run its cells again, then call it"
    )


def _answer(app: App, example: Example) -> Any:
    endpoint = next(
        e for e in app.endpoints if (e.method, e.path) == (example.method, example.path)
    )
    kept = list(endpoint._calls)  # keep only the traces of the user's calls
    try:
        with silenced():
            return _called(endpoint, example)
    finally:
        endpoint._calls.clear()
        endpoint._calls.extend(kept)


def _called(endpoint: Endpoint[..., Any], example: Example) -> Any:
    request = Request(codec.dumps(example.payload), path_params=example.path_params)
    call = endpoint.signature.from_request(request)
    if endpoint.is_async:  # on the package's loop: the notebook's own loop is running the export
        result = asyncio.run_coroutine_threadsafe(endpoint.ainvoke(call), package_loop()).result()
    else:
        result = endpoint.invoke(call)
    if example.shape == "stream":
        result.result()
        result = result.kept
    return codec.loads(codec.dumps(result))
