"""Pending prompts share a prefill run, and no token depends on the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import ModelRunError
from conduit_lab.core.spec import FloatArray
from conduit_lab.models.generation import prefill
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.generation.prefill import MAX_PREFILL_PADDING_TOKENS
from conduit_lab.models.generation.result import Generation
from conduit_lab.models.generation.token_stream import TokenStream
from tests.models.generation.writers import DECODERS, NAMES, WHOLE, golden


@pytest.fixture
def writer() -> Iterator[Generator]:
    made = Generator(DECODERS / "llama", device="cpu", rows=6).open()
    yield made
    made.unload()


@pytest.fixture
def runs(writer: Generator, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    return recorded(writer, monkeypatch)


def recorded(writer: Generator, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Return a list that records the tokens per row of each prefill run."""
    decoder = writer._parts().decoder
    made: list[list[int]] = []
    feed, feed_all = decoder.prefill, decoder.prefill_batch

    def feeding(row: int, ids: Sequence[int]) -> FloatArray:
        made.append([len(ids)])
        return feed(row, ids)

    def feeding_all(row: int, texts: Sequence[Sequence[int]]) -> FloatArray:
        made.append([len(text) for text in texts])
        return feed_all(row, texts)

    monkeypatch.setattr(decoder, "prefill", feeding)
    monkeypatch.setattr(decoder, "prefill_batch", feeding_all)
    return made


def prompt(tokens: int, seed: int) -> list[int]:
    ids: list[int] = np.random.default_rng((tokens, seed)).integers(3, 384, tokens).tolist()
    return ids


def at_once(
    writer: Generator, prompts: Sequence[list[int]], most: Sequence[int] | int = 4
) -> list[TokenStream]:
    """Return a stream per prompt, all queued at the same time."""
    limits = [most] * len(prompts) if isinstance(most, int) else most
    with writer._parts().scheduler._changed:
        return [
            writer.stream(ids, max_tokens=limit) for ids, limit in zip(prompts, limits, strict=True)
        ]


def results(streams: Sequence[TokenStream]) -> list[Generation]:
    return [stream.result(20) for stream in streams]


def test_pending_prompts_share_a_prefill_run(writer: Generator, runs: list[list[int]]) -> None:
    results(at_once(writer, [prompt(20 + i, i) for i in range(5)]))
    assert runs == [[20, 21, 22, 23, 24]]


def test_prompt_of_another_length_has_its_own_prefill_run(
    writer: Generator, runs: list[list[int]]
) -> None:
    results(
        at_once(
            writer,
            [
                prompt(tokens, 0)
                for tokens in (
                    20,
                    20 + MAX_PREFILL_PADDING_TOKENS + 1,
                    20 - MAX_PREFILL_PADDING_TOKENS,
                    20 + MAX_PREFILL_PADDING_TOKENS,
                )
            ],
        )
    )
    assert runs == [[12, 20, 28], [29]]


def test_only_the_first_chunks_of_long_prompts_share_a_run(
    writer: Generator, runs: list[list[int]]
) -> None:
    results(at_once(writer, [prompt(tokens, 0) for tokens in (150, 60, 70)]))
    assert runs == [[60, 64, 64], [6], [64], [22]]


def test_prefill_run_is_limited(writer: Generator, runs: list[list[int]]) -> None:
    results(at_once(writer, [prompt(60, i) for i in range(6)]))
    assert runs == [[60] * 4, [60] * 2]


def test_prefill_run_is_shorter_for_a_large_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill, "MAX_PREFILL_RUN_LOGITS", 130 * 384)
    writer = Generator(DECODERS / "llama", device="cpu", rows=6).open()
    runs = recorded(writer, monkeypatch)
    results(at_once(writer, [prompt(60, i) for i in range(3)]))
    writer.unload()
    assert runs == [[60, 60], [60]]


def test_prompts_share_a_chunk_while_sequences_are_running(
    writer: Generator, runs: list[list[int]]
) -> None:
    first = writer.stream("Kettle", max_tokens=250, logit_bias={0: -100.0, 2: -100.0})
    next(iter(first))
    results(at_once(writer, [prompt(30, i) for i in range(4)]))
    first.cancel()
    assert runs[1:] == [[30, 30], [30, 30]]


def test_common_prefix_is_prefilled_once(writer: Generator, runs: list[list[int]]) -> None:
    shared = prompt(40, 0)
    texts = results(at_once(writer, [shared + prompt(8, 1), prompt(48, 2), shared + prompt(8, 3)]))
    assert runs == [[48, 48], [8]]
    assert [text.usage.cached for text in texts] == [0, 0, 40]


def test_cancelled_request_does_not_change_the_others_of_its_run(
    writer: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [prompt(tokens, 0) for tokens in (100, 101, 102, 103)]
    unbatched = [writer.generate(ids, max_tokens=8) for ids in prompts]
    decoder = writer._parts().decoder
    feed_all = decoder.prefill_batch
    streams: list[TokenStream] = []

    def cancelling(row: int, texts: Sequence[Sequence[int]]) -> FloatArray:
        logits = feed_all(row, texts)
        streams[0].cancel()
        streams[2].cancel()
        return logits

    writer._parts().scheduler.prefix_cache.clear()
    monkeypatch.setattr(decoder, "prefill_batch", cancelling)
    with writer._parts().scheduler._changed:
        streams += at_once(writer, prompts, 8)
    assert [streams[1].result(20), streams[3].result(20)] == [unbatched[1], unbatched[3]]
    assert [streams[0].state, streams[2].state] == ["cancelled"] * 2


def test_after_a_failed_shared_run_each_prompt_has_its_own(
    writer: Generator, monkeypatch: pytest.MonkeyPatch, runs: list[list[int]]
) -> None:
    def fail(row: int, texts: Sequence[Sequence[int]]) -> FloatArray:
        raise ModelRunError("out of memory")

    prompts = [prompt(60 + i, i) for i in range(4)]
    monkeypatch.setattr(writer._parts().decoder, "prefill_batch", fail)
    texts = results(at_once(writer, prompts))
    assert runs == [[60], [61], [62], [63]]
    monkeypatch.undo()
    writer._parts().scheduler.prefix_cache.clear()
    assert texts == results(at_once(writer, prompts))


@pytest.mark.parametrize("name", NAMES)
def test_tokens_of_a_shared_prefill_equal_those_of_transformers(name: str) -> None:
    texts = golden(name)
    writer = Generator(DECODERS / name, device="cpu")
    streams = at_once(writer, [text.ids for text in texts], 64)
    for text, stream in zip(texts, streams, strict=True):
        assert [token.id for token in stream.result(20).tokens] == text.tokens
    writer.unload()


@cache
def shared_writer(name: str) -> Generator:
    return Generator(DECODERS / name, device="cpu", rows=5)


@pytest.fixture(scope="module", autouse=True)
def closed() -> Iterator[None]:
    yield
    for name in WHOLE:
        shared_writer(name).unload()


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 140), st.integers(1, 30)), min_size=1, max_size=9),
    st.integers(0, 2**16),
)
def test_tokens_of_any_prompts_do_not_depend_on_the_batch(
    name: str, asked: list[tuple[int, int]], seed: int
) -> None:
    writer = shared_writer(name)
    prompts = [prompt(tokens, seed + number) for number, (tokens, _) in enumerate(asked)]
    limits = [limit for _, limit in asked]
    prefixes = writer._parts().scheduler.prefix_cache
    unbatched = []
    for ids, limit in zip(prompts, limits, strict=True):
        unbatched.append([token.id for token in writer.generate(ids, max_tokens=limit).tokens])
        prefixes.clear()
    batched = results(at_once(writer, prompts, limits))
    prefixes.clear()
    assert [[token.id for token in text.tokens] for text in batched] == unbatched
