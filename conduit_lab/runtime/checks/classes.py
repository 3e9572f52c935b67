"""Classes: the class labels in the operators of a converted classifier."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from pathlib import Path

from conduit_lab.runtime.checks.content import FileIdentity


@lru_cache(maxsize=64)
def class_labels(path: Path, _: FileIdentity) -> tuple[str | int, ...]:
    """Return the labels in column order, or nothing where there is no list or several.

    The labels of a ZipMap take precedence.
    """
    import onnx

    lists: defaultdict[bool, set[tuple[str | int, ...]]] = defaultdict(set)
    for node in onnx.load(str(path), load_external_data=False).graph.node:
        labels = lists[node.op_type == "ZipMap"]
        for attribute in node.attribute:
            if attribute.name in ("classlabels_int64s", "classlabels_ints") and attribute.ints:
                labels.add(tuple(attribute.ints))
            elif attribute.name == "classlabels_strings" and attribute.strings:
                labels.add(tuple(text.decode() for text in attribute.strings))
    found = lists[True] or lists[False]
    return found.pop() if len(found) == 1 else ()
