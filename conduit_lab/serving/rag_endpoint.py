"""RagEndpoint: a Rag with two paths, one that answers as a whole and one that streams."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from conduit_lab.core.streams.stream import Stream
from conduit_lab.flow.rag import Rag, RagAnswer
from conduit_lab.serving.endpoint import Endpoint, EndpointHost, Shape

R = TypeVar("R")


class RagEndpoint(Endpoint[[str], R], Generic[R]):
    """One of the two endpoints of a served `rag`.

    `whole` answers at the path `at`, `stream` below it.
    """

    whole: RagEndpoint[RagAnswer]
    stream: RagEndpoint[Stream[dict[str, Any], RagAnswer]]

    def __init__(self, rag: Rag, at: str, shape: Shape, app: EndpointHost) -> None:
        def ask(question: str) -> str:
            return question

        ask.__name__ = f"{rag.name}_stream" if shape == "stream" else rag.name
        ask.__doc__ = f"Answer a question from {rag.store.name}" + (
            ", as events." if shape == "stream" else "."
        )
        answer = Stream[dict[str, Any], RagAnswer] if shape == "stream" else RagAnswer
        ask.__annotations__ = {"question": str, "return": answer}
        path = f"{at.rstrip('/')}/stream" if shape == "stream" else at
        super().__init__(ask, path, "POST", shape, app, then=rag)
        self.rag = rag
        self.at = at

    @staticmethod
    def pair(rag: Rag, at: str, app: EndpointHost) -> RagEndpoint[RagAnswer]:
        """Return the endpoint that answers as a whole; its `stream` is the other."""
        whole: RagEndpoint[RagAnswer] = RagEndpoint(rag, at, "value", app)
        stream: RagEndpoint[Stream[dict[str, Any], RagAnswer]] = RagEndpoint(rag, at, "stream", app)
        whole.whole = stream.whole = whole
        whole.stream = stream.stream = stream
        return whole
