"""DecoderFolder: what the files of a text generator say, in the layouts of Hugging Face and of onnxruntime-genai."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.models.config import read_config
from conduit_lab.models.graphs import choose_graph, find_graphs

CONTEXT = 2048  # tokens, where no file says how many
PROMPT_FILE = "rag_prompt.txt"
RAG_PROMPT = "Answer the question with what the passages say.\n\nPassages:\n{context}\n\nQuestion: {query}\nAnswer:"


@dataclass(frozen=True)
class DecoderFolder:
    """A text generator's folder: its graphs by variant (`""` is the one taken without), and what
    its configs say.

    `context` is the most tokens of prompt and answer together. `ends` are the ids that end a text,
    `begin` the one that begins it, or None: those of `generation_config.json` alone where there is
    one. `heads` and `width` are those of the KV cache, `vocabulary` the number of tokens that the
    model knows, or None where no file says so. `switch` is the length at which LongRoPE changes its
    embeddings, or None. `rag_prompt` has `{context}` and `{query}` in it.
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
        """Read the configs; `ModelLoadError` names the file that is missing or wrong."""
        genai = read_config(path / "genai_config.json").get("model", {})
        inner = genai.get("decoder", {}) if isinstance(genai, dict) else {}
        if not isinstance(genai, dict) or not isinstance(inner, dict):
            raise ModelLoadError(
                f"{display(path / 'genai_config.json')} has no model with a decoder in it"
            )
        config = read_config(path / "config.json")
        config = {**config, **_part(config, "text_config")}  # a model that sees, too
        generation = read_config(path / "generation_config.json")
        if not genai and not config:
            raise ModelLoadError(
                f"no config.json and no genai_config.json in {display(path)}: a text generator's folder needs one"
            )
        if not (path / "tokenizer.json").is_file():
            raise ModelLoadError(
                f"no tokenizer.json in {display(path)}: a text generator's folder needs it; "
                "transformers' AutoTokenizer writes it with save_pretrained"
            )
        # transformers takes a generation_config.json as a whole, what is missing in it included
        sources = (generation,) if (path / "generation_config.json").is_file() else (genai, config)
        return cls(
            path=path,
            graphs=_graphs(path, inner.get("filename")),
            tokenizer=path / "tokenizer.json",
            context=_number(
                (genai, "context_length"), (config, "max_position_embeddings", "n_positions")
            )
            or CONTEXT,
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
            rag_prompt=_rag_prompt(path / PROMPT_FILE),
        )

    def graph(self, variant: str | None) -> Path:
        """Return the graph of a variant: "int8" is `model_int8.onnx`; `ModelLoadError` tells which
        there are.

        Without a variant it is `model.onnx`, or the only one that is there.
        """
        if variant is None and len(self.graphs) == 1:
            return next(iter(self.graphs.values()))
        return choose_graph(self.graphs, variant, self.path)


def is_decoder(path: Path) -> bool:
    """Tell whether a folder looks like a text generator's and not like an embedder's."""
    if (path / "modules.json").is_file():  # an embedder may be made of a generator
        return False
    if (path / "genai_config.json").is_file() or (path / "generation_config.json").is_file():
        return True
    architectures = read_config(path / "config.json").get("architectures")
    return isinstance(architectures, list) and any(
        "CausalLM" in str(a) or "LMHead" in str(a) for a in architectures
    )


def _graphs(path: Path, named: Any) -> dict[str, Path]:
    """Return the ONNX files by variant; what genai's config names comes first."""
    found = find_graphs(path, stem="(?:decoder_)?model")
    for name, file in list(found.items()):
        variant = name.removeprefix("merged").removeprefix("_")
        if name != variant and found.get(variant, file).name.startswith("decoder_model"):
            found[variant] = file  # decoder_model.onnx itself reads prompts alone
    if isinstance(named, str):
        inside = PureWindowsPath(named)  # it knows both kinds of slashes
        if inside.anchor or ".." in inside.parts:
            raise ModelLoadError(
                f"{display(path / 'genai_config.json')} wants the graph {named!r}: wanted one inside"
            )
        if not (path / named).is_file():
            raise ModelLoadError(f"no {display(path / named)}: genai_config.json names it")
        found[""] = path / named
    return found


def _rag_prompt(file: Path) -> str:
    if not file.is_file():
        return RAG_PROMPT
    text = file.read_text("utf-8")
    if "{context}" not in text or "{query}" not in text:
        raise ModelLoadError(
            f"{display(file)} wants {{context}} and {{query}} in it, where they are put"
        )
    return text


def _width(config: Mapping[str, Any]) -> int | None:
    """Return the width of a head from the width of the model."""
    hidden, heads = (
        _number((config, "hidden_size", "n_embd")),
        _number((config, "num_attention_heads", "n_head")),
    )
    return hidden // heads if hidden and heads else None


def _switch(config: Mapping[str, Any]) -> int | None:
    """Return the length up to which LongRoPE (`su` in old configs) takes its short factors."""
    scaling = {**_part(config, "rope_scaling"), **_part(config, "rope_parameters")}
    if scaling.get("rope_type", scaling.get("type")) not in ("longrope", "su"):
        return None
    return _number(
        (scaling, "original_max_position_embeddings"), (config, "original_max_position_embeddings")
    )


def _number(*places: tuple[Any, ...]) -> int | None:
    """Return the first positive whole number under one of the keys of some configs."""
    for config, *keys in places:
        for key in keys:
            value = config.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _ids(value: Any) -> list[int]:
    """Return token ids that a config gives as one number or as a list."""
    values = value if isinstance(value, list) else [value]
    return [
        token
        for token in values
        if isinstance(token, int) and not isinstance(token, bool) and token >= 0
    ]


def _part(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    part = config.get(key)
    return part if isinstance(part, dict) else {}
