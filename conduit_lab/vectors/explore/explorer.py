"""Explorer: a map of a store's entries for searching, colouring and selecting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views.view import View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.vectors.embedding import EmbeddingLike, read_queries
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.explore import SHOWN_ENTRIES
from conduit_lab.vectors.explore.coloring import CLUSTERS, Coloring, colour_fields
from conduit_lab.vectors.explore.entry_map import EntryMap
from conduit_lab.vectors.explore.explorer_card import explorer_card
from conduit_lab.vectors.explore.misplaced import Misplaced, misplaced_questions, page_ranks
from conduit_lab.vectors.explore.projection import Method
from conduit_lab.vectors.hits import Hits
from conduit_lab.vectors.search import Mode

if TYPE_CHECKING:
    from conduit_lab.vectors.evaluate import Evaluation
    from conduit_lab.vectors.store import VectorStore

_PAGE_ENTRIES = 256


class Located(NamedTuple):
    """Hits, the position of the query on the map, `[2]`, and the positions of the hits, `[n, 2]`.

    `ring` is None if the query has no embedding, as in a search by words without an embedder.
    """

    hits: Hits
    ring: FloatArray | None
    xy: FloatArray


class Explorer(Viewed):
    """A map of the entries of a store, returned by `store.explore()`.

        explorer = store.explore("how do I return a kettle?", color_by="section")
        explorer.selection     the entries selected with the lasso

    In JupyterLab it is interactive: queries are searched as you type, the lasso selects, chips
    filter. Elsewhere and in a saved notebook it is a picture beside the hits. Thread-safe.
    """

    def __init__(
        self,
        store: VectorStore,
        query: str | EmbeddingLike | None = None,
        color_by: str | None = None,
        where: Any = None,
        method: Method = "pca",
        limit: int = SHOWN_ENTRIES,
        evaluation: Evaluation | None = None,
    ) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise VectorInputError(f"limit is a whole number of at least 1, got {limit!r}")
        self.store = store
        self.evaluation = evaluation
        self.misplaced: list[Misplaced] = []
        if evaluation is not None:
            self.misplaced = misplaced_questions(evaluation)
        keep = None if where is None else store._filter(where)
        self._where = where if isinstance(where, Mapping) else None
        backend = store._opened()
        self.map = EntryMap(backend, keep, method, limit)
        self.fields = [CLUSTERS, *colour_fields(self.map.metadatas)]
        # Always replaced as a whole, so threads need no lock.
        self._selected: list[str] = []
        self._shown: Located | None = None
        self._card: tuple[tuple[str, Located | None], View] | None = None  # drawing is slow
        self._color_by = self.map.check_field(color_by or CLUSTERS)
        _ = self.coloring  # now, because a repr must not read the store
        if query is not None:
            self.search(query)

    @property
    def color_by(self) -> str:
        """The metadata key that determines the colours, or "clusters"; settable.

        Raises `VectorInputError` for a key that no entry has.
        """
        return self._color_by

    @color_by.setter
    def color_by(self, field: str) -> None:
        self.map.coloring(self.map.check_field(field))
        self._color_by = field

    @property
    def coloring(self) -> Coloring:
        """The colours of the map."""
        return self.map.coloring(self._color_by)

    @property
    def selection(self) -> list[Entry]:
        """The selected entries in insertion order, without entries deleted meanwhile."""
        ids = self._selected
        backend = self.store._opened()
        entries: list[Entry] = []
        for at in range(0, len(ids), _PAGE_ENTRIES):
            found = backend.get(ids[at : at + _PAGE_ENTRIES])
            entries += [entry for entry in found if entry is not None]
        return entries

    @property
    def selected_ids(self) -> list[str]:
        """The ids of the selected entries, in insertion order."""
        return list(self._selected)

    def select(self, ids: Iterable[str]) -> list[Entry]:
        """Select entries of the map by id, like the lasso, and return them.

        Ids that are not on the map are ignored.
        """
        places = sorted({self.map.place_of[id] for id in ids if id in self.map.place_of})
        self.select_places(places)
        return self.selection

    def select_places(self, places: Iterable[int]) -> None:
        """Select entries by their ascending indices on the map."""
        self._selected = [self.map.ids[place] for place in places]

    @property
    def shown(self) -> Located | None:
        """The last search and its positions."""
        return self._shown

    def search(
        self,
        query: str | EmbeddingLike,
        top_k: int = 10,
        where: Mapping[str, Any] | None = None,
        *,
        mode: Mode = "dense",
    ) -> Hits:
        """Search the store, show the query and its hits on the map, and return the hits.

        Arguments and errors are those of `VectorStore.search`.
        """
        located = self.locate(query, top_k, where, mode)
        self.show(located)
        return located.hits

    def show(self, located: Located | None) -> None:
        """Show a search on the map; None clears it."""
        self._shown = located

    def locate(
        self, query: Any, top_k: int, where: Mapping[str, Any] | None, mode: Mode
    ) -> Located:
        """Search, and return the hits with their positions; the query is embedded once."""
        store, backend = self.store, self.store._opened()
        words = mode == "lexical" and store.embedder is None
        what = f"store {store.name!r}: the query"
        queries, single = read_queries(query, backend.dimension, store.embedder, what, words=words)
        if not single:
            raise VectorInputError(f"{what} of a map is one text or one embedding, got a batch")
        ((text, vector),) = queries
        asked = vector if mode == "dense" and vector is not None else cast(Any, text)
        both = self._both(where)
        hits = store.search(asked, top_k, both, mode=mode)
        hits.query = text
        ring = None if vector is None else self.map.place(vector[np.newaxis])[0]
        return Located(hits, ring, self._places([hit.id for hit in hits]))

    def rank_pages(self, question: Misplaced) -> dict[str, int | None]:
        """Return the rank of a question's correct page in each mode, among 1,000 hits.

        The searches are those of the evaluation. None means that the page is not among the hits.
        """
        if self.evaluation is None:
            raise VectorInputError("there is no evaluation: store.explore(evaluation=…)")
        return page_ranks(self.store, question, self.evaluation.searches, self.evaluation.by)

    def page_places(self, pages: Iterable[str]) -> list[int]:
        """Return the indices of the entries of some pages of the evaluation."""
        if self.evaluation is None:
            return []
        by, right = self.evaluation.by, set(pages)
        return [i for i, metadata in enumerate(self.map.metadatas) if metadata.get(by) in right]

    def _both(self, where: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return a filter combined with the map's filter."""
        if self._where and where:
            return {"$and": [self._where, where]}
        return where or self._where

    def _places(self, ids: list[str]) -> FloatArray:
        """Return the positions of entries `[n, 2]`; entries that are not shown are projected."""
        xy = np.zeros((len(ids), 2), np.float32)
        known = [self.map.place_of.get(id) for id in ids]
        absent = [i for i, place in enumerate(known) if place is None]
        for i, place in enumerate(known):
            if place is not None:
                xy[i] = self.map.xy[place]
        if absent:
            entries = self.store._opened().get([ids[i] for i in absent])
            found = [(i, entry) for i, entry in zip(absent, entries, strict=True) if entry]
            if found:
                vectors = np.stack([entry.embedding for _, entry in found])
                xy[[i for i, _ in found]] = self.map.place(vectors)
        return xy

    def _view(self) -> View:
        key = self._color_by, self._shown
        made = self._card
        if made is None or made[0][0] != key[0] or made[0][1] is not key[1]:
            made = self._card = key, explorer_card(self, pictured=True)
        return made[1]

    def __repr__(self) -> str:
        return explorer_card(self, pictured=False).plain()
