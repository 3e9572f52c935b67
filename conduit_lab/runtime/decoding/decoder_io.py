"""DecoderIO: the inputs and outputs of a decoder graph, as read from its session and file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import TensorSpec
from conduit_lab.runtime.checks.graph_reader import graph_reader
from conduit_lab.runtime.checks.nodes import all_nodes
from conduit_lab.runtime.decoding.switches import Switches, read_switches
from conduit_lab.runtime.rows.rules import SCALED_TOGETHER
from conduit_lab.runtime.sessions.cache import Shared
from conduit_lab.runtime.sessions.text_graph import read_text_graph

_PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)")
_KEEP = ("num_logits_to_keep", "logits_to_keep")
BRANCH = "use_cache_branch"  # of Optimum's merged decoders: whether the KV cache holds tokens


@dataclass(frozen=True)
class DecoderIO:
    """Names, types and shapes of a decoder graph with a KV cache.

    `pasts` and `presents` are the inputs and outputs of the cache, `shapes` (heads, width of a
    head) of each. `in_place` graphs attend by GroupQueryAttention, which reads and writes one long
    buffer; the others return a new, longer cache. `positions` is whether the graph takes
    `position_ids`, `keep` the name of the input that limits the logits to the last tokens, or "".
    A `merged` graph holds two decoders, one for whole prompts and one for single tokens. In a graph
    that is not `independent` all rows of a run are scaled together, as in dynamic int8: the other
    rows of a batch change a row's logits. `switches` are the total lengths at which the graph
    changes its computation. `embedded` is the number of IDs with an embedding, or None if the graph
    does not show it.
    """

    pasts: tuple[str, ...]
    presents: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    cache_dtype: Any
    logits_dtype: Any
    dtypes: dict[str, Any]
    positions: bool
    keep: str
    merged: bool
    in_place: bool
    independent: bool
    switches: Switches
    embedded: int | None

    @classmethod
    def read(
        cls,
        shared: Shared,
        heads: int | None = None,
        width: int | None = None,
        *,
        context: int,
        switch: int | None = None,
    ) -> DecoderIO:
        """Read an opened file; `heads` and `width` are used if the graph leaves those axes free.

        Switch lengths are searched below `context`; `switch` is the one in the model's config.
        Raises `ModelLoadError` naming the missing or unknown input or output.
        """
        where = display(shared.path)
        inputs, outputs = (
            {spec.name: spec for spec in specs} for specs in (shared.inputs, shared.outputs)
        )
        pasts = tuple(name for name in inputs if _PAST.fullmatch(name))
        known = {"input_ids", "attention_mask", "position_ids", BRANCH, *_KEEP, *pasts}
        unknown = [f"{name} ({spec})" for name, spec in inputs.items() if name not in known]
        if unknown:
            raise ModelLoadError(
                f"{where} takes {', '.join(unknown[:4])}: expected a decoder with input_ids, "
                "attention_mask and past_key_values, exported as text-generation-with-past"
            )
        presents = tuple(name.replace("past_key_values", "present") for name in pasts)
        missing = [name for name in ("input_ids", "attention_mask") if name not in inputs]
        missing += [name for name in ("logits", *presents) if name not in outputs]
        if missing or not pasts:
            names = ", ".join(missing[:4]) or "past_key_values.0.key"
            raise ModelLoadError(
                f"{where} is not a decoder with a KV cache: {names} missing; "
                "export it as text-generation-with-past"
            )
        facts = _graph_facts(shared.path, context, switch)
        return cls(
            pasts=pasts,
            presents=presents,
            shapes=tuple(_shape(where, inputs[name], heads, width) for name in pasts),
            cache_dtype=_float(where, inputs[pasts[0]]),
            logits_dtype=_float(where, outputs["logits"]),
            dtypes={
                name: np.dtype(spec.dtype) for name, spec in inputs.items() if name not in pasts
            },
            positions="position_ids" in inputs,
            keep=next((name for name in _KEEP if name in inputs), ""),
            merged=BRANCH in inputs,
            in_place=set(pasts) <= facts.grouped,
            independent=facts.independent,
            switches=facts.switches,
            embedded=read_text_graph(shared.path).vocabulary,
        )


@dataclass(frozen=True)
class _GraphFacts:
    grouped: frozenset[str]  # cache inputs of GroupQueryAttention
    independent: bool
    switches: Switches


@graph_reader("decoder")
def _graph_facts(model: Any, context: int, switch: int | None) -> _GraphFacts:
    """Read the graph's nodes."""
    grouped: set[str] = set()
    independent = True
    nodes = list(all_nodes(model))
    for node in nodes:
        if node.op_type == "GroupQueryAttention":
            grouped.update(node.input[3:5])
        independent = independent and node.op_type not in SCALED_TOGETHER
    switches = read_switches(model, nodes, context, switch)
    return _GraphFacts(frozenset(grouped), independent, switches)


def _shape(where: str, spec: TensorSpec, heads: int | None, width: int | None) -> tuple[int, int]:
    """Return (heads, width) of one cache tensor, [batch, heads, tokens, width]."""
    if len(spec.shape) != 4:
        raise ModelLoadError(
            f"{where} expects the KV cache {spec.name} as [batch, heads, tokens, width], got {spec}"
        )
    own = spec.shape[1], spec.shape[3]
    found = [
        axis if isinstance(axis, int) else given
        for axis, given in zip(own, (heads, width), strict=True)
    ]
    if found[0] is None or found[1] is None:
        raise ModelLoadError(
            f"{where} leaves the heads of {spec.name} open ({spec}), and no config.json beside it "
            "gives their number"
        )
    return found[0], found[1]


def _float(where: str, spec: TensorSpec) -> Any:
    if spec.dtype not in ("float32", "float16"):
        raise ModelLoadError(f"{where}: {spec.name} expects float32 or float16, got {spec.dtype}")
    return np.dtype(spec.dtype)
