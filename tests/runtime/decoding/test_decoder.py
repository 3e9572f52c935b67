"""Decoder: sequences that enter and leave the batch, with the tokens of transformers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import ModelRunError
from conduit_lab.models.generation.decoder_folder import DecoderFolder
from conduit_lab.runtime.decoding.decoder import Decoder
from conduit_lab.runtime.sessions.session import Options
from tests.models.generation.writers import DECODERS, NAMES, WHOLE, Golden, golden
from tests.runtime import graphs

ROWS = 4


@cache
def decoder_of(name: str) -> Decoder:
    return open_decoder(DECODERS / name)


def open_decoder(path: Path) -> Decoder:
    folder = DecoderFolder.read(path)
    options = Options("cpu", threads=1)
    return Decoder.open(
        folder.graph(None),
        options,
        rows=ROWS,
        context=folder.context,
        heads=folder.heads,
        width=folder.width,
    )


@pytest.fixture(params=NAMES)
def decoder(request: pytest.FixtureRequest) -> Iterator[Decoder]:
    made = decoder_of(request.param)
    with made.held():
        yield made
        made.clear()


def texts(decoder: Decoder) -> list[Golden]:
    return golden(decoder.shared.path.parent.name)


def test_a_single_row_generates_the_tokens_of_transformers(decoder: Decoder) -> None:
    for text in texts(decoder):
        written = [int(decoder.prefill(0, text.ids).argmax())]
        while len(written) < len(text.tokens):
            written.append(int(decoder.step(written[-1:])[0].argmax()))
        assert written == text.tokens
        decoder.drop(0)


def test_rows_that_enter_a_running_batch_generate_the_same_tokens(decoder: Decoder) -> None:
    expected = texts(decoder)
    written: list[list[int]] = []
    step = 0
    while not written or len(written[-1]) < 64:
        if step % 7 == 0 and len(written) < len(expected):
            logits = decoder.prefill(len(written), expected[len(written)].ids)
            written.append([int(logits.argmax())])
        ids = [row[-1] for row in written]
        for row, token in zip(written, decoder.step(ids).argmax(-1), strict=True):
            row.append(int(token))
        step += 1
    assert [row[:64] for row in written] == [text.tokens for text in expected]


@pytest.mark.parametrize("size", [1, 3, 16])
def test_a_prompt_may_be_prefilled_in_chunks(decoder: Decoder, size: int) -> None:
    text = texts(decoder)[3]
    whole = decoder.prefill(0, text.ids)
    decoder.drop(0)
    for start in range(0, len(text.ids), size):
        logits = decoder.prefill(0, text.ids[start : start + size])
    np.testing.assert_allclose(logits, whole, atol=1e-4)


def test_a_moved_row_continues(decoder: Decoder) -> None:
    expected = texts(decoder)[:3]
    written = [[int(decoder.prefill(row, text.ids).argmax())] for row, text in enumerate(expected)]
    decoder.step([row[-1] for row in written])
    for row, text in enumerate(expected):  # the step added the second token
        written[row].append(text.tokens[1])
    decoder.move(2, 0)  # the first sequence ends, the last moves to its row
    order = [2, 1]
    while len(written[2]) < 64:
        logits = decoder.step([written[number][-1] for number in order])
        for number, token in zip(order, logits.argmax(-1), strict=True):
            written[number].append(int(token))
    assert written[1] == expected[1].tokens
    assert written[2] == expected[2].tokens


def test_a_row_may_skip_steps(decoder: Decoder) -> None:
    first, second = texts(decoder)[1:3]
    tokens = [
        int(decoder.prefill(row, text.ids).argmax()) for row, text in enumerate((first, second))
    ]
    for token in first.tokens[:5]:
        decoder.step([token])
    assert decoder.lengths[:2].tolist() == [len(first.ids) + 5, len(second.ids)]
    assert decoder.step([first.tokens[5], tokens[1]]).argmax(-1).tolist() == [
        first.tokens[6],
        second.tokens[1],
    ]


def test_a_saved_prefix_fills_another_row(decoder: Decoder) -> None:
    text = texts(decoder)[2]
    whole = decoder.prefill(0, text.ids)
    saved = decoder.save(0, 20)
    decoder.load(1, saved, 17)
    np.testing.assert_allclose(decoder.prefill(1, text.ids[17:]), whole, atol=1e-4)


def test_clear_empties_all_rows(decoder: Decoder) -> None:
    text = texts(decoder)[0]
    decoder.prefill(0, text.ids)
    decoder.step([text.tokens[0]])
    decoder.clear()
    assert not decoder.lengths.any()
    assert int(decoder.prefill(0, text.ids).argmax()) == text.tokens[0]


def test_the_cache_is_in_place_for_group_query_attention() -> None:
    assert [name for name in NAMES if decoder_of(name).io.in_place] == list(WHOLE)


def test_prompts_are_batched_for_group_query_attention() -> None:
    assert [name for name in NAMES if decoder_of(name).batches_prefill] == list(WHOLE)


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 64), min_size=1, max_size=ROWS - 1), st.integers(0, 2**16))
def test_a_batched_prefill_continues_like_single_ones(
    name: str, sizes: list[int], seed: int
) -> None:
    decoder = decoder_of(name)
    random = np.random.default_rng(seed)
    texts = [random.integers(3, decoder.vocabulary, size).tolist() for size in sizes]
    before = random.integers(3, decoder.vocabulary, 9).tolist()
    with decoder.held():
        decoder.clear()
        alone = []
        for row, ids in enumerate([before, *texts]):
            alone.append(decoder.prefill(row, ids))
        stepped = decoder.step([5] * len(alone)).copy()
        for row in range(len(alone)):
            decoder.drop(row)
        decoder.prefill(0, before)
        np.testing.assert_allclose(decoder.prefill_batch(1, texts), alone[1:], atol=2e-5)
        assert decoder.lengths[: len(alone)].tolist() == [9, *sizes]
        np.testing.assert_allclose(decoder.step([5] * len(alone)), stepped, atol=2e-5)
        decoder.clear()


def test_rows_of_a_failed_prefill_stay_empty() -> None:
    decoder = decoder_of("llama")
    with decoder.held():
        with pytest.raises(ModelRunError):
            decoder.prefill_batch(0, [[5, 6, 7], [5, decoder.vocabulary]])
        assert not decoder.lengths.any()
        decoder.clear()


@pytest.mark.parametrize("name", ["llama", "qwen2"])
@settings(max_examples=25, deadline=None)
@given(
    moves=st.lists(
        st.tuples(
            st.sampled_from(["join", "step", "leave"]), st.integers(0, 3), st.integers(1, 40)
        ),
        max_size=25,
    )
)
def test_logits_of_a_row_do_not_depend_on_the_other_rows(
    name: str, moves: list[tuple[str, int, int]]
) -> None:
    decoder = decoder_of(name)
    rows: list[list[int]] = []
    random = np.random.default_rng(0)
    with decoder.held():
        decoder.clear()
        for kind, which, size in moves:
            if kind == "join" and len(rows) < ROWS:
                ids = random.integers(3, decoder.vocabulary, size).tolist()
                decoder.prefill(len(rows), ids)
                rows.append(ids)
            elif kind == "step" and rows:
                ids = random.integers(3, decoder.vocabulary, len(rows)).tolist()
                logits = decoder.step(ids).copy()
                for tokens, token in zip(rows, ids, strict=True):
                    tokens.append(token)
            elif kind == "leave" and which < len(rows):
                if which < len(rows) - 1:
                    decoder.move(len(rows) - 1, which)
                else:
                    decoder.drop(which)
                rows[which] = rows[-1]
                rows.pop()
        if rows:
            ids = [5] * len(rows)
            logits = decoder.step(ids).copy()
            for row, tokens in enumerate(rows):
                decoder.clear()
                np.testing.assert_allclose(logits[row], decoder.prefill(0, [*tokens, 5]), atol=2e-4)
        decoder.clear()


def test_a_graph_that_keeps_the_last_logits_is_asked_for_one(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DECODERS / "llama", tmp_path / "llama"))
    model = onnx.load(folder / "model.onnx")
    for node in model.graph.node:
        node.output[:] = ["every" if name == "logits" else name for name in node.output]
    model.graph.node.extend(
        [
            graphs.node("Neg", ["num_logits_to_keep"], ["minus"]),
            graphs.node("Unsqueeze", ["minus", "zero"], ["start"]),
            graphs.node("Slice", ["every", "start", "end", "one"], ["logits"]),
        ]
    )
    numbers = {"zero": [0], "one": [1], "end": [2**31]}
    model.graph.initializer.extend(graphs.constant(n, np.array(v)) for n, v in numbers.items())
    model.graph.input.append(graphs.value("num_logits_to_keep", [], "int64"))
    onnx.save(model, folder / "model.onnx")
    decoder = open_decoder(folder)
    expected = golden("llama")[:2]
    with decoder.held():
        written = [
            [int(decoder.prefill(row, text.ids).argmax())] for row, text in enumerate(expected)
        ]
        for _ in range(8):
            logits = decoder.step([row[-1] for row in written])
            for row, token in zip(written, logits.argmax(-1), strict=True):
                row.append(int(token))
    assert written == [text.tokens[:9] for text in expected]
