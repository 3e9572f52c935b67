"""Tensor specifications, and protocols that decouple packages from each other's models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and shape of one input or output.

    `shape` holds an int for a fixed axis and a name for a dynamic one, batch axis first:
    `TensorSpec("embedding", "float32", ("batch", 384))`. With `ranked=False` any shape fits;
    `shape` is then empty, and there is no batch axis.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    ranked: bool = True

    def __str__(self) -> str:
        if not self.ranked:
            return f"{self.dtype} [...]"
        return f"{self.dtype} [{', '.join(str(axis) for axis in self.shape)}]"

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array of `shape` has the right rank and fixed axes."""
        return not self.ranked or (
            len(shape) == len(self.shape)
            and all(
                want == got
                for want, got in zip(self.shape, shape, strict=True)
                if isinstance(want, int)
            )
        )


# A tuple of specs for arrays: one is passed as is, several as a dict by name. The name of a type,
# such as `Prediction`, for any other value; None for unknown values.
ValueSpec = tuple[TensorSpec, ...] | str | None

TEXT_SPEC = TensorSpec("text", "str", ("batch",))  # one text or several


def describe_values(values: ValueSpec) -> str:
    """Describe values for display: `float32 [batch, 384]`, `text`, `?`."""
    if values is None or isinstance(values, str):
        return values or "?"
    if len(values) == 1:
        return _shown(values[0])
    return ", ".join(f"{spec.name} {_shown(spec)}" for spec in values)


def _shown(spec: TensorSpec) -> str:
    return "text" if spec.dtype == "str" and len(spec.shape) < 2 and spec.ranked else str(spec)


def describe(array: Array) -> str:
    """Describe the dtype and shape of `array` like a `TensorSpec`: `float32 [1, 383]`."""
    return f"{array.dtype} [{', '.join(map(str, array.shape))}]"


@runtime_checkable
class EmbedderProtocol(Protocol):
    """Turns text into vectors.

    A store's file identifies embedders by their optional `fingerprint`: a string that changes
    whenever their vectors change.
    """

    @property
    def dimension(self) -> int:
        """Length of each vector."""

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        """Return float32 `[dimension]` for one text, or `[n, dimension]` for several."""


@runtime_checkable
class GeneratorProtocol(Protocol):
    """Answers a question based on passages of text."""

    def generate(self, *, query: str, context: Sequence[str]) -> str:
        """Return the answer to `query`, based on the passages in `context`."""
