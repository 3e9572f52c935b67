"""Classes: the class labels in the operators of a converted classifier."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from conduit_lab.runtime.checks.graph_reader import graph_reader


@graph_reader("class labels")
def class_labels(model: Any) -> tuple[str | int, ...]:
    """Return the labels in column order, or an empty tuple unless there is exactly one list.

    The labels of a ZipMap take precedence.
    """
    lists: defaultdict[bool, set[tuple[str | int, ...]]] = defaultdict(set)
    for node in model.graph.node:
        labels = lists[node.op_type == "ZipMap"]
        for attribute in node.attribute:
            if attribute.name in ("classlabels_int64s", "classlabels_ints") and attribute.ints:
                labels.add(tuple(attribute.ints))
            elif attribute.name == "classlabels_strings" and attribute.strings:
                labels.add(tuple(text.decode() for text in attribute.strings))
    found = lists[True] or lists[False]
    return found.pop() if len(found) == 1 else ()
