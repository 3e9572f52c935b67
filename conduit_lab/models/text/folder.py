"""Folder: the configs of an embedding model in sentence-transformers' layout."""

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
# in sentence_<name>_config.json; newer versions write "bert" for all architectures
_CONFIG_NAMES = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")


@dataclass(frozen=True)
class Folder:
    """An embedding model folder: its graphs by variant (`""` is `model.onnx`) and its configs.

    `listed` is whether there is a `modules.json`; without one the vectors are pooled as in
    `1_Pooling`, the mean by default, and scaled to unit length. `pooling` is None if the modules
    have none. `body` is the folder of the transformer's own files, `max_length` the maximum number
    of tokens in sentence-transformers' config, or None.
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
        """Read the configs and the weights of dense layers; raises `ModelLoadError`."""
        modules = _modules(path)
        body = path if modules is None else path / modules[0][1]
        named = (read_config(body / f"sentence_{name}_config.json") for name in _CONFIG_NAMES)
        lengths = next(filter(None, named), {})
        own = read_config(path / "config_sentence_transformers.json")
        kind = own.get("model_type", "SentenceTransformer")
        if kind != "SentenceTransformer":
            raise ModelLoadError(
                f"{display(path)} holds a {kind}: "
                "expected a SentenceTransformer, which gives one vector per text"
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
        """Return `model.onnx` or the graph of a variant; `ModelLoadError` lists the graphs."""
        return choose_graph(self.graphs, variant, self.path)


def _modules(path: Path) -> list[tuple[str, str]] | None:
    """Return the checked (kind, folder) of each entry of `modules.json`, or None without one."""
    file = path / "modules.json"
    if not file.is_file():
        return None
    where = display(file)
    entries = read_json(file)
    objects = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    if not objects or not entries:
        raise ModelLoadError(f"{where} is not a list of modules: download or save the model again")
    modules = [(_kind(entry, where), _folder(entry, where, path)) for entry in entries]
    kinds = [kind for kind, _ in modules]
    if kinds[0] != "Transformer" or "Transformer" in kinds[1:] or "Pooling" in kinds[2:]:
        raise ModelLoadError(
            f"{where} lists {', '.join(kinds)}: "
            "expected a Transformer, then a Pooling, then any Dense and Normalize"
        )
    return modules


def _kind(entry: Mapping[str, Any], where: str) -> str:
    name = str(entry.get("type"))[:100]
    package, _, kind = name.rpartition(".")
    if kind not in _MODULES or package.partition(".")[0] != "sentence_transformers":
        raise ModelLoadError(
            f"{where} lists the unknown module {name!r}: expected one of sentence-transformers' "
            f"{', '.join(_MODULES)}; export the whole model as one graph, and remove modules.json"
        )
    return kind


def _folder(entry: Mapping[str, Any], where: str, path: Path) -> str:
    folder = entry.get("path")
    # a Windows path has both kinds of slashes
    inside = PureWindowsPath(folder) if isinstance(folder, str) else None
    if not isinstance(folder, str) or inside is None or inside.anchor or ".." in inside.parts:
        raise ModelLoadError(
            f"{where} lists the module folder {folder!r}: expected one inside {display(path)}"
        )
    return folder


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
            f"{where} has the prompts {str(prompts)[:200]}: expected a text for each name"
        )
    if default is not None and default not in list(prompts):
        raise ModelLoadError(
            f"{where} has the default prompt {default!r}: "
            f"expected one of its prompts, {', '.join(prompts) or 'of which it has none'}"
        )
    return {name: text or "" for name, text in prompts.items()}, default


def _max_length(body: Path, lengths: Mapping[str, Any]) -> int | None:
    """Return the maximum number of tokens in sentence-transformers' config, or None."""
    own = lengths.get("max_seq_length")
    if own is not None and (not isinstance(own, int) or isinstance(own, bool) or own < 1):
        raise ModelLoadError(
            f"{display(body)} has max_seq_length {own!r}: expected a whole number of at least 1"
        )
    return own
