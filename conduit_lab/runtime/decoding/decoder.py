"""Decoder: a graph with a KV cache, several rows at once; token ids in, NumPy logits out."""

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
from conduit_lab.core.text import first_line
from conduit_lab.runtime.decoding.decoder_io import BRANCH, Signature
from conduit_lab.runtime.decoding.kv_cache import Saved, WholeCache, bind_in, bind_out, cache_of
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.sessions.cache import Shared, sessions
from conduit_lab.runtime.sessions.deadline import cut_after
from conduit_lab.runtime.sessions.session import Options, Session

_KEPT_LOGITS = 2**24  # numbers of memory that is kept from one prompt to the next
_abandoned: list[Any] = []  # what nothing may ever close


@dataclass(frozen=True)
class _Batch:
    """A binding for a number of rows, and the arrays that lie under it."""

    binding: Any
    mask: Array
    ids: Array
    logits: FloatArray
    every: Array  # the numbers of the rows


class Decoder:
    """A decoder graph, and the rows of its batch.

    `rows` are so many texts at once, each of at most `context` tokens; `lengths` is what each holds
    now. A row is filled by `feed`, several empty ones by `feed_all` where the graph
    `begins_together`, and the first n rows go on together by `step`. `vocabulary` is the width of
    the logits. Not for several threads at once.
    """

    def __init__(self, shared: Shared, signature: Signature, rows: int, context: int) -> None:
        self.shared = shared
        self.signature = signature
        self.rows = rows
        self.context = context
        self.lengths = np.zeros(rows, np.int64)
        self.switches = signature.switches
        self._totals = np.zeros(rows, np.int64)  # of each row, once its prompt is read
        self.vocabulary = 0
        self._cache = cache_of(signature, rows, context, shared.device)
        self._whole = isinstance(self._cache, WholeCache)
        # rows of different lengths share a run where the graph is told each one's position
        self._widens = self._whole and self.switches.by_mask
        self._joined = signature.independent and (
            self._whole or (signature.positions and not signature.whole)
        )
        self._batches: dict[tuple[int, int, int], _Batch] = {}
        self._session: Any = None
        self._limit: float | None = None
        self._version = 0  # of the cache's memory, when the bindings were made
        self._ready: _Batch | None = None  # whose mask is right as long as no row changes
        self._longest = 0
        self._ids = np.zeros(rows, signature.dtypes["input_ids"])
        self._positions = np.zeros(rows, signature.dtypes.get("position_ids", np.int64))
        self._masks = np.zeros(0, signature.dtypes["attention_mask"])
        self._keep = np.ones((), signature.dtypes.get(signature.keep, np.int64))
        self._past = np.ones(1, np.bool_)  # there is one, for a merged decoder
        self._scratch = np.zeros(0, signature.logits_dtype)
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
        """Open a graph; `heads` and `width` of the cache stand in where the graph does not say
        them.

        `switch` is the length at which the config changes rotary embeddings
        (`original_max_position_embeddings`).

        Raises `ModelLoadError` for a graph that is no decoder, `DeviceError` for a device that is
        not here.
        """
        shared = sessions.open(path, options)
        signature = Signature.read(shared, heads, width, context=context, switch=switch)
        return cls(shared, signature, rows, context)

    def _try(self) -> None:
        """Learn the width of the logits from a first run, and refuse a graph that does not run."""
        declared = next(spec for spec in self.shared.outputs if spec.name == "logits").shape
        self._last_only = bool(self.signature.keep) or (len(declared) == 3 and declared[1] == 1)
        self.begins_together = self._whole and self.signature.independent and not self._last_only
        with self.held():
            binding = self._session.io_binding()
            tokens = np.zeros((1, 1), self._ids.dtype)
            arrays = self._bind_feeds(binding, tokens, 0, 1)
            self._cache.bind_row(binding, 0, 0, 1)
            binding.bind_output("logits", "cpu")
            try:
                self._run(binding)
                del arrays  # not before
            except ModelRunError as error:
                raise ModelLoadError(
                    f"{display(self.shared.path)} does not run as a decoder: {error}"
                ) from error
            shape = binding.get_outputs()[-1].shape()  # in the order of binding
        if len(shape) != 3:
            raise ModelLoadError(
                f"{display(self.shared.path)} gives logits {list(shape)}: wanted [1, 1, vocabulary]"
            )
        self.vocabulary = int(shape[2])
        self._logits = np.empty((self.rows, 1, self.vocabulary), self.signature.logits_dtype)
        self._float = (
            self._logits
            if self._logits.dtype == np.float32
            else np.empty(self._logits.shape, np.float32)
        )
        self._cache.clear()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the session in memory while the block lasts: `feed` and `step` work inside of it only."""
        with self.shared.hold() as engine:
            assert isinstance(engine, Session)
            self._session, self._limit = engine._session, engine._limit
            try:
                yield
            finally:
                self._session = self._ready = None
                self._batches.clear()

    def clear(self) -> None:
        """Empty all rows and give their memory back."""
        self._cache.clear()
        self._batches.clear()
        self._scratch = self._scratch[:0].copy()
        self.lengths[:] = self._totals[:] = 0
        self._ready = None

    def abandon(self) -> None:
        """Forget the session in a forked child, where its threads are not: even closing it would wait for them."""
        if self._session is not None or self._batches:
            _abandoned.append((self._session, self._batches))
        self._session, self._batches = None, {}
        self.clear()

    def begin(self, row: int, total: int) -> None:
        """Announce the length of a row's whole prompt: each chunk runs on that side of a switch."""
        self._totals[row] = total

    def least(self, row: int) -> int:
        """Return how many tokens the next `feed` of a row must add at least."""
        if self.signature.merged:
            return int(self._totals[row] - self.lengths[row])
        if self._widens:
            return 1
        return max(1, self.switches.shortest(int(self._totals[row])) - int(self.lengths[row]))

    def crossing(self, rows: int) -> list[int]:
        """Return which of the first rows cross a switch with the next token.

        The graph computes a sequence that long in another way: drop the row, and read the sequence
        from its first token.
        """
        return [row for row in range(rows) if int(self.lengths[row]) in self.switches.lengths]

    def feed(self, row: int, ids: Sequence[int] | Array) -> FloatArray:
        """Add tokens to one row and return the logits after the last, float32 `[vocabulary]`.

        Raises `ModelRunError` for a run that fails and `DeadlineExceeded` for one that was cut; the
        row is then as it was before.
        """
        tokens = np.asarray(ids, self._ids.dtype).reshape(1, -1)
        logits = self._fill(row, tokens, int(self.lengths[row]))
        self._cache.row_done(row)
        self.lengths[row] += tokens.shape[1]
        last: FloatArray = logits[0, -1].astype(np.float32)
        return last

    def feed_all(self, row: int, texts: Sequence[Sequence[int] | Array]) -> FloatArray:
        """Begin so many empty rows from `row` on, in one run; return the logits after each's last
        token, `[n, vocab]`.

        Only where the graph `begins_together`: onnxruntime's GroupQueryAttention reads several
        tokens of several rows when none of them has a past. Shorter texts are padded on the right,
        which no token before it sees, and which the row's next tokens overwrite. Raises what `feed`
        raises; the rows are then empty as before.
        """
        lengths = np.array([len(text) for text in texts])
        tokens = np.zeros((len(texts), lengths.max()), self._ids.dtype)
        for padded, text in zip(tokens, texts, strict=True):
            padded[: len(text)] = text
        logits = self._fill(row, tokens, 0)
        self.lengths[row : row + len(texts)] = lengths
        last: FloatArray = logits[np.arange(len(texts)), lengths - 1].astype(np.float32)
        return last

    def _fill(self, row: int, tokens: Array, past: int) -> FloatArray:
        """Run tokens `[rows, added]` after a past of so many; return the logits, overwritten by the next run."""
        rows, added = tokens.shape
        binding = self._session.io_binding()
        total = past + added
        width = (
            max(total, self.switches.shortest(int(self._totals[row]))) if self._widens else total
        )
        arrays = self._bind_feeds(binding, tokens, past, width)
        self._cache.bind_row(binding, row, past, width - past, rows)
        given = 1 if self._last_only else added
        size = rows * given * self.vocabulary
        if not size <= self._scratch.size <= max(size, _KEPT_LOGITS):
            self._scratch = np.empty(size, self.signature.logits_dtype)
        logits: FloatArray = self._scratch[:size].reshape(rows, given, self.vocabulary)
        bind_out(binding, "logits", logits)
        self._run(binding, rows)
        del arrays  # not before
        self._ready = None
        return logits

    def _bind_feeds(self, binding: Any, tokens: Array, past: int, width: int) -> list[Array]:
        """Bind all but the cache, with a mask of that width; return arrays to keep for the run."""
        rows, added = tokens.shape
        mask = np.zeros((rows, width), self._masks.dtype)
        mask[:, : past + added] = 1
        arrays = {"input_ids": tokens, "attention_mask": mask}
        if self.signature.positions:
            positions = np.arange(past, past + added, dtype=self._positions.dtype)
            arrays["position_ids"] = np.tile(positions, (rows, 1))
        if self.signature.keep:
            arrays[self.signature.keep] = self._keep
        if self.signature.merged:
            arrays[BRANCH] = np.array([past > 0])
        for name, array in arrays.items():
            bind_in(binding, name, array)
        return list(arrays.values())

    def step(self, ids: Sequence[int] | Array) -> FloatArray:
        """Add one token to each of the first n rows and return their logits, float32 `[n,
        vocabulary]`.

        The array is overwritten by the next step. Raises what `feed` raises.
        """
        rows = len(ids)
        if rows > 1 and not (self._joined and self._one_side(rows)):
            return self._step_apart(ids)
        lengths = self.lengths[:rows]
        batch = self._ready
        if batch is None or len(batch.ids) != rows or self._longest >= batch.mask.shape[1]:
            batch = self._prepare(0, rows)
        else:
            batch.mask[batch.every, lengths] = 1
        batch.ids[:, 0] = ids
        if self.signature.positions:
            self._positions[:rows] = lengths
        self._run(batch.binding, rows)
        self._cache.rows_done()
        lengths += 1
        self._longest += 1
        if self._float is not self._logits:
            self._float[:rows] = self._logits[:rows]
        return batch.logits

    def _one_side(self, rows: int) -> bool:
        """Return whether the next step has the first rows on one side of all switches."""
        if not self.switches.lengths:
            return True
        totals = self.lengths[:rows] + 1
        return self.switches.side(int(totals.min())) == self.switches.side(int(totals.max()))

    def _step_apart(self, ids: Sequence[int] | Array) -> FloatArray:
        """Step rows that cannot share one run: neighbours on one side together, others alone."""
        rows = len(ids)
        sides = [self.switches.side(int(length) + 1) for length in self.lengths[:rows]]
        begin = 0
        while begin < rows:
            end = begin + 1
            while end < rows and self._joined and self._whole and sides[end] == sides[begin]:
                end += 1
            if end == begin + 1:
                self._float[begin, 0] = self.feed(begin, ids[begin:end])
            else:
                batch = self._prepare(begin, end)
                batch.ids[:, 0] = ids[begin:end]
                if self.signature.positions:
                    self._positions[begin:end] = self.lengths[begin:end]
                self._run(batch.binding, end - begin)
                self.lengths[begin:end] += 1
                if self._float is not self._logits:
                    self._float[begin:end] = self._logits[begin:end]
            begin = end
        self._ready = None
        return self._float[:rows, 0]

    def _prepare(self, begin: int, end: int) -> _Batch:
        """Return the batch for some rows, with a mask that shows one token more of each."""
        lengths = self.lengths[begin:end]
        self._longest = int(lengths.max())
        width = self._cache.fit(lengths, self.switches.longest(self._longest + 1, self.context))
        batch = self._batch(begin, end, width)
        if self._whole:
            batch.mask[:] = np.arange(width) <= lengths[:, None]
            self._ready = batch  # until a row changes, each step shows one column more
        else:
            batch.mask[:] = np.arange(width) >= (width - 1) - lengths[:, None]
        return batch

    def _batch(self, begin: int, end: int, width: int) -> _Batch:
        """Return the binding for some rows and a mask's width, made once where memory stays."""
        rows = end - begin
        if isinstance(self._cache, WholeCache) and self._version != self._cache.version:
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
        if self.signature.positions:
            bind_in(binding, "position_ids", self._positions[begin:end, None])
        if self.signature.keep:
            bind_in(binding, self.signature.keep, self._keep)
        if self.signature.merged:
            bind_in(binding, BRANCH, self._past)
        self._cache.bind_rows(binding, begin, rows)
        bind_out(binding, "logits", self._logits[begin:end])
        batch = _Batch(
            binding, mask, self._ids[begin:end, None], self._float[begin:end, 0], np.arange(rows)
        )
        if self._whole:
            self._batches[begin, end, width] = batch
        return batch

    def _run(self, binding: Any, rows: int = 1) -> None:
        begin = perf_counter()
        options = None if self._limit is None else devices.onnxruntime().RunOptions()
        try:
            if self._limit is None:
                self._session.run_with_iobinding(binding)
            else:
                with cut_after(self._limit, options):
                    self._session.run_with_iobinding(binding, options)
        except Exception as error:  # onnxruntime's own exceptions have no common base
            where = display(self.shared.path)
            if options is not None and options.terminate:
                raise DeadlineExceeded(
                    f"{where} ran longer than {self._limit:.3g} s and was cut"
                ) from error
            raise ModelRunError(f"{where} failed: {first_line(error)}") from error
        shared = self.shared
        shared.calls += 1
        shared.rows += rows
        shared.seconds += perf_counter() - begin

    def move(self, source: int, target: int) -> None:
        """Put a row into the place of another, which is given up."""
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

    def save(self, row: int, tokens: int) -> Saved:
        """Return a copy of the cache of a row's first tokens."""
        return self._cache.save(row, tokens)

    def load(self, row: int, saved: Saved, tokens: int) -> None:
        """Begin a row with the first tokens of a copy."""
        self._cache.load(row, saved, tokens)
        self.lengths[row] = tokens
        self._ready = None
