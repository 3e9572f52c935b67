"""Decoder: a graph with a KV cache, several sequences in one batch; token IDs in, logits out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from conduit_lab.core.errors import DeadlineExceeded, ModelLoadError, ModelRunError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.runtime.decoding.decoder_io import BRANCH, DecoderIO
from conduit_lab.runtime.decoding.kv_cache import (
    InPlaceCache,
    SavedKV,
    bind_in,
    bind_out,
    kv_cache_for,
)
from conduit_lab.runtime.sessions.cache import Shared, sessions
from conduit_lab.runtime.sessions.cutoff import cut_after
from conduit_lab.runtime.sessions.ort_errors import run_error
from conduit_lab.runtime.sessions.session import Options, Session

_MAX_RETAINED_LOGITS = 2**24  # values; larger buffers are freed after the prefill
_abandoned: list[Any] = []  # sessions and bindings of a parent process, never closed


@dataclass(frozen=True)
class _Batch:
    """An I/O binding for a range of rows, with its arrays."""

    binding: Any
    mask: Array
    ids: Array
    logits: FloatArray
    indices: Array  # of the rows


class Decoder:
    """A decoder graph and the rows of its batch; not thread-safe.

    Each of the `rows` holds a sequence of at most `context` tokens; `lengths` are their current
    lengths in tokens. `prefill` fills one row and `prefill_batch` several empty ones, if the graph
    `batches_prefill`; `step` is a decode step of the first n rows. `vocabulary` is the width of the
    logits.
    """

    def __init__(self, shared: Shared, io: DecoderIO, rows: int, context: int) -> None:
        self.shared = shared
        self.io = io
        self.rows = rows
        self.context = context
        self.lengths = np.zeros(rows, np.int64)
        self.switches = io.switches
        self._totals = np.zeros(rows, np.int64)  # per row, including its whole prompt
        self.vocabulary = 0
        self._cache = kv_cache_for(io, rows, context, shared.device)
        self._in_place = isinstance(self._cache, InPlaceCache)
        # rows of different lengths share a run if the graph takes a position per row
        self._widens = self._in_place and self.switches.by_mask
        self._batches_steps = io.independent and (
            self._in_place or (io.positions and not io.in_place)
        )
        self._batches: dict[tuple[int, int, int], _Batch] = {}
        self._session: Any = None
        self._timeout: float | None = None
        self._version = 0  # of the cache memory that bindings refer to
        self._ready: _Batch | None = None  # its mask is valid until a row changes
        self._longest = 0
        self._ids = np.zeros(rows, io.dtypes["input_ids"])
        self._positions = np.zeros(rows, io.dtypes.get("position_ids", np.int64))
        self._masks = np.zeros(0, io.dtypes["attention_mask"])
        self._keep = np.ones((), io.dtypes.get(io.keep, np.int64))
        self._past = np.ones(1, np.bool_)  # for a merged decoder: the KV cache holds tokens
        self._scratch = np.zeros(0, io.logits_dtype)
        self._try()

    @classmethod
    def open(
        cls,
        path: Path,
        options: Options,
        *,
        rows: int,
        context: int,
        heads: int | None = None,
        width: int | None = None,
        switch: int | None = None,
    ) -> Decoder:
        """Open a graph; `heads` and `width` are used if the graph does not state them.

        `switch` is the length at which the config changes rotary embeddings
        (`original_max_position_embeddings`). Raises `ModelLoadError` for a graph that is not a
        decoder and `DeviceError` for an unavailable device.
        """
        shared = sessions.open(path, options)
        io = DecoderIO.read(shared, heads, width, context=context, switch=switch)
        return cls(shared, io, rows, context)

    def _try(self) -> None:
        """Read the width of the logits from a first run; reject a graph that does not run."""
        declared = next(spec for spec in self.shared.outputs if spec.name == "logits").shape
        self._last_only = bool(self.io.keep) or (len(declared) == 3 and declared[1] == 1)
        self.batches_prefill = self._in_place and self.io.independent and not self._last_only
        with self.held():
            binding = self._session.io_binding()
            tokens = np.zeros((1, 1), self._ids.dtype)
            arrays = self._bind_feeds(binding, tokens, 0, 1)
            self._cache.bind_row(binding, 0, 0, 1)
            binding.bind_output("logits", "cpu")
            try:
                self._run(binding)
                del arrays  # alive until the run ends
            except ModelRunError as error:
                where = display(self.shared.path)
                raise ModelLoadError(f"{where} does not run as a decoder: {error}") from error
            shape = binding.get_outputs()[-1].shape()  # in the order of binding
        if len(shape) != 3:
            raise ModelLoadError(
                f"{display(self.shared.path)}: logits expect [1, 1, vocabulary], got {list(shape)}"
            )
        self.vocabulary = int(shape[2])
        self._logits = np.empty((self.rows, 1, self.vocabulary), self.io.logits_dtype)
        self._float = self._logits
        if self._logits.dtype != np.float32:
            self._float = np.empty(self._logits.shape, np.float32)
        self._cache.clear()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the session in memory: `prefill` and `step` work within this block only."""
        with self.shared.hold() as engine:
            assert isinstance(engine, Session)
            self._session, self._timeout = engine._session, engine._timeout
            try:
                yield
            finally:
                self._session = self._ready = None
                self._batches.clear()

    def clear(self) -> None:
        """Empty all rows and free their memory."""
        self._cache.clear()
        self._batches.clear()
        self._scratch = self._scratch[:0].copy()
        self.lengths[:] = self._totals[:] = 0
        self._ready = None

    def abandon(self) -> None:
        """Drop the session in a forked child; closing it would wait for nonexistent threads."""
        if self._session is not None or self._batches:
            _abandoned.append((self._session, self._batches))
        self._session, self._batches = None, {}
        self.clear()

    def begin(self, row: int, total: int) -> None:
        """Set the length of a row's whole prompt: each chunk runs on that side of a switch."""
        self._totals[row] = total

    def min_prefill(self, row: int) -> int:
        """Return the fewest tokens that the next `prefill` of a row must add."""
        if self.io.merged:
            return int(self._totals[row] - self.lengths[row])
        if self._widens:
            return 1
        return max(1, self.switches.shortest(int(self._totals[row])) - int(self.lengths[row]))

    def crossing(self, rows: int) -> list[int]:
        """Return the first rows whose next token crosses a switch.

        The graph computes a longer sequence differently: drop the row, and prefill the sequence
        again from its first token.
        """
        return [row for row in range(rows) if int(self.lengths[row]) in self.switches.lengths]

    def prefill(self, row: int, ids: Sequence[int] | Array) -> FloatArray:
        """Add tokens to one row; return the logits after the last, float32 `[vocabulary]`.

        Raises `ModelRunError` for a failed run and `DeadlineExceeded` for one that exceeds its
        timeout; the row is then unchanged.
        """
        tokens = np.asarray(ids, self._ids.dtype).reshape(1, -1)
        logits = self._fill(row, tokens, int(self.lengths[row]))
        self._cache.row_done(row)
        self.lengths[row] += tokens.shape[1]
        last: FloatArray = logits[0, -1].astype(np.float32)
        return last

    def prefill_each(self, row: int, ids: Sequence[int], last: int) -> FloatArray:
        """Prefill a row; return the logits after the last tokens, float32 `[last, vocabulary]`.

        This takes one run per position if the graph returns only the last logits or mixes tokens.
        """
        if self._last_only or not self.io.independent:
            parts = [ids[: 1 - last or None], *([token] for token in ids[len(ids) + 1 - last :])]
            return np.stack([self.prefill(row, part) for part in parts])
        self.prefill(row, ids)
        logits = self._scratch[: len(ids) * self.vocabulary].reshape(len(ids), -1)
        return logits[-last:].astype(np.float32)

    def prefill_batch(self, row: int, prompts: Sequence[Sequence[int] | Array]) -> FloatArray:
        """Prefill empty rows from `row` on, one per prompt, in one run.

        Returns the logits after each prompt's last token, float32 `[n, vocabulary]`. Only for a
        graph that `batches_prefill`: onnxruntime's GroupQueryAttention accepts several tokens of
        several rows only if no row has a past. Shorter prompts are padded on the right; no earlier
        token attends to the padding, and the row's next tokens overwrite it. Raises the errors of
        `prefill`; the rows are then empty as before.
        """
        lengths = np.array([len(prompt) for prompt in prompts])
        tokens = np.zeros((len(prompts), lengths.max()), self._ids.dtype)
        for padded, prompt in zip(tokens, prompts, strict=True):
            padded[: len(prompt)] = prompt
        logits = self._fill(row, tokens, 0)
        self.lengths[row : row + len(prompts)] = lengths
        last: FloatArray = logits[np.arange(len(prompts)), lengths - 1].astype(np.float32)
        return last

    def _fill(self, row: int, tokens: Array, past: int) -> FloatArray:
        """Run tokens `[rows, added]` after `past` tokens; the next run overwrites the logits."""
        rows, added = tokens.shape
        binding = self._session.io_binding()
        shortest = self.switches.shortest(int(self._totals[row])) if self._widens else 1
        width = max(past + added, shortest)
        arrays = self._bind_feeds(binding, tokens, past, width)
        self._cache.bind_row(binding, row, past, width - past, rows)
        given = 1 if self._last_only else added
        size = rows * given * self.vocabulary
        if not size <= self._scratch.size <= max(size, _MAX_RETAINED_LOGITS):
            self._scratch = np.empty(size, self.io.logits_dtype)
        logits: FloatArray = self._scratch[:size].reshape(rows, given, self.vocabulary)
        bind_out(binding, "logits", logits)
        self._run(binding, rows)
        del arrays  # alive until the run ends
        self._ready = None
        return logits

    def _bind_feeds(self, binding: Any, tokens: Array, past: int, width: int) -> list[Array]:
        """Bind all but the cache, with a mask of this width; return arrays to keep for the run."""
        rows, added = tokens.shape
        mask = np.zeros((rows, width), self._masks.dtype)
        mask[:, : past + added] = 1
        arrays = {"input_ids": tokens, "attention_mask": mask}
        if self.io.positions:
            positions = np.arange(past, past + added, dtype=self._positions.dtype)
            arrays["position_ids"] = np.tile(positions, (rows, 1))
        if self.io.keep:
            arrays[self.io.keep] = self._keep
        if self.io.merged:
            arrays[BRANCH] = np.array([past > 0])
        for name, array in arrays.items():
            bind_in(binding, name, array)
        return list(arrays.values())

    def step(self, ids: Sequence[int] | Array) -> FloatArray:
        """Add one token to each of the first n rows; return the logits, float32 `[n, vocabulary]`.

        The next step overwrites the array. Raises the errors of `prefill`.
        """
        rows = len(ids)
        if rows > 1 and not (self._batches_steps and self._one_side(rows)):
            return self._step_groups(ids)
        lengths = self.lengths[:rows]
        batch = self._ready
        if batch is None or len(batch.ids) != rows or self._longest >= batch.mask.shape[1]:
            batch = self._prepare(0, rows)
        else:
            batch.mask[batch.indices, lengths] = 1
        batch.ids[:, 0] = ids
        if self.io.positions:
            self._positions[:rows] = lengths
        self._run(batch.binding, rows)
        self._cache.rows_done()
        lengths += 1
        self._longest += 1
        if self._float is not self._logits:
            self._float[:rows] = self._logits[:rows]
        return batch.logits

    def _one_side(self, rows: int) -> bool:
        """Return whether the next step keeps the first rows on one side of all switches."""
        if not self.switches.lengths:
            return True
        totals = self.lengths[:rows] + 1
        return self.switches.side(int(totals.min())) == self.switches.side(int(totals.max()))

    def _step_groups(self, ids: Sequence[int] | Array) -> FloatArray:
        """Step rows that cannot share one run: batch neighbors on one side, run others singly."""
        rows = len(ids)
        sides = [self.switches.side(int(length) + 1) for length in self.lengths[:rows]]
        begin = 0
        while begin < rows:
            end = begin + 1
            while (
                end < rows and self._batches_steps and self._in_place and sides[end] == sides[begin]
            ):
                end += 1
            if end == begin + 1:
                self._float[begin, 0] = self.prefill(begin, ids[begin:end])
            else:
                batch = self._prepare(begin, end)
                batch.ids[:, 0] = ids[begin:end]
                if self.io.positions:
                    self._positions[begin:end] = self.lengths[begin:end]
                self._run(batch.binding, end - begin)
                self.lengths[begin:end] += 1
                if self._float is not self._logits:
                    self._float[begin:end] = self._logits[begin:end]
            begin = end
        self._ready = None
        return self._float[:rows, 0]

    def _prepare(self, begin: int, end: int) -> _Batch:
        """Return the batch for some rows, with a mask that includes each one's next token."""
        lengths = self.lengths[begin:end]
        self._longest = int(lengths.max())
        width = self._cache.fit(lengths, self.switches.longest(self._longest + 1, self.context))
        batch = self._batch(begin, end, width)
        if self._in_place:
            batch.mask[:] = np.arange(width) <= lengths[:, None]
            self._ready = batch  # until a row changes, each step unmasks one more column
        else:
            batch.mask[:] = np.arange(width) >= (width - 1) - lengths[:, None]
        return batch

    def _batch(self, begin: int, end: int, width: int) -> _Batch:
        """Return the binding for some rows and a mask's width, cached while the memory stays."""
        rows = end - begin
        if isinstance(self._cache, InPlaceCache) and self._version != self._cache.version:
            self._batches.clear()
            self._version = self._cache.version
        batch = self._batches.get((begin, end, width))
        if batch is not None:
            return batch
        if self._masks.size < rows * width:
            self._masks = np.zeros(self.rows * width, self._masks.dtype)
            self._batches.clear()
        binding = self._session.io_binding()
        mask = self._masks[: rows * width].reshape(rows, width)
        bind_in(binding, "input_ids", self._ids[begin:end, None])
        bind_in(binding, "attention_mask", mask)
        if self.io.positions:
            bind_in(binding, "position_ids", self._positions[begin:end, None])
        if self.io.keep:
            bind_in(binding, self.io.keep, self._keep)
        if self.io.merged:
            bind_in(binding, BRANCH, self._past)
        self._cache.bind_rows(binding, begin, rows)
        bind_out(binding, "logits", self._logits[begin:end])
        batch = _Batch(
            binding, mask, self._ids[begin:end, None], self._float[begin:end, 0], np.arange(rows)
        )
        if self._in_place:
            self._batches[begin, end, width] = batch
        return batch

    def _run(self, binding: Any, rows: int = 1) -> None:
        begin = perf_counter()
        path = self.shared.path
        try:
            if self._timeout is None:
                self._session.run_with_iobinding(binding)
            else:
                with cut_after(self._timeout, path) as run_options:
                    self._session.run_with_iobinding(binding, run_options)
        except DeadlineExceeded:
            raise
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise run_error(path, self.shared.device, error) from error
        self.shared.count(rows, perf_counter() - begin)

    def move(self, source: int, target: int) -> None:
        """Move a row to another row, whose sequence is dropped."""
        tokens = int(self.lengths[source])
        self._cache.move(source, target, tokens)
        self.lengths[target], self.lengths[source] = tokens, 0
        self._totals[target], self._totals[source] = self._totals[source], 0
        self._ready = None

    def drop(self, row: int) -> None:
        """Empty a row."""
        self._cache.drop(row)
        self.lengths[row] = self._totals[row] = 0
        self._ready = None

    def save(self, row: int, tokens: int) -> SavedKV:
        """Return a copy of the KV cache of a row's first tokens."""
        return self._cache.save(row, tokens)

    def load(self, row: int, saved: SavedKV, tokens: int) -> None:
        """Fill a row with the first tokens of a copy."""
        self._cache.load(row, saved, tokens)
        self.lengths[row] = tokens
        self._ready = None
