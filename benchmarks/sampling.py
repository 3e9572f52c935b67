"""Cost of sampling, detokenization and constraints per step, for 16 sequences and 32,000 tokens.

Run it with `.venv/bin/python benchmarks/sampling.py`. A decode step of a model with 125 M float32
weights takes about 29 ms for 16 sequences on 2 cores; sampling may take 15 % of that, 4.3 ms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count as counted
from time import perf_counter
from typing import Any

import numpy as np
from measure import Row, in_turn, on_one_core, print_table
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views.figures import seconds
from conduit_lab.models.generation.constraint import GrammarCompiler
from conduit_lab.models.generation.detokenizer import IncrementalDetokenizer
from conduit_lab.models.generation.sampling import Sampler
from conduit_lab.models.generation.sampling_options import SamplingOptions

SEQUENCES = 16
VOCABULARY = 32_000
STEPS = 20
RANDOM = np.random.default_rng(0)
WAYS = (
    ("greedy", SamplingOptions(max_tokens=2048)),
    ("temperature", SamplingOptions(temperature=0.8)),
    ("top_k 50", SamplingOptions(temperature=0.8, top_k=50)),
    ("top_p 0.95", SamplingOptions(temperature=0.8, top_p=0.95)),
    (
        "top_k 50, top_p 0.95, min_p 0.02",
        SamplingOptions(temperature=0.8, top_k=50, top_p=0.95, min_p=0.02),
    ),
    (
        "greedy with penalties, 500 tokens of prompt",
        SamplingOptions(repetition_penalty=1.1, frequency_penalty=0.2),
    ),
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def rows() -> Iterator[Row]:
    """Yield the rows of sampling, detokenization and constraints."""
    with on_one_core():
        likely = np.stack([zipf() for _ in range(SEQUENCES)])
        for name, sampling in WAYS:
            yield step(name, sampling, likely)
        flat = RANDOM.normal(0, 1, likely.shape).astype(np.float32)
        yield step("top_p 0.95, all tokens about equally likely", WAYS[3][1], flat)
        yield text()
        yield constraint()


def zipf() -> FloatArray:
    """Return Zipf-like logits: the r-th most likely token has a probability of about 1 / r^1.5."""
    ranks = RANDOM.permutation(VOCABULARY) + 1
    logits: FloatArray = (-1.5 * np.log(ranks) + RANDOM.normal(0, 0.5, VOCABULARY)).astype(
        np.float32
    )
    return logits


def step(name: str, sampling: SamplingOptions, logits: FloatArray) -> Row:
    """Sample for all sequences, compared with sorting each row."""
    sampler = Sampler(SEQUENCES, VOCABULARY)
    for slot in range(SEQUENCES):
        sampler.join(slot, sampling, RANDOM.integers(0, VOCABULARY, 500).tolist())
    slots = range(SEQUENCES)

    def ours() -> float:
        copies = [logits.copy() for _ in range(STEPS)]  # sampling overwrites them
        begin = perf_counter()
        for copy in copies:
            sampler.sample(copy, slots)
        return (perf_counter() - begin) / STEPS

    def by_sort() -> float:
        begin = perf_counter()
        for row in logits:
            by_sorting(row, sampling)
        return perf_counter() - begin

    mine, other, ratio = in_turn(ours, by_sort)
    against = "an argmax of each row" if sampling.greedy else "each row sorted with NumPy"
    return f"{name}: a step of {SEQUENCES} sequences", seconds(mine), seconds(other), ratio, against


def by_sorting(row: FloatArray, sampling: SamplingOptions) -> int:
    """Sample one token by sorting the row."""
    if sampling.greedy:
        return int(row.argmax())
    order = np.argsort(-row)
    scaled = row[order] / np.float32(sampling.temperature)
    chances = np.exp(scaled - scaled[0])
    if sampling.top_k:
        chances[sampling.top_k :] = 0
    chances /= chances.sum()
    chances[np.cumsum(chances) - chances >= sampling.top_p] = 0
    chances[chances < sampling.min_p * chances[0]] = 0
    running = np.cumsum(chances)
    return int(order[np.searchsorted(running, RANDOM.random() * running[-1])])


def tokenizer() -> Any:
    """Return a byte-level tokenizer trained on this file."""
    backend: Any = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([__doc__, json.dumps(SCHEMA)] * 4, trainer)
    return backend


def text() -> Row:
    """Detokenize 2,000 tokens with two stop sequences, or decode the whole text each time."""
    backend = tokenizer()
    ids = (backend.encode(__doc__).ids * 50)[:2000]

    def ours() -> float:
        delta = IncrementalDetokenizer(backend, ("\nUser:", "</answer>"))
        begin = perf_counter()
        for id in ids:
            delta.push(id)
        return (perf_counter() - begin) / len(ids)

    def whole() -> float:
        begin = perf_counter()
        for end in range(1, len(ids) + 1, 40):
            backend.decode(ids[:end])
        return (perf_counter() - begin) / len(range(1, len(ids) + 1, 40))

    mine, other, ratio = in_turn(ours, whole)
    return (
        "detokenization of one of 2,000 tokens",
        seconds(mine),
        seconds(other),
        ratio,
        "the whole text decoded each time",
    )


def constraint() -> Row:
    """Follow a JSON schema: compilation with the first step, then the later steps."""
    backend = tokenizer()
    source, width = backend.to_str(), backend.get_vocab_size()
    constraints = GrammarCompiler(source, width, [0])
    constraints.choices(["a"])  # reads the tokenizer
    names = counted()

    def first() -> float:
        schema = {**SCHEMA, "title": f"compiled for the first time {next(names)}"}
        begin = perf_counter()
        constraints.json_schema(schema)
        return perf_counter() - begin

    def later() -> float:
        made = constraints.json_schema(SCHEMA)
        steps = 0
        begin = perf_counter()
        while not made.complete and steps < 40:
            made.accept(int(RANDOM.choice(np.flatnonzero(made.allowed()))))
            steps += 1
        return (perf_counter() - begin) / steps

    ready, each, _ = in_turn(first, later)
    return (
        f"JSON schema of three properties, {width:,} tokens",
        seconds(ready),
        seconds(each),
        "–",
        "each later token",
    )


if __name__ == "__main__":
    print_table(rows())
