"""Graphs: the ONNX files of a model's folder, by variant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display


def find_graphs(*folders: Path, stem: str = "model") -> dict[str, Path]:
    """Return `model.onnx` as "" and `model_int8.onnx` as "int8"; what lies in a folder itself comes
    before its onnx/.

    `stem` is a pattern of what else than "model" the names may begin with.
    """
    pattern = re.compile(rf"{stem}(?:_(.+))?\.onnx")
    found: dict[str, Path] = {}
    for folder in folders:
        for file in (*sorted(folder.glob("*.onnx")), *sorted((folder / "onnx").glob("*.onnx"))):
            match = pattern.fullmatch(file.name)
            if match and file.is_file():
                found.setdefault(match[1] or "", file)
    return found


def choose_graph(graphs: Mapping[str, Path], variant: str | None, folder: Path) -> Path:
    """Return the graph of a variant, `model.onnx` without one; `ModelLoadError` tells which there are."""
    if (variant or "") in graphs:
        return graphs[variant or ""]
    wanted = f"model_{variant}.onnx" if variant else "model.onnx"
    names = [
        f"{file.name} (variant={name!r})" if name else file.name
        for name, file in sorted(graphs.items())
    ]
    there = ", ".join(names) or "no other graph either"
    raise ModelLoadError(
        f"no {wanted} in {display(folder)} or in its onnx/ folder; there is {there}"
    )
