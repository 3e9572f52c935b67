"""ProofRun: start an exported folder in a clean world, and compare its state and answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from conduit_lab.core.errors import ExportError
from conduit_lab.core.progress import counted, progress
from conduit_lab.core.text import clip
from conduit_lab.export.agreement import difference
from conduit_lab.export.causes import causes
from conduit_lab.export.clean_world import World, clean_world
from conduit_lab.export.environment import environment
from conduit_lab.export.replay import Outcome, ReplayClient, ask, asked_twice, reads_first
from conduit_lab.export.session_answers import SessionAnswers
from conduit_lab.export.state.built_resources import compared_resources
from conduit_lab.export.state.compared import state_difference
from conduit_lab.export.state.walk import StateLine
from conduit_lab.serving.app import App
from conduit_lab.serving.recorded import Example

ProofKind = Literal["process", "venv"]

_MAX_SHOWN_CHARACTERS = 300  # of a request or answer quoted in an error
_NOTHING = "Nothing was written"


@dataclass(frozen=True)
class ProofRun:
    """The outcome of each call, and the number of objects that were equal in both processes."""

    outcomes: Sequence[Outcome] = ()
    objects: int = 0


class WrongAnswer(ExportError):
    """The exported app's answer to a call differs from the session's."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(_wrong(outcome))
        self.outcome = outcome


def check_kind(proof: str | None) -> None:
    """Raise `ExportError` for an invalid `proof=`."""
    if proof not in ("process", "venv", None):
        raise ExportError(f'proof= expected "process", "venv" or None, got {proof!r}')


def prove(
    app: App,
    folder: Path,
    examples: Sequence[Example],
    here: Sequence[StateLine],
    session: SessionAnswers,
    kind: ProofKind = "process",
    cells: Sequence[str] = (),
    missed: set[str] | None = None,
) -> ProofRun:
    """Start the app of `folder`, compare its state with `here` and its answers with the examples.

    Short calls are made twice; if an answer differs, `session` makes the call again. `missed`
    collects the modules that the app lacks. Raises `ExportError` for the first difference, with
    both answers, the traceback of the other process, and the cause of an answer that varies from
    call to call.
    """
    examples = reads_first([example for example in examples if not example.shared])
    with progress(len(examples), "call", "replay") as job:
        job.phase = "installing the requirements" if kind == "venv" else "starting the app"
        with (
            environment(folder) if kind == "venv" else nullcontext(sys.executable) as python,
            clean_world(
                folder,
                python=python,
                has_wheel=kind == "venv",
                hidden=[app.root],
                missed=missed,
                built=compared_resources(here),
            ) as world,
        ):
            if (problem := state_difference(here, world.state, cells)) is not None:
                raise ExportError(f"the exported app is not this session. {problem}. {_NOTHING}")
            job.phase = ""
            outcomes = _outcomes(app, examples, world, session)
    return ProofRun(outcomes, len(here))


def _outcomes(
    app: App, examples: Sequence[Example], world: World, session: SessionAnswers
) -> list[Outcome]:
    client = ReplayClient(f"http://127.0.0.1:{world.port}")
    reads = [example for example in examples if not example.writes]
    writes = [example for example in examples if example.writes]
    first = [_judged(app, ask(client, each, world), session) for each in counted(reads, "call")]
    both = asked_twice(first, lambda example: ask(client, example, world))
    # make each call as often as in the export
    if any(outcome.problem is not None for outcome in both):
        seconds = [session.now(each.example) if each.times == 2 else None for each in both]
        both = [_judged_again(app, *pair) for pair in zip(both, seconds, strict=True)]
    last = [_judged(app, ask(client, each, world), session) for each in counted(writes, "call")]
    return both + last


def _judged(app: App, outcome: Outcome, session: SessionAnswers) -> Outcome:
    """Return the outcome; raise `ExportError` if the export is wrong or the call unstable."""
    example = outcome.example
    if outcome.problem is None:
        return outcome
    if outcome.got is None or example.writes:
        raise WrongAnswer(outcome)
    now = session.now(example)
    if difference(example.answer, now, outcome.how) is None:  # the session repeats its answer
        raise WrongAnswer(outcome)
    return _by_shape(app, outcome)


def _judged_again(app: App, outcome: Outcome, second: Any) -> Outcome:
    """Judge a call whose first answer was right and whose second answer differs.

    `second` is the session's second answer.
    """
    if outcome.problem is None:
        return outcome
    example, how = outcome.example, outcome.how
    if outcome.second is not None and difference(second, outcome.second, how) is None:
        # a call counter, say, advances in the session as in the export
        return replace(outcome, problem=None)
    outcome = replace(outcome, got=outcome.second)
    if difference(example.answer, second, how) is None:
        raise WrongAnswer(outcome)
    return _by_shape(app, outcome)


def _by_shape(app: App, outcome: Outcome) -> Outcome:
    """Compare only the shape of sampled text; refuse any other answer that varies."""
    example = outcome.example
    if not example.sampled:
        raise ExportError(_unstable(app, outcome))
    problem = difference(example.answer, outcome.got, "shape")
    found = replace(outcome, how="shape", problem=problem)
    if problem is not None:
        raise WrongAnswer(found)
    return found


def _wrong(outcome: Outcome) -> str:
    lines = [f"the exported app answers {outcome.endpoint} differently: {outcome.problem}."]
    lines += [f"  {name:<16} {value}" for name, value in _sides(outcome)]
    lines += [f"{reason}." for reason in outcome.reasons]
    if outcome.log:
        lines += ["In the exported app:", *(f"  {line}" for line in outcome.log.splitlines())]
    return "\n".join([*lines, _NOTHING])


def _sides(outcome: Outcome) -> list[tuple[str, str]]:
    example = outcome.example
    sides = [("request", example.payload)]
    if not example.writes:
        sides += [("this session", example.answer), ("the exported app", outcome.got)]
    return [
        (name, _short(value)) for name, value in sides if name == "request" or value is not None
    ]


def _unstable(app: App, outcome: Outcome) -> str:
    example = outcome.example
    found = causes(app, example)
    why = f": it {' and '.join(found)}" if found else ""
    code = f'lab.varies("{example.path}")'
    lines = [
        f"{outcome.endpoint} does not answer the same twice{why} ({outcome.problem}).",
        *(f"  {name:<16} {value}" for name, value in _sides(outcome)),
        f"Seed it inside the function, or let the export compare shapes: {code}",
    ]
    return "\n".join([*lines, _NOTHING])


def _short(value: Any) -> str:
    return clip(json.dumps(value, ensure_ascii=False), _MAX_SHOWN_CHARACTERS)
