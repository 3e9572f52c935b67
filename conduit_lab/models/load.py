"""`load_model`: one call for every kind of model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conduit_lab.core import trace
from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display, resolve
from conduit_lab.models.embedder import Embedder
from conduit_lab.models.model import Model


def load_model(
    path: str | Path,
    *,
    device: str = "auto",
    labels: Sequence[str] | None = None,
    name: str | None = None,
    root: Path | None = None,
    lazy: bool = False,
) -> Model | Embedder:
    """Load a model: `.onnx` or `.npz` gives a `Model`, a sentence-transformers folder an `Embedder`.

    A relative `path` starts at `root` (default: the running app's root, else the project's). `labels` are class names
    in output order. `lazy` only declares it: the file is opened at its first use.
    Raises `ModelLoadError` naming the file, `DeviceError` for a device that is not here.
    """
    where = resolve(path, root)
    with trace.span(name or where.stem, "load", value=str(path)) as span:
        model = _declare(where, device, labels, name)
        if span is not None:
            span.target = model
        return model if lazy else model.open()


def _declare(where: Path, device: str, labels: Sequence[str] | None, name: str | None) -> Model | Embedder:
    if where.is_dir():
        if labels is not None:
            raise ModelLoadError(f"{display(where)} is an embedding model folder: it has no labels")
        return Embedder(where, device=device, name=name)
    if where.suffix in (".onnx", ".npz"):
        return Model(where, device=device, labels=labels, name=name)
    if not where.exists():
        raise ModelLoadError(f"no model at {display(where)}: check the path and the root it starts from")
    raise ModelLoadError(f"{display(where)} is no model that can be loaded: wanted .onnx, .npz or a folder")
