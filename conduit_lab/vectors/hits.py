"""Hits: the result of a search, best first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from conduit_lab.core.frames import to_frame
from conduit_lab.core.text import one_line
from conduit_lab.core.views import figures, html
from conduit_lab.core.views.view import Table, View, Viewed

_COLUMNS = ("id", "score", "content", "metadata")


class Hit(dict[str, Any]):
    """One found entry: a dict of `id`, `score`, `content` and `metadata`, also as attributes.

    The metadata is the hit's own copy.
    """

    @property
    def id(self) -> str:
        """Id of the entry."""
        return self["id"]  # type: ignore[no-any-return]

    @property
    def score(self) -> float:
        """The number that orders the hits.

        The similarity for the metrics cosine (-1 to 1) and dot, the distance for l2 and manhattan;
        in other modes bm25, the fused score, or the reranker's.
        """
        return self["score"]  # type: ignore[no-any-return]

    @property
    def content(self) -> str | None:
        """Text of the entry, or None."""
        return self["content"]  # type: ignore[no-any-return]

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the entry."""
        return self["metadata"]  # type: ignore[no-any-return]


class Hits(Viewed, list[Hit]):
    """A list of `Hit`, best first, that shows itself as a table; `json.dumps` accepts it.

    `plan` says in words how they were found. `best` is the score of the most similar entry where
    embeddings were compared, whatever decided the order: a fused or a reranker's score has no
    fixed scale.
    """

    def __init__(
        self, hits: Iterable[Hit] = (), store: str = "", plan: str = "", best: float | None = None
    ) -> None:
        super().__init__(hits)
        self.store = store
        self.plan = plan
        self.best = best

    def to_pandas(self) -> Any:
        """Return a DataFrame with the columns id, score, content and metadata; needs `[lab]`."""
        return to_frame(self, _COLUMNS, purpose="Hits.to_pandas()")

    def _count(self) -> str:
        return figures.plural(len(self), "hit")

    def _table(self, width: int) -> Table:
        rows = []
        for hit in self[: html.MAX_ROWS]:
            metadata = " · ".join(f"{key}: {value}" for key, value in hit.metadata.items())
            id, content = one_line(hit.id, width), one_line(hit.content or "", width)
            rows.append((id, f"{hit.score:.3f}", content, one_line(metadata, width // 2)))
        return Table(_COLUMNS, rows, ("score",), ("content",), len(self))

    def _view(self) -> View:
        facts = [self._count(), *([self.plan] if self.plan else [])]
        return View("Hits", self.store, facts, [self._table(200)])

    def __repr__(self) -> str:
        head = f"{self._count()} in {self.store}" if self.store else self._count()
        head = f"{head} · {self.plan}" if self.plan else head
        return f"{head}\n{self._table(60).plain()}" if self else head
