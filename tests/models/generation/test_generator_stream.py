"""Token streams: their tokens, their end, and cancellation."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from time import monotonic, sleep

import numpy as np
import pytest

from conduit_lab.core.errors import InputError, ModelRunError, StreamCancelled
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.streams.stream import Stream
from conduit_lab.models.generation import scheduler
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.generation.prefill import PREFILL_CHUNK_TOKENS
from tests.models.generation.writers import DECODERS, golden


@pytest.fixture
def writer() -> Iterator[Generator]:
    made = Generator(DECODERS / "llama", device="cpu", rows=4).open()
    yield made
    made.unload()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "generator llama"]


def until(ready: object, seconds: float = 10.0) -> None:
    end = monotonic() + seconds
    while not ready():  # type: ignore[operator]
        assert monotonic() < end
        sleep(0.002)


def test_token_has_position_id_and_logprob(writer: Generator) -> None:
    tokens = list(writer.stream("Kettle", max_tokens=10, logprobs=2))
    assert [token.position for token in tokens] == list(range(10))
    assert [token.id for token in tokens] == golden("llama")[0].tokens[:10]
    for token in tokens:
        assert [len(token.tops), token.tops[0][0]] == [2, token.id]
        assert token.tops[0][1] == pytest.approx(token.logprob)
        assert token.logprob < 0
    assert [token.time for token in tokens] == sorted(token.time for token in tokens)


def test_only_the_last_token_has_finish_reason_and_usage(writer: Generator) -> None:
    *before, last = writer.stream("Kettle", max_tokens=10)
    assert {(token.finish_reason, token.usage) for token in before} == {(None, None)}
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert last.usage.generated == 10


def test_stream_equals_generate(writer: Generator) -> None:
    stream = writer.stream("Our return policy is")
    text = writer.generate("Our return policy is")
    assert stream.result(10) == text == "".join(stream) == stream.text


def test_logprobs_are_of_the_raw_logits(writer: Generator) -> None:
    text = golden("llama")[0]
    decoder = writer._parts().decoder
    first = next(iter(writer.stream("Kettle", max_tokens=1)))
    writer.unload()
    with decoder.held():
        logits = decoder.prefill(0, text.ids).astype(np.float64)
    assert first.logprob == pytest.approx(logits[first.id] - np.log(np.exp(logits).sum()), abs=1e-4)


def test_cancelling_frees_the_row_for_the_next(writer: Generator) -> None:
    streams = [writer.stream("Kettle", max_tokens=250) for _ in range(4)]
    for stream in streams:
        next(iter(stream))
        stream.cancel()
    assert writer.generate("Kettle", max_tokens=64).usage.generated == 64
    with pytest.raises(StreamCancelled):
        streams[0].result(10)
    until(lambda: writer._parts().scheduler.running == 0)


def test_cancelled_sequence_does_not_change_the_others(writer: Generator) -> None:
    texts = golden("llama")
    streams = [writer.stream(text.prompt, max_tokens=64) for text in texts]
    next(iter(streams[0]))
    streams[0].cancel()
    next(iter(streams[2]))
    streams[2].cancel()
    for number in (1, 3):
        assert [token.id for token in streams[number].result(10).tokens] == texts[number].tokens


def test_queued_request_may_be_cancelled(writer: Generator) -> None:
    streams = [writer.stream("Kettle", max_tokens=250) for _ in range(6)]
    streams[5].cancel()
    until(lambda: all(stream.finished for stream in streams))
    assert [stream.state for stream in streams] == ["done"] * 5 + ["cancelled"]


def test_stream_inside_another_is_cancelled_with_it(writer: Generator) -> None:
    made = []

    def source() -> Iterator[str]:
        made.append(writer.stream("Kettle", max_tokens=250))
        yield from made[0]
        sleep(10)

    outer = Stream(source())
    next(iter(outer))
    outer.cancel()
    until(lambda: made[0].finished)
    until(lambda: writer._parts().scheduler.running == 0)


def recorded(writer: Generator, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that records the tokens of each prefill chunk, and 0 per decode step."""
    decoder = writer._parts().decoder
    calls: list[int] = []
    feed, step = decoder.prefill, decoder.step

    def feeding(row: int, ids: Sequence[int]) -> FloatArray:
        calls.append(len(ids))
        return feed(row, ids)

    def stepping(ids: Sequence[int]) -> FloatArray:
        calls.append(0)
        return step(ids)

    monkeypatch.setattr(decoder, "prefill", feeding)
    monkeypatch.setattr(decoder, "step", stepping)
    return calls


def test_long_prompt_is_prefilled_in_chunks_while_sequences_are_running(
    writer: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(writer, monkeypatch)
    first = writer.stream("Kettle", max_tokens=250, logit_bias={0: -100.0, 2: -100.0})
    next(iter(first))
    writer.generate([5] * 200, max_tokens=1)
    first.cancel()
    begin = calls.index(PREFILL_CHUNK_TOKENS)
    assert calls[begin : begin + 7] == [64, 0, 64, 0, 64, 0, 8]


def test_chunk_boundaries_do_not_depend_on_the_cached_prefix(
    writer: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(writer, monkeypatch)
    writer.generate([5] * 200, max_tokens=1)
    writer.generate([5] * 100 + [6] * 60, max_tokens=1)  # the first 100 are known
    assert calls == [64, 64, 64, 8, 28, 32]


def test_failed_step_is_raised_by_every_stream(
    writer: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = writer._parts().decoder

    def fail(ids: object) -> None:
        raise ModelRunError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(decoder, "step", fail)
        for stream in [writer.stream("Kettle") for _ in range(3)]:
            with pytest.raises(ModelRunError, match="out of memory"):
                stream.result(10)
    assert [token.id for token in writer.generate("Kettle").tokens] == golden("llama")[0].tokens


def test_nan_logits_are_an_error(writer: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = writer._parts().decoder
    monkeypatch.setattr(
        decoder, "step", lambda ids: np.full((len(ids), decoder.vocabulary), np.nan, np.float32)
    )
    with pytest.raises(ModelRunError, match="'llama' expects finite logits of its model, got NaN"):
        writer.generate("Kettle")


def test_stream_expects_one_sequence(writer: Generator) -> None:
    with pytest.raises(InputError, match="a stream expects n=1, got n=2"):
        writer.stream("Kettle", n=2)


def test_idle_thread_exits(writer: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "IDLE_SECONDS", 0.01)
    assert threads() == []
    for _ in range(5):
        assert [token.id for token in writer.generate("Kettle").tokens] == golden("llama")[0].tokens
        until(lambda: threads() == [])


def test_unloading_cancels_running_sequences(writer: Generator) -> None:
    stream = writer.stream("Kettle", max_tokens=250)
    next(iter(stream))
    writer.unload()
    assert stream.finished
    assert threads() == []
    assert writer.generate("Kettle", max_tokens=1).usage.generated == 1
