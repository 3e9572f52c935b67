"""Folder: what the files of an embedding model say, in the layout of sentence-transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.models.config import read_config, read_json
from conduit_lab.models.graphs import choose_graph, find_graphs
from conduit_lab.models.text.pooling import DenseLayer, Layer, Normalize, Pooling

_MODULES = ("Transformer", "Pooling", "Dense", "Normalize", "Dropout")
# the name of the first has come to stand for all architectures
_LENGTHS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")


@dataclass(frozen=True)
class Folder:
    """An embedding model folder: its graphs by variant (`""` is `model.onnx`), and how text becomes
    a vector.

    `listed` says whether there is a `modules.json`; without one the vectors are pooled as
    `1_Pooling` says, the mean by default, and made of unit length. `pooling` is None where the
    modules have none. `body` is the folder of the transformer's own files, `max_length` the tokens
    of a text as sentence-transformers has them, or None.
    """

    path: Path
    graphs: Mapping[str, Path]
    body: Path
    max_length: int | None
    lower_case: bool
    pooling: Pooling | None
    layers: tuple[Layer, ...]
    listed: bool
    prompts: Mapping[str, str]
    default_prompt: str | None

    @classmethod
    def read(cls, path: Path) -> Folder:
        """Read the configs and the weights of dense layers; `ModelLoadError` names the file that is wrong."""
        modules = _modules(path)
        body = path if modules is None else path / modules[0][1]
        named = (read_config(body / f"sentence_{name}_config.json") for name in _LENGTHS)
        lengths = next(filter(None, named), {})
        own = read_config(path / "config_sentence_transformers.json")
        kind = own.get("model_type", "SentenceTransformer")
        if kind != "SentenceTransformer":
            raise ModelLoadError(
                f"{display(path)} holds a {kind}: wanted a SentenceTransformer, one vector a text"
            )
        prompts, default = _prompts(own, display(path / "config_sentence_transformers.json"))
        pooling, layers = _head(path, modules)
        return cls(
            path=path,
            graphs=find_graphs(*dict.fromkeys((body, path))),
            body=body,
            max_length=_max_length(body, lengths),
            lower_case=bool(lengths.get("do_lower_case", False)),
            pooling=pooling,
            layers=layers,
            listed=modules is not None,
            prompts=prompts,
            default_prompt=default,
        )

    def graph(self, variant: str | None) -> Path:
        """Return `model.onnx`, or `model_int8.onnx` for "int8"; `ModelLoadError` tells which there are."""
        return choose_graph(self.graphs, variant, self.path)


def _modules(path: Path) -> list[tuple[str, str]] | None:
    """Return (kind, folder) of each entry of `modules.json`, checked, or None where there is no such file."""
    file = path / "modules.json"
    if not file.is_file():
        return None
    where = display(file)
    entries = read_json(file)
    if (
        not isinstance(entries, list)
        or not entries
        or not all(isinstance(entry, dict) for entry in entries)
    ):
        raise ModelLoadError(f"{where} is no list of modules: download or save the model again")
    modules = []
    for entry in entries:
        named = str(entry.get("type"))[:100]
        package, _, kind = named.rpartition(".")
        if kind not in _MODULES or package.partition(".")[0] != "sentence_transformers":
            raise ModelLoadError(
                f"{where} wants the module {named!r}, which is unknown here: known are sentence-transformers' "
                f"{', '.join(_MODULES)}; export the whole model as one graph, and leave modules.json out"
            )
        folder = entry.get("path")
        inside = (
            PureWindowsPath(folder) if isinstance(folder, str) else None
        )  # it knows both kinds of slashes
        if inside is None or inside.anchor or ".." in inside.parts:
            raise ModelLoadError(
                f"{where} wants the module folder {folder!r}: wanted one inside {display(path)}"
            )
        modules.append((kind, folder))
    kinds = [kind for kind, _ in modules]
    if kinds[0] != "Transformer" or "Transformer" in kinds[1:] or "Pooling" in kinds[2:]:
        raise ModelLoadError(
            f"{where} wants {', '.join(kinds)}: wanted a Transformer, then a Pooling, then any Dense and Normalize"
        )
    return modules


def _head(
    path: Path, modules: list[tuple[str, str]] | None
) -> tuple[Pooling | None, tuple[Layer, ...]]:
    """Return the pooling and the layers after it."""
    if modules is None:
        file = path / "1_Pooling" / "config.json"
        return Pooling.of(read_config(file), display(file)), (Normalize(),)
    pooling: Pooling | None = None
    layers: list[Layer] = []
    for kind, name in modules:
        file = path / name / "config.json"
        if kind in ("Pooling", "Dense") and not file.is_file():
            raise ModelLoadError(f"no {display(file)}: modules.json names it")
        if kind == "Pooling":
            pooling = Pooling.of(read_config(file), display(file))
        elif kind == "Dense":
            layers.append(DenseLayer.read(path / name, read_config(file)))
        elif kind == "Normalize":
            layers.append(Normalize())
    return pooling, tuple(layers)


def _prompts(config: Mapping[str, Any], where: str) -> tuple[dict[str, str], str | None]:
    """Return the prompts by name, and the name of the default one or None."""
    prompts, default = config.get("prompts") or {}, config.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(
        isinstance(text, str | None) for text in prompts.values()
    ):
        raise ModelLoadError(
            f"{where} wants the prompts {str(prompts)[:200]}: wanted a text for each name"
        )
    if default is not None and default not in list(prompts):
        raise ModelLoadError(
            f"{where} wants the prompt {default!r}: it has {', '.join(prompts) or 'none'}"
        )
    return {name: text or "" for name, text in prompts.items()}, default


def _max_length(body: Path, lengths: Mapping[str, Any]) -> int | None:
    """Return how many tokens of a text are read, or None where sentence-transformers' config does not say."""
    own = lengths.get("max_seq_length")
    if own is not None and (not isinstance(own, int) or isinstance(own, bool) or own < 1):
        raise ModelLoadError(f"{display(body)} wants max_seq_length {own!r}: wanted a whole number")
    return own
