"""HostedSession: an open graph that serves other processes."""

from __future__ import annotations

from typing import Any

from conduit_lab.core.spec import Array
from conduit_lab.runtime.batching.model_batcher import ModelBatcher
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.cache import Shared
from conduit_lab.runtime.sessions.remote import SessionFacts


class HostedSession:
    """The serving end of a `RemoteSession`: concurrent runs share a batch if rows allow it."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._layout = Layout.of(shared)
        self._runs = ModelBatcher(shared, layout=self._layout)

    def facts(self) -> SessionFacts:
        """Return the facts of the graph."""
        shared = self._shared
        return SessionFacts(
            content=shared.key[0],
            device=shared.device,
            inputs=shared.inputs,
            outputs=shared.outputs,
            metadata=shared.metadata,
            labels=shared.labels,
        )

    async def run(self, feeds: dict[str, Array]) -> list[Any]:
        """Return the outputs in graph order; a long run does not block the loop."""
        return await self._runs.arun(feeds, self._layout.rows(feeds))
