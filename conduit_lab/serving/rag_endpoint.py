"""RagEndpoint: a `Rag` at two paths, for the whole answer and for its stream."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.endpoint import Endpoint, EndpointHost, Shape

if TYPE_CHECKING:
    from conduit_lab.flow.cited_answer import RagAnswer
    from conduit_lab.flow.rag import Rag

_R = TypeVar("_R")


class RagEndpoint(Endpoint[[str], _R], Generic[_R]):
    """One of the two endpoints of a served `rag`: `whole` at the path `at`, `stream` below it.

    Its name is derived from its path: `rag_query` for "/rag/query".
    """

    is_bound = False
    whole: RagEndpoint[RagAnswer]
    stream: RagEndpoint[Stream[dict[str, Any], RagAnswer]]

    def __init__(self, rag: Rag, at: str, shape: Shape, app: EndpointHost) -> None:
        from conduit_lab.flow.cited_answer import RagAnswer

        def ask(question: str) -> str:
            return question

        path = f"{at.rstrip('/')}/stream" if shape == "stream" else at
        ask.__name__ = re.sub(r"\W+", "_", path).strip("_") or rag.name
        ending = ", as events." if shape == "stream" else "."
        ask.__doc__ = f"Answer a question from {rag.store.name}{ending}"
        answer = Stream[dict[str, Any], RagAnswer] if shape == "stream" else RagAnswer
        ask.__annotations__ = {"question": str, "return": answer}
        super().__init__(ask, path, "POST", shape, app, then=rag)
        self.rag = rag
        self.at = at

    def _answer_type(self) -> Any:
        return ...  # that of `ask`, above

    @staticmethod
    def pair(rag: Rag, at: str, app: EndpointHost) -> RagEndpoint[RagAnswer]:
        """Create both endpoints; return that of the whole answer, whose `stream` is the other."""
        whole: RagEndpoint[RagAnswer] = RagEndpoint(rag, at, "value", app)
        stream: RagEndpoint[Stream[dict[str, Any], RagAnswer]] = RagEndpoint(rag, at, "stream", app)
        whole.whole = stream.whole = whole
        whole.stream = stream.stream = stream
        return whole
