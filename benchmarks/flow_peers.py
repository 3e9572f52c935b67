"""Three stages as a chain in other libraries: LangChain's LCEL and a Haystack 2 pipeline.

`benchmarks/flow.py` measures them in its own process if they are installed. Both are used as in
their documentation, with tracing and telemetry off.
"""

# The checks run without the peers.
# mypy: ignore-errors
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import pairwise
from typing import Any

Chain = Callable[[Any], Any]

OFF = {
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "HAYSTACK_AUTO_TRACE_ENABLED": "False",
}


def langchain(stages: Sequence[Chain]) -> tuple[str, Chain]:
    """Return the name of the peer, and the stages as `RunnableLambda | RunnableLambda | …`."""
    os.environ.update(OFF)
    from langchain_core.runnables import RunnableLambda

    chain = RunnableLambda(stages[0])
    for stage in stages[1:]:
        chain = chain | RunnableLambda(stage)
    return f"LCEL, langchain-core {version('langchain-core')}", chain.invoke


def haystack(stages: Sequence[Chain]) -> tuple[str, Chain]:
    """Return the name of the peer, and the stages as connected components of a `Pipeline`."""
    os.environ.update(OFF)
    from haystack import Pipeline, component

    @component
    class Step:
        """A component with one input and one output."""

        def __init__(self, stage: Chain) -> None:
            self.stage = stage

        @component.output_types(value=Any)
        def run(self, value: Any) -> dict[str, Any]:
            """Call the stage."""
            return {"value": self.stage(value)}

    pipeline = Pipeline()
    names = [f"step{place}" for place in range(len(stages))]
    for name, stage in zip(names, stages, strict=True):
        pipeline.add_component(name, Step(stage))
    for before, after in pairwise(names):
        pipeline.connect(f"{before}.value", f"{after}.value")

    def run(value: Any) -> Any:
        return pipeline.run({names[0]: {"value": value}})[names[-1]]["value"]

    return f"Haystack {version('haystack-ai')}", run


PEERS = (langchain, haystack)
