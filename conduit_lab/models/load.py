"""`load_model`: one call for every kind of model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display, resolve
from conduit_lab.core.trace import recorder
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.file_model import FileModel
from conduit_lab.models.kinds import AnyFolder, kind_of_folder
from conduit_lab.models.model import Model
from conduit_lab.models.text.classifier import Classifier

AnyModel = Model | AnyFolder | CallableModel


def load_model(
    source: str | Path | Callable[[Any], Any],
    *,
    device: str = "auto",
    fallback: bool | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
    timeout: float | None = None,
    variant: str | None = None,
    root: Path | None = None,
    lazy: bool = False,
) -> AnyModel:
    """Load a model: `.onnx` or `.npz` gives a `Model`, a sentence-transformers folder an
    `Embedder`.

    The folder of a decoder (Hugging Face or genai layout) gives a `Generator`, of a cross-encoder a
    `Reranker`, of sequence classification a `TextClassifier`, of token classification a
    `TokenClassifier`; a Python function of one argument gives a `CallableModel`. A relative path
    starts at `root` (default: the running app's root, else the project's). `device` is "auto" or a
    name of `devices()`; `fallback` says whether the CPU may stand in for it (default: for "auto"
    only). `labels` are class names in output order. `timeout` is the seconds a run may take.
    `variant` chooses among the graphs of a folder, such as "int8". `lazy` only declares the model:
    its file is opened at the first use. Raises `ModelLoadError` naming the file, `DeviceError` for
    a device that is not here.
    """
    if callable(source):
        return CallableModel(source, labels=labels, name=name)
    where = resolve(source, root)
    with recorder.span(name or where.stem, "load", value=str(source)) as span:
        options: dict[str, Any] = {
            "device": device,
            "fallback": fallback,
            "name": name,
            "timeout": timeout,
        }
        model: Model | AnyFolder
        if where.is_dir():
            kind = kind_of_folder(where, variant)
            if issubclass(kind, Classifier):
                options["labels"] = labels
            elif labels is not None:
                raise ModelLoadError(
                    f"{display(where)} is the folder of a language model: it has no labels"
                )
            model = kind(where, variant=variant, **options)
        elif variant is not None:
            raise ModelLoadError(
                f"{display(where)} is one file: variant={variant!r} chooses among those of a folder"
            )
        elif where.suffix in (".onnx", ".npz"):
            model = Model(where, labels=labels, **options)
        elif not where.exists():
            raise ModelLoadError(
                f"no model at {display(where)}: check the path and the root it starts from"
            )
        else:
            raise ModelLoadError(
                f"{display(where)} is no model that can be loaded: wanted .onnx, .npz or a folder"
            )
        if span is not None:
            span.target = model
            if isinstance(model, FileModel):
                span.annotate(model_file=model)
        return model if lazy else model.open()
