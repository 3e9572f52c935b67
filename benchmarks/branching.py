"""Time to the first new token of a branch, in decode steps of the same model.

    .venv/bin/python benchmarks/branching.py data/models/writer [folder …]

A folder is any decoder. `--random PATH` first writes one with 12 layers of width 768 and random
weights there, using the builder of the tests. Each round decodes a sequence of 200 tokens after a
prompt of 100, then branches at a token near its end; a branch's time runs from the call to its
first new token, including the chosen token and the thread's wakeup.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
from measure import CORES, Row, compared, print_table

from conduit_lab.core.views.figures import seconds
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.generation.token_stream import TokenStream

ROUNDS = 7
PROMPT_TOKENS, TOKENS, POSITION = 100, 200, 180


def rows(folders: list[Path]) -> Iterator[Row]:
    """Yield the rows of each model: a branch using the cached KV, then alternatives."""
    for folder in folders:
        writer = Generator(folder, device="cpu").open()
        random = np.random.default_rng(0)
        ids = random.integers(3, writer.vocabulary - 1, PROMPT_TOKENS).tolist()
        ends = dict.fromkeys(writer._parts().folder.ends, -100.0)
        branches, lookups = [], []
        for round_ in range(ROUNDS):
            root = writer.stream([*ids, 3 + round_], max_tokens=TOKENS, logit_bias=ends)
            root.wait()
            step = _step(root)
            _until_idle(writer)
            branches.append((_first_new(root, POSITION, 5 + round_), step))
            _until_idle(writer)
            begin = perf_counter()
            root.alternatives(POSITION - 10)
            lookups.append((perf_counter() - begin, step))
        writer.unload()
        for what, pairs in (("branch, first new token", branches), ("alternatives", lookups)):
            took, step, ratio = compared(pairs)
            name = f"{folder.name}, {what}, {CORES} threads"
            yield name, seconds(took), seconds(step), ratio, "one decode step"


def _until_idle(writer: Generator) -> None:
    """Wait until the scheduler has cached the KV of the last finished sequence."""
    while writer._parts().scheduler.running:
        sleep(0.001)


def _step(stream: TokenStream) -> float:
    """Return the median seconds between two tokens."""
    times = [token.time for token in stream.tokens]
    return statistics.median(b - a for a, b in pairwise(times))


def _first_new(root: TokenStream, position: int, token: int) -> float:
    """Return the seconds from the call of `branch` to its first token after the chosen one."""
    begin = perf_counter()
    reader = iter(root.branch(position, token))
    next(reader), next(reader)
    took = perf_counter() - begin
    reader.stream.cancel()
    return took


def write_random(path: Path) -> Path:
    """Write a decoder with random weights, GroupQueryAttention, 12 layers of width 768."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.models.generation import longrope

    longrope.VOCABULARY, longrope.WIDTH, longrope.LAYERS = 32_000, 768, 12
    longrope.HEADS = longrope.KV_HEADS = 12
    longrope.HEAD, longrope.CONTEXT = 64, 1024
    return longrope.folder(path, switch=10**6)


if __name__ == "__main__":
    given = sys.argv[1:]
    made = [write_random(Path(given[1]))] if given[:1] == ["--random"] else []
    print_table(rows([*made, *map(Path, given[2:] if made else given)]))
