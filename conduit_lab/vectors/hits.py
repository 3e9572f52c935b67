"""Hits: what a search found, best first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from conduit_lab.core.errors import MissingExtra
from conduit_lab.core.views import figures, html


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
        """What the hits are ordered by.

        The similarity for the metrics cosine (-1 to 1) and dot, the distance for l2 and manhattan;
        bm25, what a fusion made of both, or the reranker's score where those decided.
        """
        return self["score"]  # type: ignore[no-any-return]

    @property
    def content(self) -> str | None:
        """Text of the entry, where it has one."""
        return self["content"]  # type: ignore[no-any-return]

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the entry."""
        return self["metadata"]  # type: ignore[no-any-return]


class Hits(list[Hit]):
    """A list of `Hit`, best first, that shows itself as a table; `json.dumps` takes it as it is.

    `plan` tells in words how they were found. `best` is the score of the most similar entry where
    embeddings were compared, whatever decided the order: what a fused or a reranker's score does
    not tell.
    """

    def __init__(
        self, hits: Iterable[Hit] = (), store: str = "", plan: str = "", best: float | None = None
    ) -> None:
        super().__init__(hits)
        self.store = store
        self.plan = plan
        self.best = best

    def to_pandas(self) -> Any:
        """Return a DataFrame with the columns id, score, content and metadata; needs the `[lab]` extra."""
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtra("pandas", "lab", "Hits.to_pandas()") from None
        return pd.DataFrame(list(self), columns=list(_COLUMNS))

    def _rows(self, width: int) -> list[tuple[str, str, str, str]]:
        return [
            (
                _short(hit.id, width),
                f"{hit.score:.3f}",
                _short(hit.content or "", width),
                _short(
                    " · ".join(f"{key}: {value}" for key, value in hit.metadata.items()), width // 2
                ),
            )
            for hit in self[: html.MAX_ROWS]
        ]

    def _count(self) -> str:
        return "1 hit" if len(self) == 1 else f"{figures.count(len(self))} hits"

    def __repr__(self) -> str:
        head = f"{self._count()} in {self.store}" if self.store else self._count()
        head = f"{head} · {self.plan}" if self.plan else head
        if not self:
            return head
        rest = f"\n{len(self) - html.MAX_ROWS} more rows" if len(self) > html.MAX_ROWS else ""
        return f"{head}\n{html.columns(_COLUMNS, self._rows(60), numeric=('score',))}{rest}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        body = (
            html.table(_COLUMNS, self._rows(200), ("score",), ("content",)) + html.more(len(self))
            if self
            else ""
        )
        facts = [self._count(), *([self.plan] if self.plan else [])]
        return html.bundle(repr(self), html.header("Hits", self.store, facts) + body)


_COLUMNS = ("id", "score", "content", "metadata")


def _short(text: str, width: int) -> str:
    """Return `text` on one line of at most `width` characters."""
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width and len(text) <= 4 * width else f"{line[: width - 1]}…"
