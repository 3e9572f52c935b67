"""Decoder folders: the supported layouts, and errors of invalid ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnxruntime.transformers import float16

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.models.generation.decoder_folder import DecoderFolder, is_decoder
from conduit_lab.models.generation.generator import Generator
from conduit_lab.runtime.rewriting import quantize
from tests.models.generation.writers import DECODERS, NAMES, change, copy, golden


def test_genai_folder_has_one_config() -> None:
    folder = DecoderFolder.read(DECODERS / "llama")
    assert (folder.context, folder.ends, folder.begin, folder.vocabulary) == (
        256,
        frozenset({0, 2}),
        0,
        384,
    )
    assert (folder.heads, folder.width) == (2, 16)


def test_hugging_face_folder_has_two_configs() -> None:
    folder = DecoderFolder.read(DECODERS / "gpt2")
    assert (folder.context, folder.ends, folder.begin, folder.vocabulary) == (
        256,
        frozenset({0, 2}),
        0,
        384,
    )
    assert (folder.heads, folder.width) == (4, 8)


@pytest.mark.parametrize("name", NAMES)
def test_decoder_folder_is_distinguished_from_an_embedder(name: str, tmp_path: Path) -> None:
    assert is_decoder(DECODERS / name)
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    assert not is_decoder(tmp_path)


@pytest.mark.parametrize(
    ("name", "generation", "ends", "begin"),
    [
        ("qwen2", {"eos_token_id": 5, "bos_token_id": 6}, {5}, 6),
        ("qwen2", {"eos_token_id": [5, 7]}, {5, 7}, None),
        ("qwen2", {"bos_token_id": 6}, set(), 6),
        ("qwen2", {}, set(), None),
        ("llama", {"eos_token_id": 5}, {5}, None),
        ("qwen2", None, {0}, 0),
        ("llama", None, {0, 2}, 0),
    ],
)
def test_generation_config_alone_has_beginning_and_end_of_sequence(
    name: str, generation: dict[str, Any] | None, ends: set[int], begin: int | None, tmp_path: Path
) -> None:
    folder = copy(name, tmp_path)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    read = DecoderFolder.read(folder)
    assert (set(read.ends), read.begin) == (ends, begin)


def test_graph_may_be_in_the_folder_onnx(tmp_path: Path) -> None:
    folder = copy("gpt2", tmp_path)
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    writer = Generator(folder, device="cpu")
    assert [token.id for token in writer.generate("Kettle").tokens] == golden("gpt2")[0].tokens
    writer.unload()


def test_only_graph_is_the_default_whatever_its_variant(tmp_path: Path) -> None:
    folder = copy("gpt2", tmp_path)
    (folder / "model.onnx").rename(folder / "model_quantized.onnx")
    assert DecoderFolder.read(folder).graph(None).name == "model_quantized.onnx"


def test_missing_variant_is_named_with_the_known_ones(tmp_path: Path) -> None:
    folder = copy("gpt2", tmp_path)
    (folder / "model_q4.onnx").touch()
    with pytest.raises(
        ModelLoadError,
        match=r"no model_int8.onnx .* there is model.onnx, model_q4.onnx \(variant='q4'",
    ):
        Generator(folder, variant="int8").open()


@pytest.mark.parametrize("kind", ["fp16", "int8"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_quantized_graph_gives_the_same_tokens_batched_or_not(
    name: str, kind: str, tmp_path: Path
) -> None:
    folder = copy(name, tmp_path)
    quantize.convert(folder / "model.onnx", folder / f"model_{kind}.onnx", kind)
    writer = Generator(folder, device="cpu", variant=kind)
    prompts = [text.prompt for text in golden(name)]
    unbatched = [writer.generate(prompt, max_tokens=24) for prompt in prompts]
    streams = [writer.stream(prompt, max_tokens=24) for prompt in prompts]
    assert [stream.result(20) for stream in streams] == unbatched
    writer.unload()


@pytest.mark.filterwarnings("ignore::UserWarning")  # the converter rounds
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_cache_and_logits_may_be_float16(name: str, tmp_path: Path) -> None:
    folder = copy(name, tmp_path)
    whole = onnx.load(folder / "model.onnx")
    onnx.save(
        float16.convert_float_to_float16(whole, disable_shape_infer=True), folder / "model.onnx"
    )
    writer = Generator(folder, device="cpu").open()
    assert {spec.dtype for spec in writer.shared.outputs} == {"float16"}
    for text, written in zip(
        golden(name), writer.batch([text.prompt for text in golden(name)]), strict=True
    ):
        assert [token.id for token in written.tokens[:16]] == text.tokens[:16]
    writer.unload()


@pytest.mark.parametrize("file", ["tokenizer.json", "model.onnx"])
def test_missing_file_is_named(file: str, tmp_path: Path) -> None:
    folder = copy("llama", tmp_path)
    (folder / file).unlink()
    with pytest.raises(ModelLoadError, match=f"no .*{file}"):
        Generator(folder).open()


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    folder = copy("llama", tmp_path)
    model = onnx.load(folder / "model.onnx")
    onnx.save(
        model,
        folder / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    (folder / "model.onnx.data").unlink()
    with pytest.raises(ModelLoadError, match=r"model\.onnx\.data"):
        Generator(folder).open()


def test_folder_without_configs_is_rejected(tmp_path: Path) -> None:
    folder = copy("llama", tmp_path)
    (folder / "genai_config.json").unlink()
    with pytest.raises(ModelLoadError, match=r"no config.json and no genai_config.json in"):
        Generator(folder).open()


def test_graph_outside_of_the_folder_is_rejected(tmp_path: Path) -> None:
    folder = copy("llama", tmp_path)
    file = folder / "genai_config.json"
    file.write_text(file.read_text().replace('"model.onnx"', '"../model.onnx"'))
    with pytest.raises(
        ModelLoadError, match=r"expects a graph inside the folder, got '\.\./model.onnx'"
    ):
        Generator(folder).open()


def test_invalid_json_config_is_named(tmp_path: Path) -> None:
    folder = copy("gpt2", tmp_path)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"config.json is not JSON"):
        Generator(folder).open()


def test_tokenizer_of_another_model_is_rejected(tmp_path: Path) -> None:
    folder = copy("llama", tmp_path)
    change_vocabulary(folder / "tokenizer.json", 500)
    with pytest.raises(
        ModelLoadError,
        match=r"a tokenizer of 500 tokens and a graph of 384: the tokenizer.json belongs",
    ):
        Generator(folder).open()


def test_config_of_another_model_is_rejected(tmp_path: Path) -> None:
    folder = copy("gpt2", tmp_path)
    change(folder / "config.json", vocab_size=50257)
    with pytest.raises(ModelLoadError, match="a config for 50257 tokens and a graph of 384"):
        Generator(folder).open()


def test_graph_without_decoder_inputs_is_rejected(tmp_path: Path) -> None:
    folder = copy("gpt2", tmp_path)
    model = onnx.load(folder / "model.onnx")
    model.graph.input[0].name = model.graph.input[0].name + "_x"
    for node in model.graph.node:
        node.input[:] = [name + "_x" if name == "input_ids" else name for name in node.input]
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(
        ModelLoadError, match=r"takes input_ids_x \(int64 .*expected a decoder with input_ids"
    ):
        Generator(folder).open()


def test_prompt_file_needs_both_placeholders(tmp_path: Path) -> None:
    folder = copy("llama", tmp_path)
    (folder / "rag_prompt.txt").write_text("{query}")
    with pytest.raises(ModelLoadError, match=r"rag_prompt.txt expects \{context\} and \{query\}"):
        Generator(folder).open()


def change_vocabulary(file: Path, size: int) -> None:
    """Add tokens to a tokenizer up to this size."""
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    while len(vocabulary) < size:
        vocabulary[f"token{len(vocabulary)}"] = len(vocabulary)
    file.write_text(json.dumps(content))
