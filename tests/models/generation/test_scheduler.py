"""Scheduler and SequenceBatch, on a decoder whose logits depend only on the tokens of a row."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import ModelRunError, Overloaded
from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.models.generation.generation_request import GenerationRequest
from conduit_lab.models.generation.sampling_options import SamplingOptions
from conduit_lab.models.generation.scheduler import Scheduler
from conduit_lab.runtime.decoding.switches import Switches

VOCABULARY = 50
WARM: dict[str, Any] = {"temperature": 1.0}


class FakeDecoder:
    """Keeps the tokens of each row; `runs` records prefill chunks and, as 0, decode steps."""

    vocabulary = VOCABULARY
    batches_prefill = True
    io = SimpleNamespace(merged=False, independent=True)

    def __init__(self, rows: int = 4, switch: int = 0) -> None:
        self.rows = rows
        self.switches = Switches((switch,)) if switch else Switches()
        self.tokens: list[list[int]] = [[] for _ in range(rows)]
        self.runs: list[list[int] | int] = []
        self.on_feed: Callable[[], object] = lambda: None
        self.on_step: Callable[[], object] = lambda: None

    @property
    def lengths(self) -> list[int]:
        return [len(tokens) for tokens in self.tokens]

    def logits(self, rows: Sequence[int]) -> FloatArray:
        made = [
            np.random.default_rng([len(self.tokens[row]), *self.tokens[row]]).normal(size=50)
            for row in rows
        ]
        return np.array(made, np.float32)

    @contextmanager
    def held(self) -> Iterator[None]:
        yield

    def clear(self) -> None:
        self.tokens = [[] for _ in range(self.rows)]

    def begin(self, row: int, total: int) -> None:
        assert not self.tokens[row]

    def min_prefill(self, row: int) -> int:
        return 1

    def crossing(self, rows: int) -> list[int]:
        return [row for row in range(rows) if self.lengths[row] in self.switches.lengths]

    def prefill(self, row: int, ids: Sequence[int]) -> FloatArray:
        self.runs.append([len(ids)])
        self.on_feed()
        self.tokens[row] += ids
        logits: FloatArray = self.logits([row])[0]
        return logits

    def prefill_batch(self, row: int, chunks: Sequence[Sequence[int]]) -> FloatArray:
        self.runs.append([len(chunk) for chunk in chunks])
        self.on_feed()
        for place, chunk in enumerate(chunks):
            self.tokens[row + place] += chunk
        return self.logits(range(row, row + len(chunks)))

    def step(self, ids: Array) -> FloatArray:
        self.runs.append(0)
        self.on_step()
        for row, token in enumerate(ids.tolist()):
            self.tokens[row].append(token)
        return self.logits(range(len(ids)))

    def move(self, source: int, target: int) -> None:
        assert self.tokens[source]
        self.tokens[target], self.tokens[source] = self.tokens[source], []

    def drop(self, row: int) -> None:
        self.tokens[row] = []

    def save(self, row: int, tokens: int) -> list[Array]:
        return [np.array(self.tokens[row][:tokens])]

    def load(self, row: int, saved: list[Array], tokens: int) -> None:
        self.tokens[row] = saved[0][:tokens].tolist()


class Letters:
    """A detokenizer of one letter per token."""

    stopped = False

    def push(self, id: int) -> str:
        return chr(40 + id)

    def flush(self) -> str:
        return ""


class Job:
    """A request and its end."""

    def __init__(self, prompt: Sequence[int], limit: int = 10, **sampling: Any) -> None:
        self.done = threading.Event()
        self.on_token: Callable[[], object] = lambda: None
        options = SamplingOptions(max_tokens=limit, **sampling)
        letters: Any = Letters()
        self.request = GenerationRequest(
            list(prompt),
            options,
            letters,
            limit=limit,
            on_token=lambda token: self.on_token(),
            on_end=lambda request: self.done.set(),
        )

    def result(self) -> str:
        assert self.done.wait(60)
        if self.request.error is not None:
            raise self.request.error
        return str(self.request.result)


@pytest.fixture
def schedulers() -> Iterator[list[Scheduler]]:
    made: list[Scheduler] = []
    yield made
    for scheduler in made:
        scheduler.stop()


@pytest.fixture
def start(schedulers: list[Scheduler]) -> Callable[..., Scheduler]:
    def make(decoder: FakeDecoder | None = None, queue: int = 50) -> Scheduler:
        fake: Any = decoder or FakeDecoder()
        schedulers.append(Scheduler("fake", fake, frozenset({0}), queue))
        return schedulers[-1]

    return make


Start = Callable[..., Scheduler]


def run(scheduler: Scheduler, *jobs: Job) -> list[str]:
    """Submit all at once and return their texts."""
    scheduler.submit([job.request for job in jobs])
    return [job.result() for job in jobs]


def prompt(length: int, seed: int = 0) -> list[int]:
    ids: list[int] = np.random.default_rng([length, seed]).integers(1, 50, length).tolist()
    return ids


def unbatched(start: Start, *arguments: Any, **options: Any) -> str:
    return run(start(FakeDecoder(1)), Job(*arguments, **options))[0]


def many(seed: int) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return arguments of jobs that end at different steps, each with its own options."""
    random = np.random.default_rng(seed)
    return [
        (
            (prompt(int(random.integers(1, 150)), place), int(random.integers(1, 40))),
            {"seed": place, "temperature": float(place % 2), "presence_penalty": place % 3},
        )
        for place in range(14)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_tokens_do_not_depend_on_the_batch(start: Start, seed: int) -> None:
    asked = many(seed)
    texts = run(start(), *(Job(*arguments, **options) for arguments, options in asked))
    assert texts == [unbatched(start, *arguments, **options) for arguments, options in asked]


@pytest.mark.parametrize("seed", range(2))
def test_cancelled_sequences_do_not_change_the_others(start: Start, seed: int) -> None:
    asked = many(seed)
    jobs = [Job(*arguments, **options) for arguments, options in asked]
    decoder = FakeDecoder()
    scheduler = start(decoder)
    victims = iter(jobs[::3])

    def cancel() -> None:
        if len(decoder.runs) % 5 == 2 and (job := next(victims, None)):
            job.request.cancel()

    decoder.on_feed = decoder.on_step = cancel
    scheduler.submit([job.request for job in jobs])
    for place, (job, (arguments, options)) in enumerate(zip(jobs, asked, strict=True)):
        whole = unbatched(start, *arguments, **options)
        assert whole.startswith(job.result())
        if place % 3:
            assert job.result() == whole


def test_sequences_that_cross_a_switch_at_once_keep_their_tokens(start: Start) -> None:
    asked = [((prompt(20, place), 30), {"seed": place, **WARM}) for place in range(3)]
    asked.append(((prompt(22, 7), 30), {"seed": 9, **WARM}))
    decoder = FakeDecoder(switch=30)
    texts = run(start(decoder), *(Job(*arguments, **options) for arguments, options in asked))
    assert texts == [unbatched(start, *arguments, **options) for arguments, options in asked]
    assert [31] in decoder.runs  # prefilled again


def test_sequence_that_crosses_a_switch_is_prefilled_after_one_step_of_the_others(
    start: Start,
) -> None:
    decoder = FakeDecoder(switch=30)
    lengths = {28: 10, 5: 9}
    run(start(decoder), *(Job(prompt(n), m, logit_bias={0: -100}) for n, m in lengths.items()))
    assert decoder.runs[:6] == [[28], [5], 0, 0, 0, [31]]


def test_free_rows_are_prefilled_before_the_first_step(start: Start) -> None:
    decoder = FakeDecoder()
    run(start(decoder), *(Job(prompt(length), 2) for length in (10, 64, 40)))
    assert decoder.runs[:4] == [[10], [64], [40], 0]


def test_one_chunk_is_prefilled_between_two_steps(start: Start) -> None:
    decoder = FakeDecoder()
    scheduler = start(decoder)
    first, second = Job(prompt(5), 30, logit_bias={0: -100}), Job(prompt(150), 1)

    def submit() -> None:
        if decoder.runs[-1] == 0 and second.request.wake is None:
            scheduler.submit([second.request])

    first.on_token = submit
    run(scheduler, first)
    second.result()
    begin = decoder.runs.index([64])
    assert decoder.runs[begin : begin + 6] == [[64], 0, [64], 0, [22], 0]


def test_cancelled_prefill_ends_before_its_next_chunk(start: Start) -> None:
    decoder = FakeDecoder()
    scheduler = start(decoder)
    job = Job(prompt(200))
    decoder.on_feed = job.request.cancel
    assert run(scheduler, job) == [""]
    assert decoder.runs == [[64]]
    assert job.request.result is not None
    assert job.request.result.finish_reason == "cancelled"


def test_shared_runs_are_tried_again_after_a_failed_one(start: Start) -> None:
    decoder = FakeDecoder()
    scheduler = start(decoder)

    def fail() -> None:
        decoder.on_feed = lambda: None
        raise ModelRunError("out of memory")

    decoder.on_feed = fail
    jobs = [Job(prompt(10 + place), 1) for place in range(2)]
    assert run(scheduler, *jobs) == [unbatched(start, prompt(10 + place), 1) for place in range(2)]
    run(scheduler, *(Job(prompt(30 + place), 1) for place in range(2)))
    assert decoder.runs == [[10, 11], [10], [11], [30, 31]]


def test_failed_prefill_ends_only_its_request(start: Start) -> None:
    decoder = FakeDecoder()
    scheduler = start(decoder)

    def fail() -> None:
        if decoder.runs[-1] == [25]:
            raise ModelRunError("out of memory")

    decoder.on_feed = fail
    jobs = [Job(prompt(length), 3) for length in (5, 25, 45)]
    scheduler.submit([job.request for job in jobs])
    with pytest.raises(ModelRunError):
        jobs[1].result()
    for place, length in ((0, 5), (2, 45)):
        assert jobs[place].result() == unbatched(start, prompt(length), 3)


def test_request_with_invalid_options_ends_alone_and_frees_its_row(start: Start) -> None:
    scheduler = start(FakeDecoder(1))
    for _ in range(3):
        wrong = Job(prompt(5), logit_bias={VOCABULARY: 1.0})
        with pytest.raises(Exception, match="logit_bias expects tokens"):
            run(scheduler, wrong)
    assert run(scheduler, Job(prompt(5), 3)) == [unbatched(start, prompt(5), 3)]


def test_failed_step_ends_all_and_the_next_request_works(start: Start) -> None:
    decoder = FakeDecoder()
    scheduler = start(decoder)

    def fail() -> None:
        decoder.on_step = lambda: None
        raise ModelRunError("out of memory")

    decoder.on_step = fail
    jobs = [Job(prompt(10 + place)) for place in range(4)]
    scheduler.submit([job.request for job in jobs])
    for job in jobs:
        with pytest.raises(ModelRunError):
            job.result()
    assert run(scheduler, Job(prompt(9), seed=1, **WARM)) == [
        unbatched(start, prompt(9), seed=1, **WARM)
    ]
    assert len(set(scheduler._batch._free_slots)) == 4


def test_stopped_scheduler_starts_again(start: Start) -> None:
    scheduler = start()
    job = Job(prompt(5), 10**6, logit_bias={0: -100})
    running = threading.Event()
    job.on_token = running.set
    scheduler.submit([job.request])
    assert running.wait(60)
    scheduler.stop()
    assert job.request.result is not None
    assert job.request.result.finish_reason == "cancelled"
    assert run(scheduler, Job(prompt(5), 3)) == [unbatched(start, prompt(5), 3)]


def test_stopped_scheduler_has_no_cached_prefix(start: Start) -> None:
    scheduler = start()
    cached = []
    for _ in range(2):
        job = Job(prompt(40), 1)
        run(scheduler, job)
        assert job.request.result is not None
        cached.append(job.request.result.usage.cached)
    scheduler.stop()
    job = Job(prompt(40), 1)
    run(scheduler, job)
    assert job.request.result is not None
    assert [*cached, job.request.result.usage.cached] == [0, 39, 0]


def test_usage_has_the_time_of_the_first_token(start: Start) -> None:
    job = Job(prompt(5), 5, logit_bias={0: -100})
    run(start(), job)
    made = job.request.result
    assert made is not None
    assert made.usage.first_token == made.tokens[0].time
    assert made.usage.seconds == made.tokens[-1].time
    assert [token.position for token in made.tokens] == list(range(5))


def test_end_of_sequence_frees_the_row(start: Start) -> None:
    scheduler = start(FakeDecoder(1))
    jobs = [Job(prompt(5), logit_bias={0: 100.0}) for _ in range(3)]
    run(scheduler, *jobs)
    for job in jobs:
        assert job.request.result is not None
        assert (job.request.result.finish_reason, len(job.request.result.tokens)) == ("stop", 1)


def test_error_without_a_request_is_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    scheduler = start()
    with caplog.at_level(logging.ERROR, "conduit_lab"):
        scheduler._abort(ModelRunError("nobody waits"))
    assert "the scheduler of 'fake' failed without a request" in caplog.text
    assert "nobody waits" in caplog.text


def test_chunks_end_at_the_same_places_after_a_cached_prefix(start: Start) -> None:
    decoder = FakeDecoder()
    scheduler = start(decoder)
    first = prompt(100)
    run(scheduler, Job(first, 1))
    job = Job(first + prompt(60, 1), 1)
    texts = run(scheduler, job)
    assert decoder.runs == [[64], [36], [28], [32]]
    assert texts == [unbatched(start, first + prompt(60, 1), 1)]
    assert job.request.result is not None
    assert job.request.result.usage.cached == 100


def test_queue_takes_all_requests_that_fit_or_none(start: Start) -> None:
    decoder = FakeDecoder(1)
    scheduler = start(decoder, 2)
    with scheduler._changed:  # blocks the scheduler's thread
        scheduler.submit([Job(prompt(5), 1).request for _ in range(2)])
        with pytest.raises(Overloaded, match="got 2 more than its 0 running and 2 queued"):
            scheduler.submit([Job(prompt(5), 1).request for _ in range(2)])
        last = Job(prompt(5), 1)
        scheduler.submit([last.request])
        assert (scheduler.running, scheduler.waiting) == (0, 3)
    assert last.result()
