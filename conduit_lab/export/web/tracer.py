"""Tracer: call an endpoint once with symbols, and record their uses as a program."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, SimpleNamespace
from typing import Any, cast

from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.trace.root_span import begin_call
from conduit_lab.core.trace.span import Kind, Span
from conduit_lab.core.trace.trace_replay import Replay
from conduit_lab.export.web.guard import Guard
from conduit_lab.export.web.held_state import HeldState
from conduit_lab.export.web.parameter_check import check_parameter
from conduit_lab.export.web.program import Program, Untraceable, expression
from conduit_lab.export.web.stand_ins import COMBINES, StandIns
from conduit_lab.export.web.symbol import Symbol
from conduit_lab.flow.averages import weighted
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.sequential import Sequential
from conduit_lab.models.model import Model
from conduit_lab.serving.endpoint import Endpoint

_NEEDS = {  # keyed by span kind
    "encode": "which needs a tokenizer",
    "generate": "which generates text",
    "search": "which searches a store",
    "write": "which writes to a store",
    "load": "which loads a file",
}


class TracedModels:
    """The models that the traced endpoints use, each with a unique name."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}

    def name(self, model: Model) -> str:
        """Return a model's name in the page, with a number appended if it is taken.

        Two models with the same content and labels share a name.
        """
        name, number = model.name, 2
        while (held := self.models.get(name)) is not None:
            if held.shared is model.shared and held.labels == model.labels:
                return name
            name, number = f"{model.name}-{number}", number + 1
        self.models[name] = model
        return name


def trace(endpoint: Endpoint[..., Any], models: TracedModels) -> Program:
    """Return the program of an endpoint; raise `Untraceable` if it cannot run in a browser.

    The function runs twice. If the programs differ, it depends on more than the request: on a
    clock, a counter or a random number.
    """
    first, second = (_Tracer(endpoint, models).program() for _ in range(2))
    if first.to_json() != second.to_json():
        raise Untraceable("does not do the same both times: it depends on more than its request")
    return first


class _Tracer(Replay):
    """One run of an endpoint on symbols.

    It acts as a replay, so each stage asks it for an answer before running: models never run here.
    """

    def __init__(self, endpoint: Endpoint[..., Any], models: TracedModels) -> None:
        super().__init__([], [], {})
        self._endpoint = endpoint
        self._models = models
        self._program = Program(endpoint.method, page_path(endpoint.path), endpoint.name)
        self._chain: list[str] = []
        self._stand_ins = StandIns(self, self.call)
        self._refusal: Untraceable | None = None  # raised again in case the code caught it

    def program(self) -> Program:
        """Run the endpoint and return its program."""
        endpoint = self._endpoint
        if endpoint.shape != "value":
            raise Untraceable("is a stream" if endpoint.shape == "stream" else "is a tool")
        if endpoint.is_async:
            raise Untraceable("is async")
        if endpoint.signature.request is not None:
            raise Untraceable("takes the request, and there is none in a browser")
        arguments = self._arguments()
        try:
            with self.active(), begin_call(endpoint.name, endpoint, Values(0), ()):
                self._program.answer = expression(self._answer(endpoint, arguments))
        except Untraceable:
            raise
        except Exception as error:
            if self._refusal is None:
                raise Untraceable(
                    f"raised {type(error).__name__}: {error}", tuple(self._chain)
                ) from error
        if self._refusal is not None:
            raise self._refusal
        return self._program

    def _arguments(self) -> dict[str, Any]:
        signature = self._endpoint.signature
        defaults = {
            name: each.default
            for name, each in inspect.signature(self._endpoint.first).parameters.items()
        }
        schema = signature.schema()
        for each in signature.parameters:
            check_parameter(each.name, each.schema, schema.get("$defs", {}))
            entry = {"name": each.name, "place": each.place, "schema": each.schema}
            if not each.required:
                entry["default"] = expression(defaults[each.name])
            self._program.parameters.append(entry)
        return {each.name: Symbol(self, {"argument": each.name}) for each in signature.parameters}

    def _answer(self, endpoint: Endpoint[..., Any], arguments: dict[str, Any]) -> Any:
        value = self._run(endpoint.first, **arguments)
        return value if endpoint.then is None else self.call(endpoint.then, value)

    def _run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a user's function with symbols."""
        if inspect.iscoroutinefunction(function):
            raise self.refusal("is async")
        copied = type(function) is FunctionType
        held = HeldState(function)
        try:
            with Guard(self.refusal):
                value = (self._stand_ins.function(function) if copied else function)(
                    *args, **kwargs
                )
                is_iterator = type(value) is not Symbol and isinstance(value, Iterator)
                given = list(value) if is_iterator else value
        finally:
            is_changed = held.restore()
        if is_changed:
            raise self.refusal("changes a list, dict or set that other requests see")
        return given

    # The steps

    def add(self, operation: str, **arguments: Any) -> Symbol:
        """Record a step, and return the symbol of its result."""
        step: dict[str, Any] = {"do": operation}
        for name, value in arguments.items():
            is_plain = name in ("name", "models", "weights", "dtype", "digits")
            step[name] = value if is_plain else expression(value)
        self._program.steps.append(step)
        return Symbol(self, {"step": len(self._program.steps) - 1})

    def refusal(self, reason: str) -> Untraceable:
        """Return the error to raise for a use that has no browser equivalent."""
        self._refusal = self._refusal or Untraceable(reason, tuple(self._chain))
        return self._refusal

    # The stages

    def kept(
        self, here: Span, name: str, kind: Kind, target: Any, value: Any, arguments: Any = ()
    ) -> Span:
        """Return the symbol of a stage's answer instead of running it."""
        if isinstance(target, Model):
            if arguments:  # called with a list of samples
                given: Any = [self.call(target, each) for each in value]
            else:
                given = self.call(target, value)
        elif isinstance(target, Stage) and kind == "call":
            given = self.call(target, value)
        else:
            with self._inside(name):
                raise self.refusal(
                    f"calls {name}, {_NEEDS.get(kind, f'a {type(target).__name__}')}"
                )
        return cast(Span, SimpleNamespace(gave=given))

    def call(self, stage: Stage, value: Any) -> Any:
        """Return the answer of a stage to a value that may contain symbols."""
        with self._inside(getattr(stage, "name", type(stage).__name__)):
            if type(stage) is Model:
                return self.add("model", of=value, models=[self._models.name(stage)])
            if isinstance(stage, Function):
                return self._combined(stage.function, value)
            if isinstance(stage, Sequential):
                for each in stage.stages:
                    value = self.call(each, value)
                return value
            if isinstance(stage, Parallel):
                return {name: self.call(each, value) for name, each in stage.stages.items()}
            if isinstance(stage, Ensemble):
                return self._ensemble(stage, value)
            if isinstance(stage, Fallback):
                return self._fallback(stage, value)
            if isinstance(stage, Endpoint):
                return self._called_endpoint(stage, value)
            raise self.refusal(f"calls {stage.name}, a {type(stage).__name__}")

    def _combined(self, function: Any, value: Any) -> Any:
        weights = function.weights if isinstance(function, weighted) else None
        name = "weighted" if weights is not None else _combine_name(function)
        if name is None:
            return self._run(function, value)
        return self.add("combine", of=value, name=name, weights=weights)

    def _ensemble(self, stage: Ensemble, value: Any) -> Any:
        if stage.min_members is not None or stage.timeout is not None:
            raise self.refusal("leaves members out, by min_members or a timeout")
        return self.call(stage.combine, [self.call(each, value) for each in stage.models])

    def _fallback(self, stage: Fallback, value: Any) -> Any:
        other = next((each for each in stage.stages if type(each) is not Model), None)
        if other is not None:
            raise self.refusal(f"falls back to or from {other.name}, a {type(other).__name__}")
        names = [self._models.name(each) for each in stage.stages if isinstance(each, Model)]
        return self.add("model", of=value, models=names)

    def _called_endpoint(self, endpoint: Endpoint[..., Any], value: Any) -> Any:
        if endpoint.signature.whole is None or endpoint.shape != "value" or endpoint.is_async:
            raise self.refusal(
                f"calls the endpoint {endpoint.name}, which takes more than one value"
            )
        return self._answer(endpoint, {endpoint.signature.whole: value})

    @contextmanager
    def _inside(self, name: str) -> Iterator[None]:
        self._chain.append(name)
        yield
        self._chain.pop()  # kept on an error, whose chain this is


def page_path(path: str) -> str:
    """Return a path without converters, as the page writes it: `/near/{shelf}`."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", path)


def _combine_name(function: Any) -> str | None:
    return COMBINES.get(function) if isinstance(function, FunctionType) else None
