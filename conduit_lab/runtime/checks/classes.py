"""Classes: the class labels that the operators of a converted classifier name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from conduit_lab.runtime.checks.content import Identity


@lru_cache(maxsize=64)
def class_labels(path: Path, _: Identity) -> tuple[str | int, ...]:
    """Return the labels in column order, those of a ZipMap first; nothing where there are none or several lists."""
    import onnx

    lists: dict[bool, set[tuple[str | int, ...]]] = {True: set(), False: set()}
    for node in onnx.load(str(path), load_external_data=False).graph.node:
        for attribute in node.attribute:
            if attribute.name in ("classlabels_int64s", "classlabels_ints") and attribute.ints:
                lists[node.op_type == "ZipMap"].add(tuple(attribute.ints))
            elif attribute.name == "classlabels_strings" and attribute.strings:
                lists[node.op_type == "ZipMap"].add(
                    tuple(text.decode() for text in attribute.strings)
                )
    found = lists[True] or lists[False]
    return found.pop() if len(found) == 1 else ()
