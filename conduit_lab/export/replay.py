"""Replay: send recorded requests to a running app, and compare its answers."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from conduit_lab.core.errors import ExportError
from conduit_lab.core.progress import counted, progress
from conduit_lab.core.text import clip
from conduit_lab.export.agreement import Comparing, difference
from conduit_lab.export.clean_world import World, clean_world, explained
from conduit_lab.export.manifest import Manifest, named_places
from conduit_lab.export.state.built_resources import compared_resources
from conduit_lab.export.state.compared import Sides, state_difference
from conduit_lab.export.state.saved import saved_state
from conduit_lab.export.state.walk import StateLine
from conduit_lab.serving.recorded import Example
from conduit_lab.serving.tool import TOOL_METHOD, as_object, tool_answer, tool_request

# total time of repeated calls, shortest first
SECOND_ROUND_SECONDS = 1.0

_VERDICTS: Mapping[Comparing, str] = {"shape": "same shape", "int8": "close, in int8"}
_SIDES = Sides("in the session", "in this folder", is_session=False)
_ANSWER_SECONDS = 120.0
_MAX_BODY_CHARACTERS = 300
_MAX_LINE_CHARACTERS = 60  # of an invalid example


@dataclass(frozen=True)
class Outcome:
    """One replayed example: its `problem`, None for a matching answer, and its duration in seconds.

    `how` says how the answer `got` was compared, and `times` how often the call was made. `second`
    is a second answer that differs from the first, and `unsteady` describes the difference. `log`
    is the traceback from the app's process, and `reasons` are sentences about files and packages
    that it lacks.
    """

    example: Example
    problem: str | None
    seconds: float
    how: Comparing = "exact"
    got: Any = None
    times: int = 1
    second: Any = None
    unsteady: str = ""
    log: str = ""
    reasons: Sequence[str] = field(default=())

    @property
    def endpoint(self) -> str:
        """The HTTP method and path of the endpoint."""
        return f"{self.example.method} {self.example.path}"

    @property
    def verdict(self) -> str:
        """The problem, "same", or "answered" for a write call, whose answer is not compared."""
        if self.problem or self.example.writes:
            return self.problem or "answered"
        if self.unsteady:
            return f"same, but not the second time: {self.unsteady}"
        return _VERDICTS.get(self.how, "same")


def comparison(example: Example) -> Comparing:
    """Return how to compare the answer of an example.

    Only answers that involve a model get a float tolerance.
    """
    if example.writes:
        return "answered"
    if example.varies:
        return "shape"
    if example.int8:
        return "int8"
    return "tolerance" if example.by_model else "exact"


def recorded_examples(folder: Path) -> list[Example]:
    """Read the examples of an exported folder, except those that write to a remote store."""
    found = (example for _, example in example_lines(folder))
    return reads_first([example for example in found if not example.shared])


def example_lines(folder: Path) -> list[tuple[str, Example]]:
    """Read the lines of a folder's `examples.jsonl`; raise `ExportError` for an invalid one."""
    place = folder / "examples.jsonl"
    if not place.is_file():
        what = f"has no {place.name}" if folder.is_dir() else "is not a folder"
        raise ExportError(f"{folder} {what}: expected a folder written by lab.export(folder)")
    found = []
    # splitlines() would also split inside strings
    for number, line in enumerate(place.read_text("utf-8").split("\n"), 1):
        try:
            found += [(line, Example.from_json(line))] if line else []
        except (ValueError, AttributeError, TypeError) as error:
            raise ExportError(
                f"{place}, line {number}: expected a recorded call, got "
                f"{clip(line, _MAX_LINE_CHARACTERS)!r}: remove the line, or export again"
            ) from error
    return found


def reads_first(examples: Sequence[Example]) -> list[Example]:
    """Return the read-only calls, followed by those that write."""
    return sorted(examples, key=lambda example: example.writes)


def replay(folder: Path, *, python: str = sys.executable) -> list[Outcome]:
    """Start a copy of the app in `folder` and replay each line of its `examples.jsonl`.

    The copy runs in a clean world with only the variables, files and packages of the export; the
    folder itself is not changed. Short read-only calls are made twice, to detect answers that vary.
    Raises `ExportError` if the app does not start, or if its state differs from the session's.
    """
    examples = recorded_examples(folder)
    with progress(len(examples), "call", "replay") as job:
        job.phase = "starting the app"
        saved = saved_state(folder)
        built = compared_resources(saved or ())
        with clean_world(folder, python=python, with_state=saved is not None, built=built) as world:
            if saved is not None:
                _check_state(folder, saved, world.state)
            job.phase = ""
            return _replayed(ReplayClient(f"http://127.0.0.1:{world.port}"), examples, world)


def _check_state(folder: Path, saved: Sequence[StateLine], found: Sequence[StateLine]) -> None:
    """Raise `ExportError` for the first difference, naming the files changed since the export."""
    problem = state_difference(saved, found, sides=_SIDES)
    if problem is None:
        return
    manifest = Manifest.of(folder)
    if manifest is not None and (changed := manifest.changed(folder)):
        problem += (
            f". Changed since the export: {named_places(changed)}. Put back what the export wrote, "
            f"or keep the change: Lab.open({str(folder)!r}).export(…)"
        )
    raise ExportError(f"{folder.name} is not the exported session. {problem}")


def replay_at(
    url: str, examples: Sequence[Example], *, key: str = "", writes: bool = False
) -> list[Outcome]:
    """Send the examples to the app at `url`; those that write only with `writes=True`, and once."""
    caller = ReplayClient(url, key)
    chosen = [each for each in reads_first(examples) if writes or not each.writes]
    with progress(len(chosen), "call", "replay"):
        return _replayed(caller, chosen)


def _replayed(
    caller: ReplayClient, examples: Sequence[Example], world: World | None = None
) -> list[Outcome]:
    """Replay the examples: the read-only ones first, the short ones of these twice."""
    reads = [example for example in examples if not example.writes]
    writes = [example for example in examples if example.writes]
    first = [ask(caller, example, world) for example in counted(reads, "call")]
    second = _second(first, lambda example: ask(caller, example, world))
    both = [_compared(each, second.get(number)) for number, each in enumerate(first)]
    return both + [ask(caller, example, world) for example in counted(writes, "call")]


def _compared(first: Outcome, second: Outcome | None) -> Outcome:
    """Combine the outcomes of two identical calls.

    A different second answer is not a problem if the first is right: a call may count its calls.
    """
    if second is None:
        return first
    both = replace(first, times=2)
    if second.problem is None:
        return both
    example, answers = first.example, (first.got, second.got)
    if example.sampled and not any(difference(example.answer, a, "shape") for a in answers):
        return replace(both, problem=None, how="shape")
    both = replace(both, second=second.got, unsteady=second.problem)
    if first.problem is None:
        return both
    return replace(both, problem=f"does not answer the same twice: {second.problem}")


class ReplayClient:
    """Sends the requests of examples to the app at a URL, with an API key if required."""

    def __init__(self, url: str, key: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ExportError(f"expected a URL such as https://desk.example.com, got {url!r}")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    def response(self, example: Example) -> tuple[int, bytes, str]:
        """Return the status, body and request ID of a response."""
        method, target, body = example.method, example.target, json.dumps(example.payload).encode()
        headers: Mapping[str, str] = {"content-type": "application/json"}
        if method == "GET":
            body, headers = b"", {}
        elif method == TOOL_METHOD:
            method = "POST"
            target, headers, body = tool_request(example.path, example.payload)
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=_ANSWER_SECONDS)
        try:
            all_headers = {**headers, **self._headers}
            connection.request(method, self._prefix + target, body or None, all_headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers.get("x-request-id", "")
        finally:
            connection.close()


def ask(caller: ReplayClient, example: Example, world: World | None = None) -> Outcome:
    """Send an example and compare the answer; `world` explains a failed or different one."""
    start = perf_counter()
    how = comparison(example)
    try:
        status, content, request = caller.response(example)
    except (OSError, http.client.HTTPException) as error:
        return Outcome(example, f"no answer: {error}", perf_counter() - start, how)
    seconds = perf_counter() - start
    got, problem = _read(example, status, content)
    if problem is None:
        expected = example.answer
        expected = as_object(expected) if example.method == TOOL_METHOD else expected
        problem = difference(expected, got, how)
    reports = [] if world is None else world.new_reports()
    if problem is None:
        return Outcome(example, None, seconds, how, got)
    logs = [each["text"] for each in reports if each.get("request") == request and request]
    log = "\n".join(logs)
    reasons = explained(reports, log)
    return Outcome(example, problem, seconds, how, got, log=log, reasons=reasons)


def asked_twice(outcomes: Sequence[Outcome], again: Callable[[Example], Outcome]) -> list[Outcome]:
    """Repeat the short read-only calls that succeeded, in order, within a second in total.

    Each second answer is compared with the first one.
    """
    good = [outcome if outcome.problem is None else None for outcome in outcomes]
    second = _second(good, again)
    found = []
    for number, outcome in enumerate(outcomes):
        if number in second:
            other = second[number]
            outcome = replace(
                outcome,
                problem=other.problem,
                times=2,
                second=other.got,
                log=other.log,
                reasons=other.reasons,
            )
        found.append(outcome)
    return found


def _second(
    outcomes: Sequence[Outcome | None], again: Callable[[Example], Outcome]
) -> dict[int, Outcome]:
    """Repeat calls in their order; return the outcomes by index, compared with the first answers.

    Skips calls that write, calls without an answer, and the longest ones.
    """
    answered = [
        (number, outcome)
        for number, outcome in enumerate(outcomes)
        if outcome is not None and not outcome.example.writes
    ]
    left = SECOND_ROUND_SECONDS
    chosen: dict[int, Outcome] = {}
    for number, outcome in sorted(answered, key=lambda item: item[1].seconds):
        left -= outcome.seconds
        if left < 0:
            break
        if outcome.problem is None or outcome.got is not None:
            chosen[number] = outcome
    return {
        number: again(replace(chosen[number].example, answer=chosen[number].got))
        for number in sorted(chosen)
    }


def _read(example: Example, status: int, content: bytes) -> tuple[Any, str | None]:
    """Return the JSON value of a response, and the problem of an invalid one."""
    if status != 200:
        body = clip(content.decode("utf-8", "replace"), _MAX_BODY_CHARACTERS)
        return None, f"status {status}: {body}"
    if example.method == TOOL_METHOD:
        got, failed = tool_answer(content)
        return got, failed or None
    if example.shape == "stream":
        return _events(content), None
    try:
        return json.loads(content), None
    except ValueError:
        return None, f"no JSON: {clip(content.decode('utf-8', 'replace'), _MAX_BODY_CHARACTERS)}"


def _events(content: bytes) -> list[Any]:
    """Return the JSON data of each event of a complete event stream."""
    lines = content.decode("utf-8").split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
