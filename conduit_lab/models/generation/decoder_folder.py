"""DecoderFolder: graphs and configs of a decoder, in the Hugging Face or genai layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.models.config import read_config
from conduit_lab.models.graphs import choose_graph, find_graphs

_DEFAULT_CONTEXT_TOKENS = 2048  # if no config has a context length
_RAG_PROMPT_FILE = "rag_prompt.txt"
_DEFAULT_RAG_PROMPT = (
    "Answer the question with what the passages say.\n\n"
    "Passages:\n{context}\n\nQuestion: {query}\nAnswer:"
)


@dataclass(frozen=True)
class DecoderFolder:
    """A decoder's folder: its graphs by variant (`""` is the default), and its configs.

    `context` is the maximum length of prompt and generation together, in tokens. `ends` are the
    end-of-sequence ids and `begin` is the beginning-of-sequence id or None, both read only from
    `generation_config.json` if it exists. `heads` and `width` are the KV cache's and `vocabulary`
    is the number of tokens, or None if no config states them. `switch` is the length at which
    LongRoPE changes its embeddings, or None. `rag_prompt` contains `{context}` and `{query}`.
    """

    path: Path
    graphs: Mapping[str, Path]
    tokenizer: Path
    context: int
    ends: frozenset[int]
    begin: int | None
    heads: int | None
    width: int | None
    vocabulary: int | None
    switch: int | None
    rag_prompt: str

    @classmethod
    def read(cls, path: Path) -> DecoderFolder:
        """Read the configs; raises `ModelLoadError` for a missing or invalid file."""
        genai = read_config(path / "genai_config.json").get("model", {})
        inner = genai.get("decoder", {}) if isinstance(genai, dict) else {}
        if not isinstance(genai, dict) or not isinstance(inner, dict):
            raise ModelLoadError(
                f"{display(path / 'genai_config.json')} expects a model with a decoder"
            )
        config = read_config(path / "config.json")
        config = {**config, **_part(config, "text_config")}  # multimodal models
        generation = read_config(path / "generation_config.json")
        if not genai and not config:
            raise ModelLoadError(
                f"no config.json and no genai_config.json in {display(path)}: "
                "a decoder folder needs one of them"
            )
        if not (path / "tokenizer.json").is_file():
            raise ModelLoadError(
                f"no tokenizer.json in {display(path)}: write it with "
                "transformers.AutoTokenizer.from_pretrained(…).save_pretrained(…)"
            )
        # like transformers, do not look elsewhere for keys missing from generation_config.json
        sources = (generation,) if (path / "generation_config.json").is_file() else (genai, config)
        return cls(
            path=path,
            graphs=_graphs(path, inner.get("filename")),
            tokenizer=path / "tokenizer.json",
            context=_number(
                (genai, "context_length"), (config, "max_position_embeddings", "n_positions")
            )
            or _DEFAULT_CONTEXT_TOKENS,
            ends=frozenset(
                token for source in sources for token in _ids(source.get("eos_token_id"))
            ),
            begin=next(
                (token for source in sources for token in _ids(source.get("bos_token_id"))), None
            ),
            heads=_number(
                (inner, "num_key_value_heads"),
                (config, "num_key_value_heads", "num_attention_heads", "n_head"),
            ),
            width=_number((inner, "head_size"), (config, "head_dim")) or _width(config),
            vocabulary=_number((genai, "vocab_size"), (config, "vocab_size")),
            switch=_switch(config),
            rag_prompt=_rag_prompt(path / _RAG_PROMPT_FILE),
        )

    def graph(self, variant: str | None) -> Path:
        """Return the graph of a variant: "int8" is `model_int8.onnx`.

        Without a variant it is `model.onnx`, or the only graph. Raises `ModelLoadError` listing the
        known variants.
        """
        if variant is None and len(self.graphs) == 1:
            return next(iter(self.graphs.values()))
        return choose_graph(self.graphs, variant, self.path)


def is_decoder(path: Path) -> bool:
    """Return whether a folder looks like a decoder's rather than an embedder's."""
    if (path / "modules.json").is_file():  # an embedder may be based on a decoder
        return False
    if (path / "genai_config.json").is_file() or (path / "generation_config.json").is_file():
        return True
    architectures = read_config(path / "config.json").get("architectures")
    return isinstance(architectures, list) and any(
        "CausalLM" in str(a) or "LMHead" in str(a) for a in architectures
    )


def _graphs(path: Path, named: Any) -> dict[str, Path]:
    """Return the ONNX files by variant; `named` in genai's config is the default."""
    found = find_graphs(path, stem="(?:decoder_)?model")
    for name, file in list(found.items()):
        variant = name.removeprefix("merged").removeprefix("_")
        if name != variant and found.get(variant, file).name.startswith("decoder_model"):
            found[variant] = file  # decoder_model.onnx has no KV cache
    if isinstance(named, str):
        inside = PureWindowsPath(named)  # parses both kinds of slashes
        if inside.anchor or ".." in inside.parts:
            raise ModelLoadError(
                f"{display(path / 'genai_config.json')} expects a graph inside the folder, "
                f"got {named!r}"
            )
        if not (path / named).is_file():
            raise ModelLoadError(f"no {display(path / named)}, which genai_config.json names")
        found[""] = path / named
    return found


def _rag_prompt(file: Path) -> str:
    if not file.is_file():
        return _DEFAULT_RAG_PROMPT
    text = file.read_text("utf-8")
    if "{context}" not in text or "{query}" not in text:
        raise ModelLoadError(f"{display(file)} expects {{context}} and {{query}} in the prompt")
    return text


def _width(config: Mapping[str, Any]) -> int | None:
    """Return the head size from the hidden size."""
    hidden = _number((config, "hidden_size", "n_embd"))
    heads = _number((config, "num_attention_heads", "n_head"))
    return hidden // heads if hidden and heads else None


def _switch(config: Mapping[str, Any]) -> int | None:
    """Return the length up to which LongRoPE (`su` in old configs) uses its short factors."""
    scaling = {**_part(config, "rope_scaling"), **_part(config, "rope_parameters")}
    if scaling.get("rope_type", scaling.get("type")) not in ("longrope", "su"):
        return None
    return _number(
        (scaling, "original_max_position_embeddings"), (config, "original_max_position_embeddings")
    )


def _number(*places: tuple[Any, ...]) -> int | None:
    """Return the first positive integer found at one of the (config, key) places."""
    for config, *keys in places:
        for key in keys:
            value = config.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _ids(value: Any) -> list[int]:
    """Return a config value, a number or a list, as token ids."""
    values = value if isinstance(value, list) else [value]
    return [
        token
        for token in values
        if isinstance(token, int) and not isinstance(token, bool) and token >= 0
    ]


def _part(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    part = config.get(key)
    return part if isinstance(part, dict) else {}
