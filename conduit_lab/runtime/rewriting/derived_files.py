"""Derived files: ONNX graphs that are made of others, whole or not at all, and that say what they are made of."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import OptimizeError
from conduit_lab.core.paths import display
from conduit_lab.runtime.checks import external
from conduit_lab.runtime.checks.graph import check
from conduit_lab.runtime.checks.nodes import all_tensors
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.sessions.session import Options, Session

KEY = "conduit_lab.made_of"
MAX_INLINE = (
    2**30
)  # bytes of weights; a protobuf ends at 2 GB, so more go into a side file, as Hugging Face names it


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """Give a path of `target`'s name in a scratch folder beside it; what is there at the end moves
    to `target`.

    Where the block raises or removes the file, nothing is left behind and an earlier `target`
    stays. Raises `OptimizeError` for a `target` that this package did not make, and for a folder
    that cannot be written to.
    """
    if target.exists() and origin(target) is None:
        raise OptimizeError(
            f"{display(target)} is there and was not made by conduit_lab: it is not overwritten; move it away first"
        )
    with _told(target):
        scratch = tempfile.TemporaryDirectory(prefix=f".{target.stem}-", dir=target.parent)
    with scratch:
        path = Path(scratch.name) / target.name
        yield path
        if not path.exists():
            return
        with _told(target):
            side = _side(path).exists()
            if side:
                _side(path).replace(_side(target))
            path.replace(target)
            if not side:
                _side(target).unlink(missing_ok=True)  # of an earlier file of this name


@contextmanager
def _told(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OptimizeError(
            f"{display(target)} cannot be written: {error.strerror or error}"
        ) from error


def load(path: Path, *, weights: bool = True) -> Any:
    """Return the protobuf of a file that was checked, with its external weights or without."""
    check(path)
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    if weights:
        external.load(
            path, all_tensors(model)
        )  # onnx's own loader refuses the links of Hugging Face's cache
    return model


def write(
    model: Any, path: Path, sources: Sequence[Path], kind: str, metadata: Mapping[str, str]
) -> None:
    """Write a graph made of `sources`, with `metadata` and a note of its origin.

    Raises `ModelLoadError` for a graph that onnxruntime cannot open.
    """
    import onnx

    made = {
        "kind": kind,
        "sources": digests(sources),
        "with": f"onnxruntime {devices.onnxruntime().__version__}, onnx {onnx.__version__}",
    }
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**metadata, KEY: json.dumps(made)})
    large = sum(tensor.ByteSize() for tensor in model.graph.initializer) > MAX_INLINE
    onnx.save(model, str(path), save_as_external_data=large, location=_side(path).name)
    Session(path, Options(graph_level="disable"))  # raises where onnxruntime cannot open it


def metadata(model: Any) -> dict[str, str]:
    """Return a protobuf's metadata without the note of its own origin."""
    return {entry.key: entry.value for entry in model.metadata_props if entry.key != KEY}


def origin(path: Path) -> dict[str, Any] | None:
    """Return what a file says it was made of: `kind`, `sources` and `with`; None for one that was not made here."""
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
        made = next(
            (json.loads(entry.value) for entry in model.metadata_props if entry.key == KEY), None
        )
    except Exception:  # protobuf's own; and a note that another wrote
        return None
    return made if isinstance(made, dict) and {"kind", "sources"} <= set(made) else None


def digests(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each checked file, its external data included."""
    return [check(path).content for path in paths]


def _side(path: Path) -> Path:
    return path.with_name(f"{path.name}_data")
