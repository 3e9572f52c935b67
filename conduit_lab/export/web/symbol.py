"""Symbol: a value known only at request time; its uses are recorded as steps, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import numpy as np

# NumPy ufuncs, and the steps for the same arithmetic
_UFUNCS = {
    np.add: "add",
    np.subtract: "subtract",
    np.multiply: "multiply",
    np.true_divide: "divide",
    np.negative: "negative",
    np.absolute: "absolute",
    np.exp: "exp",
    np.log: "log",
    np.sqrt: "sqrt",
    np.tanh: "tanh",
}
_ATTRIBUTES = frozenset({"label", "score", "probabilities"})  # of a prediction


class StepRecorder(Protocol):
    """Records the uses of symbols."""

    def add(self, operation: str, **arguments: Any) -> Symbol:
        """Record a step, and return the symbol of its result."""

    def refusal(self, reason: str) -> Exception:
        """Return the error to raise for a use that has no browser equivalent."""


class Symbol:
    """A value known only in the browser; `reference` identifies it in the recorded program.

    Indexing, attributes of a prediction, arithmetic and a few array methods become steps. Uses that
    need the value now (a comparison, a branch, a loop, a string) are refused: no request would have
    determined their outcome.
    """

    __slots__ = ("_recorder", "reference")

    def __init__(self, recorder: StepRecorder, reference: dict[str, Any]) -> None:
        self._recorder = recorder
        self.reference = reference

    def __getitem__(self, key: Any) -> Symbol:
        if type(key) not in (str, int):
            raise self._recorder.refusal(
                f"takes an item by {_named(key)}, not by a fixed key or index"
            )
        return self._recorder.add("item", of=self, key=key)

    def __getattr__(self, name: str) -> Any:
        if name in _ATTRIBUTES:
            return self._recorder.add("attribute", of=self, name=name)
        # NumPy probes for array protocols, and models check whether it is a DataFrame
        if name.startswith("__") or name == "itertuples":
            raise AttributeError(name)
        raise self._recorder.refusal(f"uses .{name} of a value known only at request time")

    def get(self, key: str, default: Any = None) -> Symbol:
        """Record the lookup of a key that may be missing."""
        if type(key) is not str:
            raise self._recorder.refusal(f"looks up {_named(key)}, not a fixed key")
        return self._recorder.add("get", of=self, key=key, default=default)

    def tolist(self) -> Symbol:
        """Record the conversion of an array to lists."""
        return self._recorder.add("tolist", of=self)

    def item(self) -> Symbol:
        """Record the conversion of an array of one number to that number."""
        return self._recorder.add("number", of=self)

    def argmax(self) -> Symbol:
        """Record the index of an array's largest number."""
        return self._recorder.add("argmax", of=self)

    def astype(self, dtype: Any) -> Symbol:
        """Record the conversion of an array to another dtype."""
        return self._recorder.add("array", of=self, dtype=str(np.dtype(dtype)))

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise self._recorder.refusal("asks for the type of a value known only at request time")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Symbol:
        step = _UFUNCS.get(ufunc)
        if step is None or method != "__call__" or options:
            raise self._recorder.refusal(
                f"calls np.{ufunc.__name__}, which has no browser equivalent"
            )
        return self._recorder.add(step, **dict(zip(("of", "by"), inputs, strict=False)))

    def __array_function__(self, function: Callable[..., Any], *_: Any) -> NoReturn:
        raise self._recorder.refusal(
            f"calls np.{function.__name__}, which has no browser equivalent"
        )

    def __add__(self, other: Any) -> Symbol:
        return self._recorder.add("add", of=self, by=other)

    def __radd__(self, other: Any) -> Symbol:
        return self._recorder.add("add", of=other, by=self)

    def __sub__(self, other: Any) -> Symbol:
        return self._recorder.add("subtract", of=self, by=other)

    def __rsub__(self, other: Any) -> Symbol:
        return self._recorder.add("subtract", of=other, by=self)

    def __mul__(self, other: Any) -> Symbol:
        return self._recorder.add("multiply", of=self, by=other)

    def __rmul__(self, other: Any) -> Symbol:
        return self._recorder.add("multiply", of=other, by=self)

    def __truediv__(self, other: Any) -> Symbol:
        return self._recorder.add("divide", of=self, by=other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self._recorder.add("divide", of=other, by=self)

    def __neg__(self) -> Symbol:
        return self._recorder.add("negative", of=self)

    def __abs__(self) -> Symbol:
        return self._recorder.add("absolute", of=self)

    def __round__(self, digits: int | None = None) -> Symbol:
        if digits is not None and type(digits) is not int:
            raise self._recorder.refusal("rounds to a number of digits that is not fixed")
        return self._recorder.add("round", of=self, digits=digits)


def _refused(reason: str) -> Callable[..., NoReturn]:
    def refuse(self: Symbol, *_: Any) -> NoReturn:
        raise self._recorder.refusal(reason)

    return refuse


def _named(key: Any) -> str:
    if type(key) is Symbol:
        return "a value known only at request time"
    return "a slice" if isinstance(key, slice) else f"{type(key).__name__} {key!r}"


_VALUE = "a value known only at request time"
_REASONS = {
    f"branches on {_VALUE}": ("bool",),
    f"compares {_VALUE}": ("eq", "ne", "lt", "le", "gt", "ge", "contains"),
    f"looks something up by {_VALUE}": ("hash", "index"),
    f"needs the length of {_VALUE}": ("len",),
    f"loops over {_VALUE}": ("iter", "next", "reversed"),
    f"formats {_VALUE} as text": ("str", "repr", "format", "bytes"),
    f"turns {_VALUE} into a Python number": ("float", "int", "complex", "trunc", "floor", "ceil"),
    f"turns {_VALUE} into an array outside of np.array": ("array",),
    f"changes {_VALUE}": ("setitem", "delitem", "iadd", "isub", "imul", "itruediv"),
    f"calls {_VALUE}": ("call", "enter", "exit", "await", "aiter"),
    f"copies {_VALUE}": ("copy", "deepcopy", "reduce_ex"),
    "uses an operator that has no browser equivalent": (
        *("mod", "rmod", "pow", "rpow", "floordiv", "rfloordiv", "matmul", "rmatmul", "divmod"),
        *("and", "rand", "or", "ror", "xor", "rxor", "invert", "lshift", "rshift", "pos"),
    ),
}
for _reason, _names in _REASONS.items():
    for _name in _names:
        setattr(Symbol, f"__{_name}__", _refused(_reason))
