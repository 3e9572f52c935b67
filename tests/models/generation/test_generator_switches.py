"""Switch lengths: tokens of a graph with two rotary caches do not depend on the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.models.generation.generator import Generator
from tests.models.generation.longrope import CONTEXT, SWITCH, VOCABULARY, folder, reference

GRAPHS: dict[str, dict[str, Any]] = {
    "genai": {},
    "reversed": {"kind": "mask width, reversed", "by": "Where"},
    "positions": {"kind": "highest position"},
    "tokens": {"kind": "tokens of the mask", "by": "Where"},
    "growing": {"kind": "highest position", "by": "Where", "whole": False},
    "growing, mask": {"kind": "mask width", "whole": False},
}


@pytest.fixture(scope="module", params=GRAPHS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def path(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("longrope"), **GRAPHS[kind])


@pytest.fixture
def writer(path: Path) -> Iterator[Generator]:
    made = Generator(path, device="cpu", rows=6).open()
    yield made
    made.unload()


def prompt(tokens: int, seed: int = 0) -> list[int]:
    ids: list[int] = np.random.default_rng((tokens, seed)).integers(0, VOCABULARY, tokens).tolist()
    return ids


def written(writer: Generator, ids: list[int], tokens: int = 12) -> list[int]:
    return [token.id for token in writer.generate(ids, max_tokens=tokens).tokens]


def batched(writer: Generator, prompts: Sequence[list[int]], tokens: int = 12) -> list[list[int]]:
    with writer._parts().scheduler._changed:
        streams = [writer.stream(ids, max_tokens=tokens) for ids in prompts]
    return [[token.id for token in stream.result(20).tokens] for stream in streams]


def test_the_two_caches_differ(path: Path, kind: str, tmp_path: Path) -> None:
    short = folder(tmp_path, **{**GRAPHS[kind], "switch": CONTEXT})
    ids = prompt(2 * SWITCH)
    assert reference(path, ids, 12) != reference(short, ids, 12)
    assert reference(path, ids[: SWITCH - 12], 12) == reference(short, ids[: SWITCH - 12], 12)


def test_switch_length_is_found_in_the_graph(writer: Generator) -> None:
    assert writer._parts().decoder.switches.lengths == (SWITCH,)


@pytest.mark.parametrize("tokens", [5, SWITCH - 1, SWITCH, SWITCH + 1, 63, 64, 65, 150])
def test_prompt_below_at_and_above_the_switch(writer: Generator, path: Path, tokens: int) -> None:
    assert written(writer, prompt(tokens)) == reference(path, prompt(tokens), 12)


def test_sequence_crosses_the_switch_while_decoding(writer: Generator, path: Path) -> None:
    ids = prompt(SWITCH - 10)
    assert written(writer, ids, 30) == reference(path, ids, 30)


def test_short_sequences_beside_long_ones(writer: Generator, path: Path) -> None:
    prompts = [
        prompt(tokens, 1) for tokens in (8, 100, 9, SWITCH - 3, SWITCH, 70, 10, SWITCH + 1, 11)
    ]
    assert batched(writer, prompts) == [reference(path, ids, 12) for ids in prompts]


def test_prompts_of_one_prefill_run_are_on_one_side(writer: Generator, path: Path) -> None:
    prompts = [
        prompt(tokens, 7) for tokens in (SWITCH - 3, SWITCH + 1, SWITCH - 1, SWITCH + 3, SWITCH)
    ]
    assert batched(writer, prompts) == [reference(path, ids, 12) for ids in prompts]


@pytest.mark.parametrize("options", [GRAPHS["genai"], GRAPHS["positions"], GRAPHS["growing"]])
def test_switch_beyond_a_chunk(options: dict[str, Any], tmp_path: Path) -> None:
    writer = Generator(folder(tmp_path, switch=100, **options), device="cpu", rows=6).open()
    prompts = [prompt(tokens, 8) for tokens in (120, 95, 123, 101, 100, 90)]
    assert batched(writer, prompts) == [reference(tmp_path, ids, 12) for ids in prompts]
    writer.unload()


def test_sequences_cross_one_after_another(writer: Generator, path: Path) -> None:
    prompts = [prompt(SWITCH - 2 - 3 * place, 2) for place in range(5)]
    assert batched(writer, prompts, 24) == [reference(path, ids, 24) for ids in prompts]


def test_cached_prefix_is_of_one_side(writer: Generator, path: Path) -> None:
    whole = prompt(120, 3)
    for tokens in (SWITCH - 5, 120, SWITCH - 8, SWITCH + 5, 110, SWITCH - 6):
        assert written(writer, whole[:tokens], 4) == reference(path, whole[:tokens], 4)
    assert writer.generate(whole[:118], max_tokens=1).usage.cached == 117


def test_several_choices_of_one_prompt_cross(writer: Generator, path: Path) -> None:
    ids = prompt(SWITCH - 4, 4)
    result = writer.generate(ids, max_tokens=12, n=4)
    assert [[token.id for token in choice.tokens] for choice in result.choices] == [
        reference(path, ids, 12)
    ] * 4


def test_penalties_continue_across_the_switch(writer: Generator) -> None:
    ids = prompt(SWITCH - 4, 5)
    result = writer.generate(ids, max_tokens=30, frequency_penalty=100.0)
    tokens = [token.id for token in result.tokens]
    assert len(tokens) == len(set(tokens)) == 30


def test_cancelled_while_crossing_does_not_change_the_others(writer: Generator, path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        lasting = pool.submit(written, writer, prompt(6, 6), 60)
        for place in range(3):
            stream = writer.stream(prompt(SWITCH - 1 - place, 6), max_tokens=20)
            next(iter(stream))
            stream.cancel()
        assert lasting.result(20) == reference(path, prompt(6, 6), 60)


def test_long_prompt_is_prefilled_in_chunks_if_the_mask_may_be_wider(tmp_path: Path) -> None:
    writer = Generator(folder(tmp_path, switch=150), device="cpu").open()
    decoder = writer._parts().decoder
    decoder.begin(0, 200)
    assert decoder.min_prefill(0) == 1
    assert written(writer, prompt(200)) == reference(tmp_path, prompt(200), 12)
    writer.unload()
