"""Graphs: the ONNX files of a model's folder, by variant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display


def find_graphs(*folders: Path, stem: str = "model") -> dict[str, Path]:
    """Return graphs by variant: `model.onnx` as "", `model_int8.onnx` as "int8".

    A file in the folder takes precedence over one in its `onnx/`. `stem` is a pattern for the start
    of the names.
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
    """Return the graph of a variant, by default `model.onnx`; `ModelLoadError` lists them all."""
    if (variant or "") in graphs:
        return graphs[variant or ""]
    expected = f"model_{variant}.onnx" if variant else "model.onnx"
    names = [
        f"{file.name} (variant={name!r})" if name else file.name
        for name, file in sorted(graphs.items())
    ]
    there = ", ".join(names) or "no other graph either"
    raise ModelLoadError(
        f"no {expected} in {display(folder)} or in its onnx/ folder; there is {there}"
    )
