"""Stand-ins: replace global names of a function that runs on symbols, such as `float` and `np`."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from conduit_lab.export.web.guard import is_library
from conduit_lab.export.web.symbol import StepRecorder, Symbol
from conduit_lab.flow.averages import average, maximum, minimum, weighted
from conduit_lab.flow.votes import majority_vote
from conduit_lab.serving.endpoint import Endpoint

COMBINES: dict[Any, str] = {
    majority_vote: "majority_vote",
    average: "average",
    maximum: "maximum",
    minimum: "minimum",
}


class _NumberType(type):
    """Makes the stand-in for `float` accept the same instances."""

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, cls.__mro__[1])

    def __eq__(cls, other: object) -> bool:
        return other is cls.__mro__[1] or other is cls

    def __hash__(cls) -> int:
        return hash(cls.__mro__[1])


class _Float(float, metaclass=_NumberType):
    """Records `float(symbol)`; behaves like `float` otherwise."""

    def __new__(cls, value: Any = 0.0) -> Any:
        if type(value) is Symbol:
            return value._recorder.add("float", of=value)
        return float(value)


class _Int(int, metaclass=_NumberType):
    """Records `int(symbol)`; behaves like `int` otherwise."""

    def __new__(cls, value: Any = 0, *base: Any) -> Any:
        if type(value) is Symbol:
            return value._recorder.add("int", of=value)
        return int(value, *base)


class _NumPy:
    """NumPy with an `array`, `asarray` and `argmax` that accept symbols."""

    def __getattr__(self, name: str) -> Any:
        made = {"array": _array, "asarray": _array, "argmax": _argmax}.get(name)
        return getattr(np, name) if made is None else made


class StandIns:
    """The stand-ins of one trace; `call` runs an endpoint or a stage on a symbol."""

    def __init__(self, recorder: StepRecorder, call: Callable[[Any, Any], Any]) -> None:
        self._recorder = recorder
        self._call = call
        self._functions: dict[int, FunctionType] = {}

    def function(self, function: FunctionType) -> FunctionType:
        """Return a copy of a user's function whose globals are stand-ins."""
        if (made := self._functions.get(id(function))) is not None:
            return made
        names = dict(function.__globals__)
        made = FunctionType(
            function.__code__, names, function.__name__, function.__defaults__, function.__closure__
        )
        made.__kwdefaults__ = function.__kwdefaults__
        self._functions[id(function)] = made  # before the globals: the function may call itself
        for name in set(names_in_code(function.__code__)):
            if name in names:
                names[name] = self.of(names[name])
            elif name in ("float", "int"):
                names[name] = self.of(getattr(builtins, name))
        return made

    def of(self, value: Any) -> Any:
        """Return the stand-in for a global value, or the value itself."""
        if value is np:
            return _NumPy()
        if value is float or value is int:
            return _Float if value is float else _Int
        if isinstance(value, weighted):
            return self._combine("weighted", value.weights)
        if value is weighted:
            return lambda weights: self._combine("weighted", weighted(weights).weights)
        if isinstance(value, Endpoint):
            return lambda argument: self._call(value, argument)
        if type(value) is not FunctionType:
            return value
        if value in COMBINES:
            return self._combine(COMBINES[value])
        return value if is_library(value.__code__.co_filename) else self.function(value)

    def _combine(self, name: str, weights: tuple[float, ...] | None = None) -> Any:
        def combine(answers: Any) -> Symbol:
            return self._recorder.add("combine", of=answers, name=name, weights=weights)

        return combine


def names_in_code(code: CodeType) -> Iterator[str]:
    """Yield the globals and attributes that a function and its nested functions may use."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from names_in_code(each)


def _symbol_in(value: Any) -> Symbol | None:
    if type(value) is Symbol:
        return value
    if type(value) not in (list, tuple):
        return None
    return next((found for each in value if (found := _symbol_in(each)) is not None), None)


def _array(value: Any, dtype: Any = None, **options: Any) -> Any:
    symbol = _symbol_in(value)
    if symbol is None:
        return np.array(value, dtype, **options)
    if options:
        raise symbol._recorder.refusal(f"calls np.array with {', '.join(options)}")
    name = None if dtype is None else str(np.dtype(dtype))
    return symbol._recorder.add("array", of=value, dtype=name)


def _argmax(value: Any, axis: Any = None) -> Any:
    if type(value) is not Symbol:
        return np.argmax(value, axis)
    if axis is not None:
        raise value._recorder.refusal("calls np.argmax with an axis")
    return value.argmax()
