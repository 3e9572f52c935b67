"""Hints: how a call could be faster, in words, with the trace's own measured times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conduit_lab.core.text import one_line
from conduit_lab.core.trace.edges import DataFlow
from conduit_lab.core.trace.self_time import elapsed
from conduit_lab.core.views import figures

if TYPE_CHECKING:
    from conduit_lab.core.trace.span import Span

_HOP_SECONDS = 1e-4  # overhead of starting a stage on another thread and waiting for it
MIN_SHARE = 0.01  # of the call's time; smaller hints are omitted
MIN_LOOP_CALLS = 3
MAX_GROUPS = 50  # of parallelizable stages, among the children of one span

_WORK = frozenset({"predict", "encode", "generate", "search"})  # releases the GIL
_CHANGES = frozenset({"write", "load"})
_MODELS = frozenset({"predict", "encode"})
_NAME_CHARACTERS = 40
_MAX_DEPTH = 20  # of containers

_Hint = tuple[float, str]  # the seconds at stake, and the sentence


def hints(root: Span) -> list[str]:
    """Return a sentence for each possible speedup, largest first.

    Covers stages that could run in parallel, ONNX models that could be fused, calls that repeat an
    input, and calls in a loop. Each figure is a time from this trace; savings are upper bounds.
    Hints about less than 1 % of the call's time are left out.
    """
    found: list[_Hint] = []
    spans = [span for _, span in root.walk()]
    kinds = _kinds(spans)
    for span in spans:
        if span.children and span.kind == "call":  # the caller cannot change a store's code
            flow = DataFlow(span)
            found += [*_parallel(flow, kinds), *_fusible(flow), *_looped(flow)]
    found += _repeated(spans)
    least = MIN_SHARE * elapsed(root)
    return [sentence for seconds, sentence in sorted(found, reverse=True) if seconds >= least]


def _parallel(flow: DataFlow, kinds: Mapping[int, set[str]]) -> Iterator[_Hint]:
    """Find stages that ran in sequence although all their inputs existed before the first."""
    if _is_composed(flow):
        return  # a combinator already determines how its stages run
    groups: list[list[Span]] = []
    for span in flow.spans:
        if not _is_work(span, kinds[id(span)]):
            continue
        ready = flow.ready(span)
        for group in groups:
            if ready <= group[0].start and _follows(span, group):
                group.append(span)
                break
        else:
            if len(groups) < MAX_GROUPS:
                groups.append([span])
    for group in groups:
        times = [span.duration for span in group]
        saved = sum(times) - max(times) - _HOP_SECONDS * (len(group) - 1)
        if saved > 0:
            names = [_quoted(span) for span in group]
            yield (
                saved,
                f"{_and(names)} do not read each other's output: in parallel they would save at "
                f"most {figures.seconds(saved)} of {figures.seconds(sum(times))}. "
                f"`Parallel({{{', '.join(f'{name}: …' for name in names)}}})`",
            )


def _fusible(flow: DataFlow) -> Iterator[_Hint]:
    """Find chains of ONNX models in which only the next model reads a model's output."""
    chains: list[list[Span]] = []
    for span in flow.spans:
        sources = flow.sources(span) if _is_onnx(span) else []
        before = sources[0] if len(sources) == 1 else None
        if (
            before is None
            or not _is_onnx(before)
            or before.gave is not span.given
            or len(flow.targets(before)) > 1
            or flow.gives(before)
        ):
            continue
        chain = next((chain for chain in chains if chain[-1] is before), None)
        if chain is None:
            chains.append([before, span])
        else:
            chain.append(span)
    for chain in chains:
        names = [_quoted(span) for span in chain]
        runs = figures.plural(len(chain) - 1, "run")
        took = _and([figures.seconds(span.duration) for span in chain])
        yield (
            sum(span.duration for span in chain),
            f"{_and(names)} could be one graph, since nothing else reads the values between them: "
            f"that saves at most the overhead of {runs}; they took {took}. "
            f"`Sequential({', '.join(map(_code, chain))}).fused(sample)`",
        )


def _looped(flow: DataFlow) -> Iterator[_Hint]:
    """Find sequential calls of one model that do not depend on each other's output."""
    if _is_composed(flow):
        return
    loops: dict[int, list[Span]] = {}
    for span in flow.spans:
        if span.kind in _MODELS and span.error is None and hasattr(span.target, "batch"):
            loops.setdefault(id(span.target), []).append(span)
    for calls in loops.values():
        in_turn = all(later.start >= _end(earlier) for earlier, later in pairwise(calls))
        if len(calls) >= MIN_LOOP_CALLS and in_turn and not _is_chained(flow, calls):
            took = sum(span.duration for span in calls)
            yield (
                took,
                f"{figures.plural(len(calls), 'call')} of {_quoted(calls[0])} in turn took "
                f"{figures.seconds(took)}: if all inputs are known before the first, they "
                f"could be one call. `{_code(calls[0])}.batch(values)`",
            )


def _repeated(spans: Sequence[Span]) -> Iterator[_Hint]:
    """Find calls of a model that repeat an earlier input and arguments."""
    seen: dict[int, list[Span]] = {}
    for span in spans:
        if span.kind in _MODELS and span.ended and span.error is None and span.given is not None:
            seen.setdefault(id(span.target), []).append(span)
    for calls in seen.values():
        inputs: set[Any] = set()
        again = []
        for span in calls if len(calls) > 1 else ():
            key = (_content(span.input), _content(span.attributes.get("arguments")))
            if key in inputs and not span.attributes.get("cached"):
                again.append(span)
            inputs.add(key)
        if again:
            took = sum(span.duration for span in again)
            yield (
                took,
                f"{figures.plural(len(again), 'call')} of {_quoted(again[0])} had an input that it "
                f"had before: a cache would save at most {figures.seconds(took)}. "
                f"`Cached({_code(again[0])})`",
            )


def _content(value: Any, depth: int = 0) -> Any:
    """Return a key that is equal for equal content; other objects equal only themselves."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest = blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).digest()
        return "array", str(value.dtype), value.shape, digest
    if isinstance(value, str | bytes | int | float | bool | None):
        return type(value).__name__, value
    if type(value) in (list, tuple) and depth < _MAX_DEPTH:
        return type(value).__name__, tuple(_content(item, depth + 1) for item in value)
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return "dict", tuple((key, _content(item, depth + 1)) for key, item in value.items())
    return "object", id(value)


def _is_composed(flow: DataFlow) -> bool:
    parts = {id(stage) for stage in getattr(flow.within.target, "children", None) or ()}
    return any(id(span.target) in parts for span in flow.spans)


def _follows(span: Span, group: Sequence[Span]) -> bool:
    """Return whether a stage outside the group ran after all of them."""
    return all(span.start >= _end(other) and span.name != other.name for other in group)


def _kinds(spans: Sequence[Span]) -> dict[int, set[str]]:
    """Return the kinds of each span and its descendants, keyed by id."""
    kinds: dict[int, set[str]] = {}
    for span in reversed(spans):  # children first
        below = (kinds.get(id(child), set()) for child in list(span.children))
        kinds[id(span)] = {span.kind}.union(*below)
    return kinds


def _is_work(span: Span, kinds: set[str]) -> bool:
    """Return whether a span succeeded and ran a model or a search, itself or below."""
    return span.ended and span.error is None and bool(kinds & _WORK) and not kinds & _CHANGES


def _is_onnx(span: Span) -> bool:
    path = getattr(span.target, "path", None)
    is_file = isinstance(path, Path) and path.suffix == ".onnx"
    return span.kind == "predict" and is_file and span.ended and span.error is None


def _is_chained(flow: DataFlow, calls: Sequence[Span]) -> bool:
    """Return whether a call depends on an earlier one, directly or through other stages."""
    later = {id(span) for span in calls[1:]}
    reached: set[int] = set()
    pending = list(calls)
    while pending:
        for target in flow.targets(pending.pop()):
            if id(target) in later:
                return True
            if id(target) not in reached:
                reached.add(id(target))
                pending.append(target)
    return False


def _end(span: Span) -> float:
    return span.start + elapsed(span)


def _quoted(span: Span) -> str:
    return repr(one_line(span.name, _NAME_CHARACTERS))


def _code(span: Span) -> str:
    """Return the stage's name if it is an identifier, since it usually matches a variable."""
    return span.name if span.name.isidentifier() else "stage"


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
