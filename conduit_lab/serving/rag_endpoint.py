"""RagEndpoint: a Rag with two paths, one that answers as a whole and one that streams."""

from typing import Any, Self

from conduit_lab.core.streams.stream import Stream
from conduit_lab.flow.rag import Rag
from conduit_lab.serving.endpoint import Endpoint, EndpointHost, Shape


class RagEndpoint(Endpoint):
    """One of the two endpoints of a served `rag`: `whole` answers at the path `at`, `stream` below
    it.

    `namespace` are the globals of the session that serves it.
    """

    whole: Self
    stream: Self

    def __init__(
        self, rag: Rag, at: str, shape: Shape, app: EndpointHost, namespace: dict[str, Any]
    ) -> None:
        def ask(question: str) -> dict[str, Any]:
            answer: dict[str, Any] = rag(question)
            return answer

        def stream(question: str) -> Stream[dict[str, Any], dict[str, Any]]:
            return rag.stream(question)

        function, path = (stream, f"{at.rstrip('/')}/stream") if shape == "stream" else (ask, at)
        function.__name__ = f"{rag.name}_stream" if shape == "stream" else rag.name
        function.__doc__ = f"Answer a question from {rag.store.name}" + (
            ", as events." if shape == "stream" else "."
        )
        super().__init__(function, path, "POST", shape, app)
        self.rag = rag
        self.at = at
        self.namespace = namespace

    @classmethod
    def pair(cls, rag: Rag, at: str, app: EndpointHost, namespace: dict[str, Any]) -> Self:
        """Return the endpoint that answers as a whole; its `stream` is the other."""
        whole, stream = (
            cls(rag, at, "value", app, namespace),
            cls(rag, at, "stream", app, namespace),
        )
        whole.whole = stream.whole = whole
        whole.stream = stream.stream = stream
        return whole
