"""Difference: the distance between the answers of two forms of one model."""

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
    """The distance between old and new answers on `samples` inputs.

    `relative` is the decisive figure: the root mean square difference relative to the standard
    deviation of the old output; for integers or text, the share of samples with a different answer;
    for several outputs, the worst one. `worst` is the same for the worst sample, `largest` the
    largest difference between two numbers. `same_label` is the share of equal labels for a model
    with labels, `cosine` the minimum and mean over an embedder's vectors.
    """

    samples: int
    relative: float
    largest: float
    worst: float = math.nan
    same_label: float | None = None
    cosine: tuple[float, float] | None = None


def compare_outputs(
    old: Sequence[Any],
    new: Sequence[Any],
    *,
    labelled: bool = False,
    vectors: bool = False,
    samples: int | None = None,
) -> Difference:
    """Compare two lists of outputs, each with one row per sample; `samples` is their number.

    With `labelled` the first two-dimensional float output has one value per label; with `vectors`
    the first output is `[n, d]`.
    """
    before, after = _arrays(old), _arrays(new)
    distances = [_distances(a, b) for a, b in zip(before, after, strict=True)]
    relative, worst, largest = (max(column) for column in zip(*distances, strict=True))
    return Difference(
        samples=len(before[0]) if samples is None else samples,
        relative=relative,
        largest=largest,
        worst=worst,
        same_label=_same_label(before, after) if labelled else None,
        cosine=_cosine(before[0], after[0]) if vectors else None,
    )


def outputs_by_sample(layout: Layout, runs: Sequence[Sequence[Any]]) -> list[Any]:
    """Concatenate the outputs of several runs, with the samples on the first axis.

    An output without a batch axis has one entry per run, or all its values in a row if runs differ
    in size.
    """
    outputs: list[Any] = []
    for parts, axis in zip(zip(*runs, strict=True), layout.outputs, strict=True):
        if axis is None:
            flat = [np.concatenate([array.ravel() for array in _arrays([part])]) for part in parts]
            same = len({len(row) for row in flat}) == 1
            outputs.append(np.stack(flat) if same else np.concatenate(flat))
        elif isinstance(parts[0], list):
            outputs.append(concatenate_parts(parts, axis))
        else:
            outputs.append(np.moveaxis(concatenate_parts(parts, axis), axis, 0))
    return outputs


def _arrays(outputs: Sequence[Any]) -> list[Array]:
    """Return outputs as arrays, including maps of probabilities and lists of arrays."""
    arrays: list[Array] = []
    for output in outputs:
        if not isinstance(output, list):
            arrays.append(np.atleast_1d(output))
        elif output and isinstance(output[0], np.ndarray):
            arrays += output
        else:
            arrays.append(np.array([list(row.values()) for row in output]))
    return arrays


def _same_label(before: Sequence[Array], after: Sequence[Array]) -> float | None:
    for old, new in zip(before, after, strict=True):
        if old.ndim == 2 and old.dtype.kind == "f":
            return float(np.mean(old.argmax(1) == new.argmax(1)))
    return None


def _cosine(old: Array, new: Array) -> tuple[float, float]:
    a, b = old.astype(np.float64), new.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1.0)
    return float(cosines.min()), float(cosines.mean())


def _distances(old: Array, new: Array) -> tuple[float, float, float]:
    """Return the relative difference, the worst sample's, and the largest absolute difference."""
    if old.shape != new.shape:
        return math.inf, math.inf, math.inf
    if not old.size:
        return 0.0, 0.0, 0.0
    if old.dtype.kind != "f":
        changed = [not np.array_equal(a, b) for a, b in zip(old, new, strict=True)]
        return float(np.mean(changed)), float(max(changed)), 0.0
    a, b = old.astype(np.float64), new.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        distance[np.isnan(distance)] = np.inf  # finite on one side only
        finite = a[np.isfinite(a)]
        spread = (float(finite.std()) or float(np.abs(finite).max())) if finite.size else 0.0
        shares = distance.reshape(len(distance), -1) / (spread or 1.0)
        squares = np.mean(np.square(shares), axis=1)
    return math.sqrt(squares.mean()), math.sqrt(squares.max()), float(distance.max())
