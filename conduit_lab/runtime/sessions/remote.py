"""RemoteSession: a graph that runs in another process, which holds its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.runtime.checks.graph import Graph, check_graph


@dataclass(frozen=True)
class SessionFacts:
    """The facts of an opened file in another process; `content` is the digest of that file."""

    content: str
    device: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: dict[str, str]
    labels: list[str] | None


class RemoteRuns(Protocol):
    """The connection to the process `name`, which runs a graph; thread-safe."""

    name: str

    def facts(self) -> SessionFacts:
        """Return the facts of the graph; waits until it is open there."""

    def run(self, feeds: dict[str, Array]) -> Sequence[Any]:
        """Return the outputs in graph order; blocks the calling thread."""


class RemoteSession:
    """A session in another process, with the interface of `Session`; its `size` here is 0.

    `content` is the digest of the file there. Raises the errors of `Session`.
    """

    size = fallbacks = 0
    note = ""

    def __init__(self, path: Path, runs: RemoteRuns) -> None:
        facts = runs.facts()
        self.content, self.device = facts.content, facts.device
        self.inputs, self.outputs = facts.inputs, facts.outputs
        self.metadata, self.labels = facts.metadata, facts.labels
        self.graph: Graph | None = check_graph(path) if path.suffix == ".onnx" else None
        self._runs = runs

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        """Return the outputs in graph order for one dict of input arrays."""
        outputs = self._runs.run({name: np.asarray(array) for name, array in feeds.items()})
        # arrays from shared memory are read-only
        return [
            output.copy()
            if isinstance(output, np.ndarray) and not output.flags.writeable
            else output
            for output in outputs
        ]
