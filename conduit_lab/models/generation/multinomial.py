"""Multinomial: one random token per row of logits, without sorting the vocabulary if possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import FloatArray

TokenIds = npt.NDArray[np.int64]
_DoubleArray = npt.NDArray[np.float64]

# Sums use blocks of fixed length from the start of a row, so padding, whose length depends on the
# other rows of the batch, cannot change their rounding.
_BLOCK_TOKENS = 128
MAXIMA_COLUMNS = 1024  # a row in this many columns: their maxima bound its top values
_CHUNK_LOGITS = 2**18  # per pass, to stay in a core's own cache
_TOP_P_CANDIDATES = 128  # tokens tried first for `top_p`


@dataclass(frozen=True)
class RowOptions:
    """Sampling options of `[n]` rows.

    `temperature` is float32 and above 0; `top_k` 0, `top_p` 1 and `min_p` 0 filter nothing.
    `uniform` are random numbers in (0, 1]: the sampled token is the first one, in id order, at
    which the cumulative probability reaches the number (inverse transform sampling).
    """

    temperature: FloatArray
    top_k: TokenIds
    top_p: _DoubleArray
    min_p: _DoubleArray
    uniform: _DoubleArray

    def of(self, rows: TokenIds | slice) -> RowOptions:
        """Return the options of some rows."""
        return RowOptions(
            self.temperature[rows],
            self.top_k[rows],
            self.top_p[rows],
            self.min_p[rows],
            self.uniform[rows],
        )


@dataclass(frozen=True)
class FilterLimits:
    """The largest distance from the best logit that each filter keeps, float64 `[n]`, or inf."""

    top_k: _DoubleArray
    top_p: _DoubleArray
    min_p: _DoubleArray

    @property
    def nearest(self) -> _DoubleArray:
        """The largest distance kept by all filters."""
        return np.minimum(np.minimum(self.top_k, self.top_p), self.min_p)


class Multinomial:
    """Samples tokens from rows of logits over a vocabulary. Not thread-safe: it reuses its buffers.

    Otherwise buffers of this size would be returned to the system and mapped again at each step,
    which doubles a step's time.
    """

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._width = -(-vocabulary // _BLOCK_TOKENS) * _BLOCK_TOKENS
        self._chunk_rows = max(1, _CHUNK_LOGITS // self._width)
        self._buffers = np.empty((3, self._chunk_rows * self._width), np.float32)

    def sample(self, logits: FloatArray, options: RowOptions) -> TokenIds:
        """Return a token per row, int64 `[n]`; `logits` are float32 `[n, vocabulary]`."""
        ids = np.empty(len(logits), np.int64)
        for begin in range(0, len(logits), self._chunk_rows):
            chunk = slice(begin, begin + self._chunk_rows)
            ids[chunk] = self._sample_chunk(logits[chunk], options.of(chunk))
        return ids

    def probabilities(
        self, logits: FloatArray, options: RowOptions
    ) -> tuple[_DoubleArray, FilterLimits]:
        """Return the distribution used by `sample`, and the filters' limits.

        `logits` are one row, the probabilities float64 `[1, vocabulary]`: 0 for a token that a
        filter excludes.
        """
        distances = self._distances(logits, options)
        near, weights = (np.empty_like(distances) for _ in range(2))
        limits, _ = _kept_weights(distances, options, np.full(1, np.nan), near, weights)
        kept = weights[:, : self._vocabulary].astype(np.float64)
        return kept / kept.sum(axis=1, keepdims=True), limits

    def _sample_chunk(self, logits: FloatArray, options: RowOptions) -> TokenIds:
        ids = np.full(len(logits), -1)
        unfiltered = np.where(options.top_p < 1, _TOP_P_CANDIDATES, self._vocabulary)
        candidates = np.where(options.top_k > 0, options.top_k, unfiltered)
        few = np.flatnonzero(candidates <= MAXIMA_COLUMNS // 2)
        if few.size and self._vocabulary >= 4 * MAXIMA_COLUMNS:
            ids[few] = self._sample_top(_rows(logits, few), options.of(few), candidates[few])
        rest = np.flatnonzero(ids < 0)
        if rest.size:
            ids[rest] = self._sample_all(_rows(logits, rest), options.of(rest))
        return ids

    def _sample_top(
        self, logits: FloatArray, options: RowOptions, candidates: TokenIds
    ) -> TokenIds:
        """Sample from the top `candidates` of each row; -1 if `top_p` keeps more tokens."""
        values, tokens = _top_values(logits, candidates)
        distances = (logits.max(axis=1, keepdims=True) - values) / options.temperature[:, None]
        total = np.full(len(logits), np.nan)
        nucleus = np.flatnonzero(options.top_k == 0)  # `top_p` then refers to the whole row
        if nucleus.size:
            every = self._distances(_rows(logits, nucleus), options.of(nucleus))
            total[nucleus] = _weights(every, every).sum(axis=1)
        buffers = (np.empty_like(distances) for _ in range(2))
        places, enough = _choose(distances, options, total, *buffers)
        ids: TokenIds = np.where(enough, tokens[np.arange(len(tokens)), places], -1)
        return ids

    def _sample_all(self, logits: FloatArray, options: RowOptions) -> TokenIds:
        distances = self._distances(logits, options)
        near, weights = (
            buffer[: distances.size].reshape(distances.shape) for buffer in self._buffers[1:]
        )
        places, _ = _choose(distances, options, np.full(len(logits), np.nan), near, weights)
        return places

    def _distances(self, logits: FloatArray, options: RowOptions) -> FloatArray:
        """Return float32 `[n, width]`, (best logit - logit) / temperature, padded with inf."""
        distances = self._buffers[0, : len(logits) * self._width].reshape(len(logits), self._width)
        inner = distances[:, : self._vocabulary]
        np.subtract(logits.max(axis=1, keepdims=True), logits, out=inner)
        inner /= options.temperature[:, None]
        distances[:, self._vocabulary :] = np.inf
        return distances


def _choose(
    distances: FloatArray,
    options: RowOptions,
    total: _DoubleArray,
    near: FloatArray,
    weights: FloatArray,
) -> tuple[TokenIds, npt.NDArray[np.bool_]]:
    """Return the sampled columns, and whether each row holds all tokens that `top_p` keeps.

    `distances` float32 `[n, width]` end in infinities. `total` is the weight of the whole
    vocabulary, or NaN for a row that contains all of it. Overwrites `near` and `weights`.
    """
    _, enough = _kept_weights(distances, options, total, near, weights)
    sums = _block_sums(weights)
    return _first_reaching(weights, sums, options.uniform * sums[:, -1]), enough


def _kept_weights(
    distances: FloatArray,
    options: RowOptions,
    total: _DoubleArray,
    near: FloatArray,
    weights: FloatArray,
) -> tuple[FilterLimits, npt.NDArray[np.bool_]]:
    """Write the weight of each column, 0 if a filter excludes it; return the filters' limits.

    The arguments and the second result are those of `_choose`.
    """
    rows = len(distances)
    unlimited = np.full(rows, np.inf)
    min_p = -np.log(np.maximum(options.min_p, np.finfo(np.float64).tiny))
    min_p[options.min_p == 0] = np.inf
    limits = FilterLimits(unlimited, unlimited, min_p)
    enough = np.ones(rows, np.bool_)
    if (options.top_k > 0).any() or (options.top_p < 1).any():
        each = np.arange(rows)
        near[:] = distances
        near.sort(axis=1)
        # a top_k of 0 selects column -1, the largest distance
        last = near[each, np.minimum(options.top_k, near.shape[1]) - 1]
        _weights(near, weights)
        weights *= near <= last[:, None]
        sums = _block_sums(weights)
        goal = options.top_p * np.where(np.isnan(total), sums[:, -1], total)
        enough = ~(sums[:, -1] < goal)
        cut = near[each, _first_reaching(weights, sums, goal)]
        limits = FilterLimits(
            last.astype(np.float64), np.where(options.top_p < 1, cut, np.inf), min_p
        )
    _weights(distances, weights)
    furthest = limits.nearest
    if np.isfinite(furthest).any():
        weights *= distances <= furthest[:, None]
    return limits, enough


def _top_values(logits: FloatArray, count: TokenIds) -> tuple[FloatArray, TokenIds]:
    """Return at least the `count` largest values per row and their tokens, by id, padded with -inf.

    The k-th largest column maximum is at most the k-th largest value, and close to it for values in
    random order: one pass over the row finds the maxima, another finds the values above.
    """
    rows, vocabulary = logits.shape
    columns = logits[:, : vocabulary // MAXIMA_COLUMNS * MAXIMA_COLUMNS]
    maxima = columns.reshape(rows, -1, MAXIMA_COLUMNS).max(axis=1)
    maxima.sort(axis=1)
    floor = maxima[np.arange(rows), MAXIMA_COLUMNS - count]
    floor = np.maximum(floor, np.finfo(np.float32).min)  # excludes -inf: masked tokens
    found = np.flatnonzero(logits >= floor[:, None])
    row, token = np.divmod(found, vocabulary)
    counts = np.bincount(row, minlength=rows)
    place = np.arange(found.size) - np.repeat(np.cumsum(counts) - counts, counts)
    width = -(-max(1, int(counts.max())) // _BLOCK_TOKENS) * _BLOCK_TOKENS
    values = np.full((rows, width), -np.inf, np.float32)
    tokens = np.zeros((rows, width), np.int64)
    values[row, place] = logits[row, token]
    tokens[row, place] = token
    return values, tokens


def _block_sums(weights: FloatArray) -> _DoubleArray:
    """Return float64 `[n, blocks]`, the cumulative sum of each row at the end of each block."""
    blocks = weights.reshape(len(weights), -1, _BLOCK_TOKENS).sum(axis=2)
    return np.cumsum(blocks, axis=1, dtype=np.float64)


def _first_reaching(weights: FloatArray, sums: _DoubleArray, goal: _DoubleArray) -> TokenIds:
    """Return the first column of each row at which its cumulative sum reaches the goal.

    The weight of that column is never 0.
    """
    goal = np.minimum(goal, sums[:, -1])
    each = np.arange(len(weights))
    block = (sums < goal[:, None]).sum(axis=1)
    blocks = weights.reshape(len(weights), -1, _BLOCK_TOKENS)
    inside = np.cumsum(blocks[each, block], axis=1, dtype=np.float64)
    before = np.where(block > 0, sums[each, block - 1], 0)
    rest = np.minimum(goal - before, inside[:, -1])
    places: TokenIds = block * _BLOCK_TOKENS + (inside < rest[:, None]).sum(axis=1)
    return places


def _weights(distances: FloatArray, out: FloatArray) -> FloatArray:
    """Write exp(-distance) into `out`; it is 1 for the best token."""
    np.negative(distances, out=out)
    return np.exp(out, out=out)


def _rows(logits: FloatArray, rows: TokenIds) -> FloatArray:
    some: FloatArray = logits if rows.size == len(logits) else logits[rows]
    return some
