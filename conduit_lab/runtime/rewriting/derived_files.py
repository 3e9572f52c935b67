"""Derived files: ONNX graphs made from other files, written atomically with a record of origin."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import MissingExtra, OptimizeError
from conduit_lab.core.files import sync_folder
from conduit_lab.core.paths import display
from conduit_lab.core.text import first_line
from conduit_lab.runtime.checks import external
from conduit_lab.runtime.checks.graph import check_graph
from conduit_lab.runtime.checks.nodes import all_tensors
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.sessions.session import Options, Session

ORIGIN_KEY = "conduit_lab.made_of"
# of weights; a protobuf is limited to 2 GB, so larger ones go to a side file, as in the Hub
MAX_INLINE_BYTES = 2**30


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """Yield a path in a scratch folder beside `target`; move the file to `target` at the end.

    If the block raises or removes the file, nothing is left behind and an earlier `target` is
    unchanged. Raises `OptimizeError` for a `target` without a record of origin, and for a folder
    that is not writable.
    """
    if target.exists() and origin(target) is None:
        raise OptimizeError(
            f"{display(target)} exists and was not created by conduit_lab: it is not overwritten; "
            "move it away first"
        )
    problem = f"{display(target)} cannot be written"
    with as_optimize_error(problem):
        scratch = tempfile.TemporaryDirectory(prefix=f".{target.stem}-", dir=target.parent)
    with scratch:
        path = Path(scratch.name) / target.name
        yield path
        if not path.exists():
            return
        with as_optimize_error(problem):
            side = _side(path).exists()
            if side:
                _side(path).replace(_side(target))
            path.replace(target)
            if not side:
                _side(target).unlink(missing_ok=True)  # of an earlier file with this name
            sync_folder(target.parent)


@contextmanager
def as_optimize_error(problem: str) -> Iterator[None]:
    """Raise any error of a converter, protobuf or the system as `OptimizeError: problem: reason`.

    `OptimizeError` and `MissingExtra` pass unchanged.
    """
    try:
        yield
    except (OptimizeError, MissingExtra):
        raise
    except Exception as error:  # converters raise errors without a common base
        reason = error.strerror if isinstance(error, OSError) else None
        raise OptimizeError(f"{problem}: {reason or first_line(error)}") from error


def load_protobuf(path: Path, *, weights: bool = True) -> Any:
    """Return the protobuf of a checked file, with its external weights or without."""
    check_graph(path)
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    if weights:  # onnx's own loader rejects the links of Hugging Face's cache
        external.load_tensors(path, all_tensors(model))
    return model


def write_derived(
    model: Any, path: Path, sources: Sequence[Path], kind: str, metadata: Mapping[str, str]
) -> None:
    """Write a graph derived from `sources`, with `metadata` and a record of its origin.

    Raises `ModelLoadError` for a graph that onnxruntime cannot open.
    """
    import onnx

    made = {
        "kind": kind,
        "sources": digests(sources),
        "with": f"onnxruntime {devices.onnxruntime().__version__}, onnx {onnx.__version__}",
    }
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**metadata, ORIGIN_KEY: json.dumps(made)})
    large = sum(tensor.ByteSize() for tensor in model.graph.initializer) > MAX_INLINE_BYTES
    onnx.save(model, str(path), save_as_external_data=large, location=_side(path).name)
    Session(path, Options(graph_level="disable"))


def metadata(model: Any) -> dict[str, str]:
    """Return a protobuf's metadata without the record of its origin."""
    return {entry.key: entry.value for entry in model.metadata_props if entry.key != ORIGIN_KEY}


def origin(path: Path) -> dict[str, Any] | None:
    """Return the record of a file's origin (`kind`, `sources`, `with`), or None without one."""
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
        records = (entry.value for entry in model.metadata_props if entry.key == ORIGIN_KEY)
        made = json.loads(next(records, "null"))
    except Exception:  # not a protobuf, or a record by another program
        return None
    return made if isinstance(made, dict) and {"kind", "sources"} <= set(made) else None


def digests(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each checked file, its external data included."""
    return [check_graph(path).content for path in paths]


def _side(path: Path) -> Path:
    return path.with_name(f"{path.name}_data")
