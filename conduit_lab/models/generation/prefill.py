"""Prefill: choose the pending requests that start in one run, and their cached prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from conduit_lab.core.spec import Array
from conduit_lab.models.generation.generation_request import GenerationRequest
from conduit_lab.models.generation.prefix_cache import MIN_PREFIX_TOKENS, PrefixCache
from conduit_lab.runtime.decoding.decoder import Decoder

# Prompt tokens per run between two decode steps. A prompt is always split at multiples of it, so
# its logits do not depend on the rest of the batch. Smaller chunks slow down the prefill, larger
# ones delay the running sequences.
PREFILL_CHUNK_TOKENS = 64
MAX_PREFILL_RUN_TOKENS = 256  # for several prompts in one run; more is hardly faster
MAX_PREFILL_RUN_LOGITS = 2**24  # such a run returns the logits of every token
MAX_PREFILL_PADDING_TOKENS = 8  # more padding costs more than a separate run


@dataclass(frozen=True)
class PrefillGroup:
    """Requests whose first prefill chunks share a run, the shortest prompt first.

    `cached` tokens of a single request are in `saved`, a KV cache.
    """

    requests: list[GenerationRequest]
    cached: int = 0
    saved: list[Array] = field(default_factory=list)


def max_run_tokens(decoder: Decoder) -> int:
    """Return how many tokens of several prompts may share a prefill run."""
    limit = min(MAX_PREFILL_RUN_TOKENS, MAX_PREFILL_RUN_LOGITS // decoder.vocabulary)
    return max(PREFILL_CHUNK_TOKENS, limit)


def plan_prefill(
    pending: Sequence[GenerationRequest], decoder: Decoder, prefixes: PrefixCache, limit: int
) -> PrefillGroup:
    """Return the first pending request and the requests that can start with it in one run.

    The run has at most `limit` tokens, including padding.
    """
    first = pending[0]
    length, switches = len(first.pending), decoder.switches
    least = MIN_PREFIX_TOKENS if first.parent is None else 1
    cached, saved = prefixes.find(first.pending, switches.side(length), least)
    cached = min(cached, first.first_scored)
    if decoder.io.merged:
        cached = 0  # with a filled KV cache, a merged decoder takes single tokens
    elif not decoder.io.independent and first.parent is None:
        # dynamic quantization scales all tokens of a run together: keep the chunk boundaries
        aligned = cached - cached % PREFILL_CHUNK_TOKENS
        cached = aligned if cached >= switches.shortest(length) else 0
    if cached or first.parent is not None or not decoder.batches_prefill:
        return PrefillGroup([first], cached, saved)
    group = _prefill_group(pending, decoder, prefixes, limit)
    return PrefillGroup(sorted(group, key=lambda request: len(request.prompt)))


def _prefill_group(
    pending: Sequence[GenerationRequest], decoder: Decoder, prefixes: PrefixCache, limit: int
) -> list[GenerationRequest]:
    """Return the first pending request and requests of similar length without a cached prefix.

    A prompt that shares a prefix with another waits until that prefix is cached. All prompts, and
    their first chunks, are on one side of every switch length.
    """
    switches, prompt = decoder.switches, pending[0].prompt
    size = min(PREFILL_CHUNK_TOKENS, len(prompt))
    shortest, side = switches.shortest(len(prompt)), switches.side(len(prompt))
    group, starts, longest = [pending[0]], {_start_of(pending[0])}, size
    for request in pending[1:] if size >= shortest else ():
        if request.parent is not None:
            continue
        own, start = min(PREFILL_CHUNK_TOKENS, len(request.prompt)), _start_of(request)
        if abs(own - size) > MAX_PREFILL_PADDING_TOKENS:
            continue
        if max(own, longest) * (len(group) + 1) > limit:
            continue
        if switches.side(len(request.prompt)) != side:
            continue
        if start in starts or prefixes.find(request.prompt, side)[0]:
            continue
        group.append(request)
        starts.add(start)
        longest = max(own, longest)
    return group


def _start_of(request: GenerationRequest) -> tuple[int, ...]:
    return tuple(request.prompt[:MIN_PREFIX_TOKENS])
