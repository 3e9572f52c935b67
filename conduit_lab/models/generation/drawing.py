"""Drawing: a token at random from each row of logits, without sorting the vocabulary where that can be helped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import FloatArray

Ids = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

# Sums are made of blocks of a fixed length from the begin of a row, so that what is padded after
# its end, which depends on the other rows, cannot change how they are rounded.
BLOCK = 128
COLUMNS = (
    1024  # a row is laid out in so many columns, whose maxima tell where its largest values begin
)
CACHED = 2**18  # logits that are worked on together, so that they stay in a core's own cache
LIKELY = 128  # where `top_p` cuts is looked for among about so many tokens first


@dataclass(frozen=True)
class Draws:
    """How a token is drawn from each of `[n]` rows.

    `temperature` is float32 and above 0; `top_k` 0, `top_p` 1 and `min_p` 0 leave all in. `uniform`
    are random numbers in (0, 1]: the token is the first, in the order of ids, at which the running
    sum of probabilities reaches that.
    """

    temperature: FloatArray
    top_k: Ids
    top_p: Numbers
    min_p: Numbers
    uniform: Numbers

    def of(self, rows: Ids | slice) -> Draws:
        """Return those of some rows."""
        return Draws(
            self.temperature[rows],
            self.top_k[rows],
            self.top_p[rows],
            self.min_p[rows],
            self.uniform[rows],
        )


class Drawing:
    """Draws tokens from rows of a vocabulary's length; it owns the memory that it works in and
    serves one thread.

    Memory of that size would go back to the system and come again at each step, which doubles the
    time of one.
    """

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._width = -(-vocabulary // BLOCK) * BLOCK
        self._group = max(1, CACHED // self._width)
        self._room = np.empty((3, self._group * self._width), np.float32)

    def draw(self, logits: FloatArray, draws: Draws) -> Ids:
        """Return int64 `[n]`, a token for each row of `logits`, float32 `[n, vocabulary]`, which stay as they are."""
        ids = np.empty(len(logits), np.int64)
        for begin in range(0, len(logits), self._group):
            group = slice(begin, begin + self._group)
            ids[group] = self._draw(logits[group], draws.of(group))
        return ids

    def _draw(self, logits: FloatArray, draws: Draws) -> Ids:
        ids = np.full(len(logits), -1)
        wanted = np.where(
            draws.top_k > 0, draws.top_k, np.where(draws.top_p < 1, LIKELY, self._vocabulary)
        )
        few = np.flatnonzero(wanted <= COLUMNS // 2)
        if few.size and self._vocabulary >= 4 * COLUMNS:
            ids[few] = self._among_largest(_rows(logits, few), draws.of(few), wanted[few])
        rest = np.flatnonzero(ids < 0)
        if rest.size:
            ids[rest] = self._among_all(_rows(logits, rest), draws.of(rest))
        return ids

    def _among_largest(self, logits: FloatArray, draws: Draws, wanted: Ids) -> Ids:
        """Draw from the `wanted` largest of each row, `[n]`; -1 where `top_p` leaves more tokens in than those."""
        values, tokens = _largest(logits, wanted)
        distances = (logits.max(axis=1, keepdims=True) - values) / draws.temperature[:, None]
        whole = np.full(len(logits), np.nan)
        nucleus = np.flatnonzero(draws.top_k == 0)  # `top_p` is then of the whole row
        if nucleus.size:
            every = self._distances(_rows(logits, nucleus), draws.of(nucleus))
            whole[nucleus] = _weights(every, every).sum(axis=1)
        places, enough = _choose(
            distances, draws, whole, *(np.empty_like(distances) for _ in range(2))
        )
        ids: Ids = np.where(enough, tokens[np.arange(len(tokens)), places], -1)
        return ids

    def _among_all(self, logits: FloatArray, draws: Draws) -> Ids:
        """Draw from whole rows."""
        distances = self._distances(logits, draws)
        near, weights = (room[: distances.size].reshape(distances.shape) for room in self._room[1:])
        places, _ = _choose(distances, draws, np.full(len(logits), np.nan), near, weights)
        return places

    def _distances(self, logits: FloatArray, draws: Draws) -> FloatArray:
        """Return float32 `[n, width]`, how far below the best a logit is, divided by the temperature."""
        distances = self._room[0, : len(logits) * self._width].reshape(len(logits), self._width)
        inner = distances[:, : self._vocabulary]
        np.subtract(logits.max(axis=1, keepdims=True), logits, out=inner)
        inner /= draws.temperature[:, None]
        distances[:, self._vocabulary :] = np.inf
        return distances


def _choose(
    distances: FloatArray, draws: Draws, whole: Numbers, near: FloatArray, weights: FloatArray
) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """Return the places drawn, and whether the rows hold all tokens that `top_p` leaves in.

    `distances` float32 `[n, width]` end in infinities. `whole` is the weight of all tokens of a
    vocabulary, NaN where the row has them all. `near` and `weights` are overwritten.
    """
    furthest = -np.log(np.maximum(draws.min_p, np.finfo(np.float64).tiny))
    furthest[draws.min_p == 0] = np.inf
    enough = np.ones(len(distances), np.bool_)
    if (draws.top_k > 0).any() or (draws.top_p < 1).any():
        each = np.arange(len(distances))
        near[:] = distances
        near.sort(axis=1)
        last = near[
            each, np.minimum(draws.top_k, near.shape[1]) - 1
        ]  # the very last one for a `top_k` of 0
        _weights(near, weights)
        weights *= near <= last[:, None]
        sums = _running(weights)
        goal = draws.top_p * np.where(np.isnan(whole), sums[:, -1], whole)
        enough = ~(sums[:, -1] < goal)
        cut = near[each, _reached(weights, sums, goal)]
        furthest = np.minimum(furthest, np.where(draws.top_p < 1, np.minimum(cut, last), last))
    _weights(distances, weights)
    if np.isfinite(furthest).any():
        weights *= distances <= furthest[:, None]
    sums = _running(weights)
    return _reached(weights, sums, draws.uniform * sums[:, -1]), enough


def _largest(logits: FloatArray, wanted: Ids) -> tuple[FloatArray, Ids]:
    """Return at least the `wanted` largest values of each row, and their tokens in rising order;
    -inf ends a row.

    The k-th largest of the columns' maxima is no larger than the k-th largest value, and where
    values lie at random it is close to it: a pass over the row finds the maxima, and another one
    the values above.
    """
    rows, vocabulary = logits.shape
    maxima = logits[:, : vocabulary // COLUMNS * COLUMNS].reshape(rows, -1, COLUMNS).max(axis=1)
    maxima.sort(axis=1)
    floor = np.maximum(
        maxima[np.arange(rows), COLUMNS - wanted], np.finfo(np.float32).min
    )  # no -inf: those are barred
    found = np.flatnonzero(logits >= floor[:, None])
    row, token = np.divmod(found, vocabulary)
    counts = np.bincount(row, minlength=rows)
    place = np.arange(found.size) - np.repeat(np.cumsum(counts) - counts, counts)
    width = -(-max(1, int(counts.max())) // BLOCK) * BLOCK
    values = np.full((rows, width), -np.inf, np.float32)
    tokens = np.zeros((rows, width), np.int64)
    values[row, place] = logits[row, token]
    tokens[row, place] = token
    return values, tokens


def _running(weights: FloatArray) -> Numbers:
    """Return float64 `[n, blocks]`, the running sum of each row at the end of each block."""
    return np.cumsum(weights.reshape(len(weights), -1, BLOCK).sum(axis=2), axis=1, dtype=np.float64)


def _reached(weights: FloatArray, sums: Numbers, goal: Numbers) -> Ids:
    """Return `[n]`, the first place at which the running sum of a row reaches its goal; its weight is never 0."""
    goal = np.minimum(goal, sums[:, -1])
    each = np.arange(len(weights))
    block = (sums < goal[:, None]).sum(axis=1)
    inside = np.cumsum(
        weights.reshape(len(weights), -1, BLOCK)[each, block], axis=1, dtype=np.float64
    )
    before = np.where(block > 0, sums[each, block - 1], 0)
    rest = np.minimum(goal - before, inside[:, -1])
    places: Ids = block * BLOCK + (inside < rest[:, None]).sum(axis=1)
    return places


def _weights(distances: FloatArray, out: FloatArray) -> FloatArray:
    """Write exp(-distance), which is 1 for the best token."""
    np.negative(distances, out=out)
    return np.exp(out, out=out)


def _rows(logits: FloatArray, rows: Ids) -> FloatArray:
    some: FloatArray = logits if rows.size == len(logits) else logits[rows]
    return some
