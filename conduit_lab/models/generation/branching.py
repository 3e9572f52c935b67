"""Branching: the alternatives to a token of a sequence, and sequences that continue from one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from conduit_lab.core.errors import InputError, ModelRunError
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.text import clip
from conduit_lab.models.generation.alternatives import Alternative, explain
from conduit_lab.models.generation.detokenizer import IncrementalDetokenizer
from conduit_lab.models.generation.generation_call import OpenedGenerator
from conduit_lab.models.generation.generation_request import GenerationRequest, LogitsRequest
from conduit_lab.models.generation.prefill import PREFILL_CHUNK_TOKENS
from conduit_lab.models.generation.sampling import SequenceState

_MAX_SHOWN_CHARACTERS = 40
_INTERRUPT_SECONDS = 0.2  # between checks for a KeyboardInterrupt


def alternatives_at(
    opened: OpenedGenerator, request: GenerationRequest, position: int
) -> list[Alternative]:
    """Return the alternatives to a token of a request, by running the model.

    Reuses the KV cache of the sequence if it is still cached. Blocks until the scheduler has run
    the model, so it raises `RuntimeError` on the scheduler's own thread.
    """
    logits = _logits_at(opened, request, position)
    grammar = request.grammar.copy() if request.grammar is not None else None
    state = SequenceState(
        request.seeded, request.prompt, grammar, request.choice, opened.decoder.vocabulary
    )
    state.replay([token.id for token in request.tokens[:position]])
    spell = _detokenizer_at(opened, request, position).spell
    return explain(logits, state, request.tokens[position].id, spell)


def _logits_at(opened: OpenedGenerator, request: GenerationRequest, position: int) -> FloatArray:
    """Return the logits before a token, float32 `[vocabulary]`."""
    if opened.scheduler.here:
        raise RuntimeError(
            "alternatives would wait for the thread that decodes, which is this one: "
            "call them from another thread than that of a stream's callback"
        )
    done = threading.Event()
    pending = LogitsRequest(request, position, on_end=lambda _: done.set())
    opened.scheduler.submit([pending])
    try:
        while not done.wait(_INTERRUPT_SECONDS):
            pass
    except BaseException:
        pending.cancel()
        raise
    if pending.error is not None:
        raise pending.error
    if pending.logits is None:
        raise ModelRunError("the model was unloaded meanwhile: request the alternatives again")
    return pending.logits


def branch_request(
    opened: OpenedGenerator, parent: GenerationRequest, position: int, chosen: Sequence[int]
) -> Callable[..., GenerationRequest]:
    """Return a request that continues from `chosen` instead of a token, without its callbacks.

    It has its parent's sampling options and seed. Raises `InputError` for tokens that the model
    does not have, that exceed the remaining length, or that the constraint does not allow.
    """
    _check_tokens(opened, parent, position, chosen)
    return partial(
        GenerationRequest,
        parent.prompt,
        parent.seeded,
        _detokenizer_at(opened, parent, position, parent.seeded.stop),
        limit=parent.limit,
        constraint=parent.grammar.copy() if parent.grammar is not None else None,
        choice=parent.choice,
        text=parent.text,
        parent=parent,
        kept=parent.tokens[:position],
        chosen=chosen,
    )


def typed_tokens(
    opened: OpenedGenerator, request: GenerationRequest, position: int, text: str
) -> list[int]:
    """Return the tokens that produce a text at a position of a sequence.

    Some tokenizers put a space before every text; it is omitted if other tokens produce the text
    itself.
    """
    if not text:
        raise InputError("branch expects a non-empty text, got ''")
    tokenize = opened.prompts.tokenize
    first = tokenize(text)
    before = tokenize("a")
    after = tokenize(f"a{text}")
    spellings = [first]
    if after[: len(before)] == before:
        spellings.append(after[len(before) :])
    if text.startswith(" "):
        spellings.append(tokenize(text[1:]))
    for ids in spellings:
        detokenizer = _detokenizer_at(opened, request, position)
        if ids and "".join(map(detokenizer.push, ids)) + detokenizer.flush() == text:
            return ids
    return first


def _detokenizer_at(
    opened: OpenedGenerator, request: GenerationRequest, position: int, stop: Sequence[str] = ()
) -> IncrementalDetokenizer:
    """Return a detokenizer that has consumed the tokens before a position."""
    made = IncrementalDetokenizer(opened.token_bytes, stop, after=request.prompt[-1])
    for token in request.tokens[:position]:
        made.push(token.id)
    return made


def _check_tokens(
    opened: OpenedGenerator, parent: GenerationRequest, position: int, chosen: Sequence[int]
) -> None:
    tokens = opened.decoder.vocabulary
    tokens = min(tokens, opened.decoder.io.embedded or tokens)
    wrong = [token for token in chosen if not 0 <= token < tokens]
    if wrong:
        raise InputError(f"branch expects tokens from 0 to {tokens - 1}, got {wrong[0]}")
    room = min(parent.limit - position, PREFILL_CHUNK_TOKENS)
    if len(chosen) > room:
        raise InputError(
            f"branch expects a text of at most {room} tokens at position {position}, "
            f"got {len(chosen)}: shorten it, or start a stream with it in the prompt"
        )
    if parent.grammar is None:
        return
    grammar = parent.grammar.copy()
    for kept in parent.tokens[:position]:
        grammar.accept(kept.id)
    for place, token in enumerate(chosen):
        if not grammar.allowed()[token] or (place and grammar.complete):
            shown = clip(opened.token_bytes.name(token), _MAX_SHOWN_CHARACTERS)
            raise InputError(
                f"the constraint does not allow the token {shown!r} at position "
                f"{position + place}: choose one of stream.alternatives({position}) without a cut"
            )
        grammar.accept(token)
