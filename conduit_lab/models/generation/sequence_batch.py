"""SequenceBatch: the rows of a decoder, running sequences first and then those in prefill."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from time import perf_counter

import numpy as np

from conduit_lab.core.errors import ModelRunError
from conduit_lab.core.spec import FloatArray
from conduit_lab.models.generation.generation_request import GenerationRequest, LogitsRequest
from conduit_lab.models.generation.prefill import PREFILL_CHUNK_TOKENS, PrefillGroup
from conduit_lab.models.generation.prefix_cache import PrefixCache
from conduit_lab.models.generation.sampling import Sampler
from conduit_lab.runtime.decoding.decoder import Decoder


class SequenceBatch:
    """The sequences of one decoder, each in a row; only the scheduler's thread changes it.

    Running sequences occupy the rows from 0 and a sampler slot each, sequences in prefill the rows
    after them. A sequence that crosses a switch length loses its row but keeps its slot, and is
    prefilled again. `ends` are the end-of-sequence tokens.
    """

    def __init__(self, name: str, decoder: Decoder, ends: frozenset[int]) -> None:
        self.decoder = decoder
        self.prefix_cache = PrefixCache()
        self._name = name
        self._ends = ends
        self._sampler = Sampler(decoder.rows, decoder.vocabulary)
        self._next = np.zeros(decoder.rows, np.int64)  # the last token of each row
        self.reset()

    def reset(self) -> None:
        """Drop all sequences without touching the decoder, as in a forked child."""
        self.running: list[GenerationRequest] = []  # by row
        self.prefilling: list[GenerationRequest] = []
        self._slots: list[int] = []  # by row
        self._free_slots = list(range(self.decoder.rows))
        self._crossing: deque[GenerationRequest] = deque()
        self._separately = False  # after a prefill run of several sequences has failed

    def __len__(self) -> int:
        return len(self.running) + len(self.prefilling) + len(self._crossing)

    @property
    def free_rows(self) -> int:
        """Rows that a new sequence can start in."""
        return self.decoder.rows - len(self)

    def clear(self) -> list[GenerationRequest]:
        """Drop all sequences and the prefix cache; return the requests to end."""
        left = [*self.running, *self.prefilling, *self._crossing]
        for slot in range(self.decoder.rows):
            self._sampler.leave(slot)
        self.prefix_cache.clear()
        self.reset()
        return left

    def drop_cancelled(self) -> list[GenerationRequest]:
        """Free the rows of cancelled requests; return the requests to end."""
        dropped = [request for request in self._crossing if request.cancelled]
        for request in dropped:
            self._crossing.remove(request)
            self._release_slot(request)
        places = [place for place, each in enumerate(self.prefilling) if each.cancelled]
        dropped.extend(self._drop_prefilling(place) for place in reversed(places))
        for row in range(len(self.running) - 1, -1, -1):
            if self.running[row].cancelled:
                dropped.append(self.running[row])
                self._keep(row)
                self._drop_running(row)
        return dropped

    # Prefill

    def resume_crossing(self) -> bool:
        """Start the prefill of a sequence that crossed a switch length, if there is one."""
        if not self._crossing:
            return False
        self.prefilling = [self._crossing.popleft()]
        self.decoder.begin(len(self.running), len(self.prefilling[0].pending))
        return True

    def share(self, request: GenerationRequest) -> None:
        """Cache the common prefix of a branch and its running parent."""
        if request.parent is not None and request.parent in self.running:
            self._keep(self.running.index(request.parent), request.first_scored)

    def _keep(self, row: int, limit: int | None = None) -> None:
        """Cache a running sequence that may be continued from any position, or a prefix of it."""
        request, tokens = self.running[row], int(self.decoder.lengths[row])
        side = self.decoder.switches.side(tokens)
        tokens = tokens if limit is None else min(tokens, limit)
        if request.keeps:
            ids = request.ids[:tokens]
            self.prefix_cache.insert(ids, partial(self.decoder.save, row), side, least=1)

    def start_prefill(self, group: PrefillGroup) -> None:
        """Assign rows to the requests of a group, which are already in `prefilling`."""
        row = len(self.running)
        self._separately = False
        for place, request in enumerate(group.requests):
            self.decoder.begin(row + place, len(request.pending))
        if group.cached:
            self.decoder.load(row, group.saved, group.cached)
            request = group.requests[0]
            request.prefilled = request.cached = group.cached

    def prefill(self) -> int:
        """Run the next prefill chunk, of several sequences if all start; return its token count."""
        row = len(self.running)
        chunked = self.prefilling
        if self._separately or chunked[0].prefilled:
            chunked = chunked[:1]
        chunks = []
        for place, request in enumerate(chunked):
            size = PREFILL_CHUNK_TOKENS - request.prefilled % PREFILL_CHUNK_TOKENS
            size = max(size, self.decoder.min_prefill(row + place))
            if request.prefilled + size > request.first_scored:
                size = len(request.pending)  # the chosen tokens of a branch in one run
            chunks.append(request.pending[request.prefilled : request.prefilled + size])
        tokens = len(chunks) * max(map(len, chunks))
        try:
            if len(chunks) > 1:
                logits = self.decoder.prefill_batch(row, chunks)
            elif scored := chunked[0].scored(len(chunks[0])):
                each = self.decoder.prefill_each(row, chunks[0], scored + 1)
                chunked[0].score(each[:-1])
                logits = each[-1:]
            else:
                logits = self.decoder.prefill(row, chunks[0])[None]
        except Exception as error:
            if len(chunks) > 1:
                self._separately = True  # a single sequence may be the cause
            else:
                self._drop_prefilling(0).end("error", error)
            return tokens
        finished = []
        for request, chunk, last in zip(chunked, chunks, logits, strict=True):
            request.prefilled += len(chunk)
            if request.prefilled == len(request.pending):
                finished.append(last)
        for last in finished:
            self._start_running(last)
        return tokens

    def _start_running(self, logits: FloatArray) -> None:
        """Move the first prefilled sequence to the running ones and sample its next token."""
        request, row = self.prefilling[0], len(self.running)
        if isinstance(request, LogitsRequest):
            self._drop_prefilling(0)
            request.answer(logits)
            return
        try:
            if request.slot < 0:
                self._take_slot(request, row)
        except Exception as error:
            self._drop_prefilling(0).end("error", error)
            return
        del self.prefilling[0]
        self.running.append(request)
        self._slots.append(request.slot)
        try:
            if self._add_chosen(request, row):
                return
            self._sample(logits[None], [request.slot], [row])
        except Exception as error:
            self._drop_running(row)
            request.end("error", error)

    def _take_slot(self, request: GenerationRequest, row: int) -> None:
        """Cache the prompt of a row as a prefix and assign its request a sampler slot."""
        if request.parent is None:
            side = self.decoder.switches.side(len(request.prompt))
            self.prefix_cache.insert(request.prompt, partial(self.decoder.save, row), side)
        request.seed = self._sampler.join(
            self._free_slots[-1],
            request.sampling,
            request.prompt,
            request.constraint,
            choice=request.choice,
        )
        request.slot = self._free_slots.pop()
        self._sampler.replay(request.slot, [token.id for token in request.tokens])

    def _add_chosen(self, request: GenerationRequest, row: int) -> bool:
        """Add the chosen tokens of a branch; return whether they end it."""
        now = perf_counter()
        for token, logprob in request.take_chosen():
            if logprob != logprob:  # NaN
                raise self._no_logits()
            self._sampler.replay(request.slot, [token])
            if request.add(token, logprob, [], self._ends, now):
                self._keep(row)
                self._drop_running(row)
                return True
        return False

    # Decode

    def decode(self) -> None:
        """Decode one token for every running sequence."""
        if self.decoder.switches.lengths:
            for row in reversed(self.decoder.crossing(len(self.running))):
                self.running[row].restart_prefill()
                self._crossing.append(self._vacate(row))
        rows = len(self.running)
        if not rows:
            return
        try:
            logits = self.decoder.step(self._next[:rows])
            self._sample(logits, self._slots, range(rows))
        except Exception as error:
            failed = list(self.running)
            for row in range(len(failed) - 1, -1, -1):
                self._drop_running(row)
            for request in failed:
                request.end("error", error)

    def _sample(self, logits: FloatArray, slots: Sequence[int], rows: Sequence[int]) -> None:
        """Sample the next token of a range of rows, and drop finished sequences."""
        sampled = self._sampler.sample(logits, slots)
        now = perf_counter()
        ended = []
        ids, logprobs = sampled.ids.tolist(), sampled.logprobs.tolist()
        self._next[rows[0] : rows[0] + len(ids)] = sampled.ids
        for row, token, logprob, tops in zip(rows, ids, logprobs, sampled.tops, strict=True):
            request = self.running[row]
            if logprob != logprob:  # NaN
                ended.append(row)
                request.end("error", self._no_logits())
            elif request.add(token, logprob, tops, self._ends, now):
                ended.append(row)
                self._keep(row)
        for row in reversed(ended):
            self._drop_running(row)

    def _no_logits(self) -> ModelRunError:
        return ModelRunError(f"{self._name!r} expects finite logits of its model, got NaN")

    # Rows and slots

    def _drop_running(self, row: int) -> None:
        self._release_slot(self._vacate(row))

    def _drop_prefilling(self, place: int) -> GenerationRequest:
        row = len(self.running) + place
        self.decoder.drop(row)
        request = self.prefilling.pop(place)
        self._release_slot(request)
        self._close_gap(row)
        return request

    def _release_slot(self, request: GenerationRequest) -> None:
        if request.slot >= 0:
            self._sampler.leave(request.slot)
            self._free_slots.append(request.slot)
            request.slot = -1

    def _vacate(self, row: int) -> GenerationRequest:
        """Free the row of a running sequence by moving the last running sequence there."""
        request = self.running[row]
        last = len(self.running) - 1
        if row != last:
            self.decoder.move(last, row)
            self.running[row], self._slots[row] = self.running[last], self._slots[last]
            self._next[row] = self._next[last]
        else:
            self.decoder.drop(row)
        del self.running[last], self._slots[last]
        self._close_gap(last)
        return request

    def _close_gap(self, free: int) -> None:
        """Move the sequences in prefill behind a free row down by one."""
        for row in range(free, len(self) - len(self._crossing)):
            if self.decoder.lengths[row + 1]:
                self.decoder.move(row + 1, row)
