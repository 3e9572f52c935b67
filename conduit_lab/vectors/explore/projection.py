"""Projection: positions in the plane for vectors, by principal components or UMAP."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray

Method = Literal["pca", "umap"]
"""The projection method of a map."""

METHODS = ("pca", "umap")
COMPONENTS = 32  # used to find clusters and neighbours
_OVERSAMPLING = 8
_POWER_ITERATIONS = 4
_MAX_SAMPLE_VALUES = 4_000_000  # of the rows used to find the directions
_MIN_UMAP_ENTRIES = 16  # with fewer, a graph of 15 neighbours is meaningless
_NEAREST = 8  # neighbours used to place a new vector if there is no projection


class PrincipalAxesOfMap(NamedTuple):
    """The mean `[dimension]`, the first principal directions `[k, dimension]`, and shares.

    `shares` `[k]` are the shares of variance along each direction, in descending order.
    """

    mean: FloatArray
    directions: FloatArray
    shares: FloatArray

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """Return the components `[n, k]` of vectors `[n, dimension]`."""
        shift = self.mean @ self.directions.T
        components: FloatArray = vectors @ self.directions.T - shift
        return components


def principal_directions(vectors: FloatArray, count: int = COMPONENTS) -> PrincipalAxesOfMap:
    """Return the first principal directions of vectors `[n, dimension]`, n at least 1.

    Uses a randomized range finder with power iterations (Halko, Martinsson and Tropp 2011), on a
    sample if there are many rows. The sign of a direction makes its largest value positive.
    """
    dimension = vectors.shape[1]
    step = max(1, len(vectors) * dimension // _MAX_SAMPLE_VALUES)
    sample = vectors[::step]
    mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = sample - mean
    width = min(count + _OVERSAMPLING, dimension)
    basis = np.random.default_rng(0).standard_normal((dimension, width)).astype(np.float32)
    for _ in range(_POWER_ITERATIONS):
        basis = _orthonormal(centred.T @ (centred @ basis))
    along = centred @ basis
    values, turn = np.linalg.eigh((along.T @ along).astype(np.float64))
    order = np.argsort(-values)[: min(count, width)]
    directions = (basis @ turn[:, order].astype(np.float32)).T
    greatest = np.abs(directions).argmax(axis=1)
    directions *= np.where(directions[np.arange(len(directions)), greatest] < 0, -1, 1)[:, None]
    total = float(np.vdot(centred, centred))
    # Rounding leaves a little variance if all vectors are equal.
    floor = 1e-10 * len(sample) * max(1e-30, float(mean @ mean))
    shares = np.maximum(values[order], 0) / total if total > floor else np.zeros(len(order))
    if total <= floor:
        directions[:] = 0
    return PrincipalAxesOfMap(mean, np.ascontiguousarray(directions), shares.astype(np.float32))


def _orthonormal(columns: FloatArray) -> FloatArray:
    """Return an orthonormal basis of columns `[n, k]`, with zeros for redundant columns.

    Uses their products `[k, k]`: a QR factorization of a tall matrix takes ten times as long.
    """
    wide = columns.astype(np.float64)
    values, turn = np.linalg.eigh(wide.T @ wide)
    kept = values > 1e-13 * max(values[-1], 1e-300)
    scale = np.divide(1.0, np.sqrt(np.abs(values)), where=kept, out=np.zeros_like(values))
    basis: FloatArray = (wide @ (turn * scale)).astype(np.float32)
    return basis


class Places(Protocol):
    """A fitted projection to the plane."""

    sentence: str

    @property
    def xy(self) -> FloatArray:
        """The position of each entry: float32 `[n, 2]`."""

    def place(self, components: FloatArray) -> FloatArray:
        """Return the positions `[m, 2]` of other vectors, given by their components `[m, k]`."""


class PlanePlaces:
    """Positions along the first two principal directions."""

    def __init__(self, axes: PrincipalAxesOfMap, components: FloatArray) -> None:
        self.xy = _plane(components)
        share = float(axes.shares[:2].sum())
        self.sentence = (
            f"2 directions hold {share:.0%} of the variance"
            if share > 0
            else "all vectors are equal"
        )

    def place(self, components: FloatArray) -> FloatArray:
        """Return the first two components."""
        return _plane(components)


class GraphPlaces:
    """Positions by UMAP, which preserves neighbours but not distances."""

    def __init__(self, components: FloatArray) -> None:
        self._components = components
        self.xy = _umap(components)
        self.sentence = "UMAP: neighbours stay together, distances mean little"

    def place(self, components: FloatArray) -> FloatArray:
        """Return positions among the nearest entries."""
        rows = []
        for each in components:
            off = np.square(self._components - each).sum(axis=1)
            nearest = np.argsort(off, kind="stable")[:_NEAREST]
            weights = 1 / (off[nearest] + 1e-6)
            rows.append(weights @ self.xy[nearest] / weights.sum())
        return np.array(rows, np.float32).reshape(-1, 2)


def places_of(method: str, axes: PrincipalAxesOfMap, components: FloatArray) -> Places:
    """Return the positions of entries by their components; raise for an unknown method."""
    if method not in METHODS:
        raise VectorInputError(f"a map's method is 'pca' or 'umap', got {method!r}")
    if method == "umap":
        _import_umap()
        if len(components) >= _MIN_UMAP_ENTRIES and axes.shares.any():
            return GraphPlaces(components)
    return PlanePlaces(axes, components)


def _plane(components: FloatArray) -> FloatArray:
    """Return the first two components `[n, 2]`, with zeros for a missing second one."""
    xy = np.zeros((len(components), 2), np.float32)
    width = min(2, components.shape[1])
    xy[:, :width] = components[:, :width]
    return xy


def _umap(components: FloatArray) -> FloatArray:
    neighbours = min(15, len(components) - 1)
    model = _import_umap()(n_neighbors=neighbours, min_dist=0.1, random_state=0, n_jobs=1)
    placed: FloatArray = np.nan_to_num(model.fit_transform(components)).astype(np.float32)
    return placed


def _import_umap() -> Any:
    try:
        from umap import UMAP
    except ImportError as error:
        raise VectorInputError(
            "method='umap' needs the package umap-learn, which is not installed: "
            "pip install 'conduit-lab[umap]', or leave method= out for the principal directions"
        ) from error
    return UMAP
