"""Make tests/models/generation/decoders: tiny decoders with real architectures and random weights.

Weights, tokenizer and expected tokens come from transformers on torch, the graphs from two widely
used exporters: onnxruntime-genai's builder (GroupQueryAttention) and optimum-onnx (growing past and
present). Neither is a dependency of the project, and optimum-onnx needs an older transformers, so
each has its own environment:

    python -m venv genai
    genai/bin/pip install torch==2.13.0 onnxruntime==1.32.0 onnx_ir
    genai/bin/pip install 'transformers==5.23.*' 'onnxruntime-genai==0.18.*'
    python -m venv optimum
    optimum/bin/pip install torch==2.13.0 optimum-onnx==0.1.0 onnxruntime==1.32.0
    genai/bin/python data/make/decoders.py optimum/bin/python [architecture …]

With `--benchmark build/decoders` it makes larger decoders for benchmarks/generation.py.
"""

# The checks run without torch and transformers.
# mypy: ignore-errors
import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "tests" / "models" / "generation" / "decoders"
HANDBOOK = ROOT / "data" / "handbook"
VOCABULARY = 384
TOKENS = 64  # recorded per prompt
MARGIN = 2e-3  # between the two best logits; larger than rounding errors
PROMPTS = (
    "Kettle",
    "Our return policy is",
    "The dishwasher does not drain, and the display shows an error.",
    "A customer who bought a fridge three years ago asks "
    "whether the guarantee still holds for the compressor.",
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,  # GroupQueryAttention takes a multiple of 16
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_positions": 256,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": 64,
}
_PHI = {
    **_SHAPE,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "original_max_position_embeddings": 256,
}
# the rotary cache changes at 48 tokens: one prompt starts beyond it, the others cross it
_LONG = {"rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [1.5 + i for i in range(8)]}
_LONG |= {"rope_type": "longrope", "type": "longrope"}  # the names in transformers and the builder
_LONGROPE = {**_PHI, "original_max_position_embeddings": 48, "rope_parameters": _LONG}
_OPT = {**_SHAPE, "ffn_dim": 64, "word_embed_proj_dim": 32}
_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
)
_SIZES += ("num_key_value_heads", "max_position_embeddings")
BENCHMARKS = (
    (
        "llama-125m",
        ("fp32", "int4"),
        dict(zip(_SIZES, (32000, 768, 2048, 12, 12, 4, 2048), strict=True)),
    ),
    ("tiny-llama", ("fp32",), dict(zip(_SIZES, (4096, 128, 352, 2, 4, 2, 2048), strict=True))),
)
ENVIRONMENT = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
# name: model class, config class, its arguments, exporter
ARCHITECTURES = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**_SHAPE, "tie_word_embeddings": False}, "genai"),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**_SHAPE, "tie_word_embeddings": True}, "genai"),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", {**_PHI, "tie_word_embeddings": False}, "genai"),
    "qwen2": (
        "Qwen2ForCausalLM",
        "Qwen2Config",
        {**_SHAPE, "head_dim": 8, "tie_word_embeddings": False},
        "optimum",
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {**_GPT2, "bos_token_id": 0, "eos_token_id": 0},
        "optimum",
    ),
    "longrope": (
        "Phi3ForCausalLM",
        "Phi3Config",
        {**_LONGROPE, "tie_word_embeddings": False},
        "genai",
    ),
    "mistral": ("MistralForCausalLM", "MistralConfig", {**_SHAPE, "sliding_window": None}, "genai"),
    "opt": ("OPTForCausalLM", "OPTConfig", _OPT, "optimum"),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", _SHAPE, "optimum"),
}


def main(optimum: str, *names: str) -> None:
    """Make the folders of some or all architectures; `optimum` is the Python with optimum-onnx."""
    tokenizer = make_tokenizer(sorted(HANDBOOK.glob("*/*.md")), VOCABULARY)
    for name in names or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as place:
            make(name, tokenizer, optimum, Path(place))


def benchmark(folder: Path) -> None:
    """Make llama-125m-fp32, llama-125m-int4 and tiny-llama-fp32 with random weights in a folder."""
    texts = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:150]
    for name, precisions, size in BENCHMARKS:
        source = folder / name
        torch.manual_seed(0)
        model = hf.LlamaForCausalLM(hf.LlamaConfig(**_SHAPE | {"head_dim": None} | size))
        model.eval().save_pretrained(source)
        make_tokenizer(texts, size["vocab_size"]).save_pretrained(source)
        for precision in precisions:
            build(source, folder / f"{name}-{precision}", precision, folder / "cache")


def make_tokenizer(texts: Sequence[Path], vocabulary: int) -> Any:
    """Train a byte-level BPE."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train([str(file) for file in texts], trainer)
    end = SPECIAL[0]
    fast = hf.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=end, eos_token=end, pad_token=end
    )
    fast.chat_template = TEMPLATE
    return fast


def make(name: str, tokenizer: Any, optimum: str, place: Path) -> None:
    """Make one architecture's folder: graph, configs, tokenizer and golden.json."""
    model_class, config_class, arguments, exporter = ARCHITECTURES[name]
    config = getattr(hf, config_class)(**arguments)
    for seed in range(100):
        torch.manual_seed(seed)
        model = getattr(hf, model_class)(config).eval()
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.25)
        golden = [expected(model, tokenizer, prompt) for prompt in PROMPTS]
        if all(golden):
            break
    else:
        raise SystemExit(f"{name}: no seed gave tokens that are far enough apart")
    model.generation_config = hf.GenerationConfig(
        bos_token_id=0, eos_token_id=[0, 2], pad_token_id=0
    )
    source, made = place / name, place / "onnx"
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    if exporter == "genai":
        build(source, made, "fp32", place / "cache")
    else:
        how = [
            optimum,
            "-m",
            "optimum.exporters.onnx",
            "--model",
            source,
            "--task",
            "text-generation-with-past",
            made,
        ]
        subprocess.run([str(part) for part in how], env=ENVIRONMENT, check=True)
    target = TARGET / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    onnx.save(onnx.load(made / "model.onnx"), target / "model.onnx")
    kept = (
        "config.json",
        "generation_config.json",
        "genai_config.json",
        "tokenizer.json",
        "chat_template.jinja",
    )
    for file in kept:
        for folder in (made, source):
            if (folder / file).is_file() and not (target / file).exists():
                shutil.copy(folder / file, target / file)
    if exporter == "genai":
        (target / "generation_config.json").unlink()
        (target / "config.json").unlink()
    (target / "golden.json").write_text(json.dumps(golden) + "\n")
    print(name, "seed", seed, sum(file.stat().st_size for file in target.iterdir()), "bytes")


def build(source: Path, target: Path, precision: str, cache: Path) -> None:
    """Export a model with onnxruntime-genai's builder."""
    how = [
        sys.executable,
        "-m",
        "onnxruntime_genai.models.builder",
        "-i",
        source,
        "-o",
        target,
        "-p",
        precision,
    ]
    subprocess.run(
        [str(part) for part in (*how, "-e", "cpu", "-c", cache)], env=ENVIRONMENT, check=True
    )


def expected(model: Any, tokenizer: Any, prompt: str) -> dict[str, Any] | None:
    """Return prompt and generated ids, or None if two logits are too close or the text ends."""
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=TOKENS,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    tokens = out.sequences[0, ids.shape[1] :].tolist()
    best = torch.cat(out.logits).float().topk(2).values
    if (best[:, 0] - best[:, 1]).min() < MARGIN or {0, 2} & set(tokens) or len(set(tokens)) < 12:
        return None
    return {"prompt": prompt, "ids": ids[0].tolist(), "tokens": tokens}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--benchmark", type=Path, metavar="FOLDER")
    parser.add_argument("optimum", nargs="?", help="the Python with optimum-onnx")
    parser.add_argument("architecture", nargs="*", help=", ".join(ARCHITECTURES))
    arguments = parser.parse_args()
    if arguments.benchmark is not None:
        benchmark(arguments.benchmark)
    elif arguments.optimum is not None:
        main(arguments.optimum, *arguments.architecture)
    else:
        parser.error("expected the Python with optimum-onnx, or --benchmark FOLDER")
