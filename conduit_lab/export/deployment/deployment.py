"""Deployment: the facts about an exported app that its container and cluster files need."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.models.file_model import FileModel
from conduit_lab.serving.app import App

_NOT_IN_A_LABEL = re.compile(r"[^a-z0-9]+")
_MAX_LABEL_CHARACTERS = 40  # of a DNS label's 63; a suffix follows
_BASE_MEMORY_MIB = 256
_MEMORY_PER_FILE_BYTE = 2.5  # the model file, its weights in memory, and run buffers


@dataclass(frozen=True)
class Deployment:
    """The facts of one exported app: its name as a DNS label, and its container requirements.

    `memory_mib` is estimated from the size of the folder, `stores` says whether the app writes
    below `indexes/`, and `onnxruntime` is the pinned version, or None if no model needs it.
    `remote` maps the Ray Serve deployment names to the models that have replicas of their own, and
    `codes` says whether a large store needs numkong.
    """

    label: str
    python: str
    memory_mib: int
    stores: bool
    onnxruntime: str | None
    body_bytes: int
    header_bytes: int
    remote: Mapping[str, str] = field(default_factory=dict)
    codes: bool = False

    @classmethod
    def of(
        cls,
        app: App,
        folder: Path,
        onnxruntime: str | None,
        models: Sequence[FileModel[Any]] = (),
        *,
        codes: bool = False,
    ) -> Deployment:
        """Return the facts of `app`, whose files are in `folder`; its endpoints reach `models`.

        Raises `ExportError` if two models with `remote=True` share a name.
        """
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        limits = app.limits
        return cls(
            label=label_of(app.name),
            python=".".join(platform.python_version_tuple()[:2]),
            memory_mib=_BASE_MEMORY_MIB + round(size * _MEMORY_PER_FILE_BYTE / 2**20),
            stores=(folder / "indexes").is_dir(),
            onnxruntime=onnxruntime,
            body_bytes=limits.body_bytes,
            header_bytes=limits.header_bytes,
            remote=_deployments(label_of(app.name), models),
            codes=codes,
        )


def _deployments(app: str, models: Sequence[FileModel[Any]]) -> dict[str, str]:
    """Return the models with `remote=True`, keyed by deployment name."""
    names = [model.name for model in models if model.remote]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ExportError(
            f"two models with remote=True are named {twice!r}: load one of them with another name, "
            "load_model(…, remote=True, name=…)"
        )
    found: dict[str, str] = {}
    for name in names:
        labels = (f"{app}-{label_of(name)}{suffix}" for suffix in chain([""], count(2)))
        found[next(label for label in labels if label not in found)] = name
    return found


def label_of(name: str) -> str:
    """Return a name as a DNS label (RFC 1123): lower-case letters, digits and hyphens."""
    label = _NOT_IN_A_LABEL.sub("-", name.lower()).strip("-")[:_MAX_LABEL_CHARACTERS].strip("-")
    return label if label[:1].isalpha() else f"app-{label}".strip("-")
