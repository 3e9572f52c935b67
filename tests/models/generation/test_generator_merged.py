"""Merged decoders: whole prompts in one branch, single tokens in the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit_lab.core.spec import FloatArray
from conduit_lab.models.generation.decoder_folder import DecoderFolder
from conduit_lab.models.generation.generator import Generator
from tests.models.generation.merged import merged_folder
from tests.models.generation.writers import golden

GROWING = ("qwen2", "gpt2")


@pytest.fixture(params=GROWING)
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Generator]:
    made = Generator(merged_folder(request.param, tmp_path), device="cpu", rows=4).open()
    yield made
    made.unload()


def test_tokens_equal_those_of_transformers(writer: Generator) -> None:
    for text in golden(writer.path.name):
        assert [
            token.id for token in writer.generate(text.ids, max_tokens=64).tokens
        ] == text.tokens


def test_batched_tokens_equal_those_of_transformers(writer: Generator) -> None:
    expected = golden(writer.path.name)
    streams = [writer.stream(text.ids, max_tokens=64) for text in [*expected, *expected]]
    got = [[token.id for token in stream.result(20).tokens] for stream in streams]
    assert got == [text.tokens for text in [*expected, *expected]]


def test_prompt_is_prefilled_in_one_run(writer: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[int, bool]] = []
    decoder = writer._parts().decoder
    fill = decoder._fill

    def recorded(row: int, tokens: Any, past: int) -> FloatArray:
        runs.append((tokens.shape[1], past > 0))
        return fill(row, tokens, past)

    monkeypatch.setattr(decoder, "_fill", recorded)
    prompt = golden(writer.path.name)[3].ids * 2  # more than a chunk
    for _ in range(2):
        assert writer.generate(prompt, max_tokens=3).usage.cached == 0
    assert [run for run in runs if run[0] > 1] == [(len(prompt), False)] * 2


def test_merged_graph_takes_precedence(tmp_path: Path) -> None:
    folder = merged_folder("gpt2", tmp_path)
    for name in (
        "decoder_model.onnx",
        "decoder_model_quantized.onnx",
        "decoder_with_past_model.onnx",
    ):
        (folder / name).write_bytes(b"")
    (folder / "decoder_model_merged_quantized.onnx").write_bytes(b"")
    read = DecoderFolder.read(folder)
    assert read.graph(None).name == read.graph("merged").name == "decoder_model_merged.onnx"
    assert read.graph("quantized").name == "decoder_model_merged_quantized.onnx"
