"""Difference: how far the answers of two forms of one model are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.runtime.rows.layout import Layout, concatenate_parts


@dataclass(frozen=True)
class Difference:
    """How far the new answers are from the old ones, on `samples` inputs.

    `relative` is what is judged: the root mean square difference as a share of the standard
    deviation of the old output; of an output of whole numbers or text, the share of samples that
    have another one. It is that of the worst output. `worst` is the same for the worst sample
    alone, `largest` the largest difference of two numbers. `same_label` is the share of equal
    labels of a model with labels, `cosine` the least and the mean of an embedder's vectors.
    """

    samples: int
    relative: float
    largest: float
    worst: float = math.nan
    same_label: float | None = None
    cosine: tuple[float, float] | None = None


def between(
    old: Sequence[Any],
    new: Sequence[Any],
    *,
    labelled: bool = False,
    vectors: bool = False,
    samples: int | None = None,
) -> Difference:
    """Return the difference of two lists of outputs, each with one row a sample; `samples` is their
    number.

    With `labelled` the first output of two axes holds a number for each label, with `vectors` the
    first is `[n, d]`.
    """
    before, after = _numbers(old), _numbers(new)
    pairs = [_apart(a, b) for a, b in zip(before, after, strict=True)]
    same, cosine = None, None
    place = next(
        (i for i, output in enumerate(before) if output.ndim == 2 and output.dtype.kind == "f"),
        None,
    )
    if labelled and place is not None:
        same = float(np.mean(before[place].argmax(1) == after[place].argmax(1)))
    if vectors:
        a, b = before[0].astype(np.float64), after[0].astype(np.float64)
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosines = (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1.0)
        cosine = float(cosines.min()), float(cosines.mean())
    relative, worst, largest = (max(column) for column in zip(*pairs, strict=True))
    return Difference(
        len(before[0]) if samples is None else samples, relative, largest, worst, same, cosine
    )


def by_sample(layout: Layout, runs: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the outputs of several runs as one per output, the samples first.

    An output without a batch axis has one entry per run, or all its numbers in a row where runs
    differ in size.
    """
    outputs: list[Any] = []
    for parts, axis in zip(zip(*runs, strict=True), layout.outputs, strict=True):
        if axis is None:
            flat = [np.concatenate([array.ravel() for array in _numbers([part])]) for part in parts]
            outputs.append(
                np.stack(flat) if len({len(row) for row in flat}) == 1 else np.concatenate(flat)
            )
        elif isinstance(parts[0], list):
            outputs.append(concatenate_parts(parts, axis))
        else:
            outputs.append(np.moveaxis(concatenate_parts(parts, axis), axis, 0))
    return outputs


def _numbers(outputs: Sequence[Any]) -> list[Array]:
    """Return the outputs as arrays, a classifier's maps of probabilities and lists of arrays too."""
    arrays: list[Array] = []
    for output in outputs:
        if not isinstance(output, list):
            arrays.append(np.atleast_1d(output))
        elif output and isinstance(output[0], np.ndarray):
            arrays += output
        else:
            arrays.append(np.array([list(row.values()) for row in output]))
    return arrays


def _apart(old: Array, new: Array) -> tuple[float, float, float]:
    """Return the relative difference of all samples, that of the worst one, and the largest of two numbers."""
    if old.shape != new.shape:
        return math.inf, math.inf, math.inf
    if not old.size:
        return 0.0, 0.0, 0.0
    if old.dtype.kind != "f":
        others = [not np.array_equal(a, b) for a, b in zip(old, new, strict=True)]
        return float(np.mean(others)), float(max(others)), 0.0
    a, b = old.astype(np.float64), new.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        apart[np.isnan(apart)] = np.inf  # a number on one side only
        finite = a[np.isfinite(a)]
        spread = (float(finite.std()) or float(np.abs(finite).max())) if finite.size else 0.0
        squares = np.mean(np.square(apart.reshape(len(apart), -1) / (spread or 1.0)), axis=1)
    return math.sqrt(squares.mean()), math.sqrt(squares.max()), float(apart.max())
