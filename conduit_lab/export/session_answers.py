"""Session answers: the recorded calls, made in the session once more before they prove anything.

A call whose answer is another one now is stale, or differs from call to call: neither is a fault
of the export.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.core.progress import silenced
from conduit_lab.core.streams.loop import package_loop
from conduit_lab.export.agreement import difference
from conduit_lab.export.replay import SECOND_ROUND_SECONDS, comparison
from conduit_lab.serving import codec
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.recorded import Example
from conduit_lab.serving.request import Request


def refreshed(app: App, example: Example) -> Example:
    """Return the example with the session's answer now, if a store that it read has changed."""
    if example.writes or not example.stale:
        return example
    return replace(example, answer=answer_now(app, example))


def asked_again(app: App, examples: Sequence[Example], warnings: list[str]) -> list[Example]:
    """Return the examples with the session's answers now: all short calls are made once more.

    They are made in their order. Of calls that took longer only those are made that read a store
    which has changed. A call with another answer than it was recorded with is a warning.
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
        now = replace(example, answer=answer_now(app, example))
        found.append(now)
        if example.varies or example.sampled or example.stale:
            continue
        if (problem := difference(example.answer, now.answer, comparison(example))) is not None:
            warnings.append(
                f"{example.method} {example.path} answers differently now than when it was called "
                f"({problem}): the newer answer is the proof"
            )
    return found


def answer_now(app: App, example: Example) -> Any:
    """Return the JSON answer that the session gives to the request of an example."""
    endpoint = next(
        e for e in app.endpoints if (e.method, e.path) == (example.method, example.path)
    )
    kept = list(endpoint._calls)  # its traces stay those of the user's calls
    try:
        with silenced():
            return _answer(endpoint, example)
    except Exception as error:
        raise ExportError(
            f"{example.method} {example.path} answered when it was called, and fails in this "
            f"session now: {type(error).__name__}: {error}. Run its cells again, and call it"
        ) from error
    finally:
        endpoint._calls.clear()
        endpoint._calls.extend(kept)


def _answer(endpoint: Endpoint[..., Any], example: Example) -> Any:
    request = Request(codec.dumps(example.payload), path_params=example.path_params)
    call = endpoint.signature.from_request(request)
    if endpoint.is_async:  # on the package's loop: a notebook's own is busy with the export
        result = asyncio.run_coroutine_threadsafe(endpoint.ainvoke(call), package_loop()).result()
    else:
        result = endpoint.invoke(call)
    if example.shape == "stream":
        result.result()
        result = result.kept
    return codec.loads(codec.dumps(result))
