"""Messages from an explorer to its page: the map in binary form, and short texts."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from conduit_lab.core.quotation import without_marks
from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.core.text import clip, one_line
from conduit_lab.core.views.pieces import Card, Marked
from conduit_lab.vectors.explore.coloring import CLUSTERS, REST_COLOR, Coloring
from conduit_lab.vectors.explore.entry_map import EntryMap
from conduit_lab.vectors.explore.explorer import Explorer, Located
from conduit_lab.vectors.explore.explorer_card import map_facts
from conduit_lab.vectors.explore.map_picture import home_box
from conduit_lab.vectors.explore.misplaced import Misplaced, rank_words
from conduit_lab.vectors.found_card import found_card, heading_of

LISTED_ENTRIES = 200  # of a selection, shown in the page
LISTED_QUESTIONS = 200
MAX_MARKED_GROUPS = 500
_STEPS = 65_535  # steps of a coordinate
_TITLE_CHARACTERS = 160
_CHUNK_CHARACTERS = 4_000
_CHUNK_ID = re.compile(r"^(.*)#(\d+)$", re.DOTALL)

Message = dict[str, Any]


class UnitSquare:
    """Places on a map as fractions of its extent, 0 to 1; `y` points up."""

    def __init__(self, xy: FloatArray) -> None:
        low = xy.min(axis=0) if len(xy) else np.zeros(2, np.float32)
        high = xy.max(axis=0) if len(xy) else np.ones(2, np.float32)
        self._low = low.astype(np.float64)
        self._size = np.maximum(high.astype(np.float64) - low, 1e-9)

    def __call__(self, xy: Array) -> list[list[float]]:
        """Return places `[n, 2]` as lists."""
        parts: list[list[float]] = np.round((xy - self._low) / self._size, 5).tolist()
        return parts

    def packed(self, xy: FloatArray) -> str:
        """Return places as little-endian uint16 pairs in base64."""
        parts = (xy - self._low) / self._size
        return _base64(np.round(parts * _STEPS).clip(0, _STEPS).astype("<u2"))


def map_message(explorer: Explorer, square: UnitSquare) -> Message:
    """Return everything that does not change: the places, fields, facts and questions."""
    entry_map = explorer.map
    limit = 0 if explorer.evaluation is None else explorer.evaluation.top_k
    low, high = home_box(entry_map.xy)
    questions = [
        {
            "question": each.question,
            "words": rank_words(each.ranks, limit),
            "pages": ", ".join(each.pages),
        }
        for each in explorer.misplaced[:LISTED_QUESTIONS]
    ]
    return {
        "kind": "map",
        "name": explorer.store.name,
        "facts": map_facts(explorer),
        "count": len(entry_map),
        "xy": square.packed(entry_map.xy),
        "home": square(np.stack([low, high])),
        "size": [float(side) for side in square._size],
        "fields": explorer.fields,
        "text": explorer.store.embedder is not None,
        "questions": questions,
        "more_questions": max(0, len(explorer.misplaced) - LISTED_QUESTIONS),
    }


def colors_message(coloring: Coloring, entry_map: EntryMap, square: UnitSquare) -> Message:
    """Return the colour of each entry, and each category with the centre of its entries."""
    categories = []
    for code, category in enumerate(coloring.categories):
        own = entry_map.xy[coloring.codes == code]
        middle = np.quantile(own, 0.5, axis=0) if len(own) else np.zeros(2)
        categories.append(
            {
                "label": category.label,
                "color": category.color,
                "entries": category.entries,
                "at": square(middle[np.newaxis])[0],
                "where": category.where is not None,
            }
        )
    return {
        "kind": "colors",
        "field": coloring.field,
        "codes": _base64(coloring.codes),
        "categories": categories,
        "rest": coloring.rest,
        "restColor": REST_COLOR,
    }


def hits_message(
    located: Located, explorer: Explorer, square: UnitSquare, serial: int, seconds: float
) -> Message:
    """Return hits as cards with their places, and the place of the query."""
    hits = located.hits
    cards = [piece for piece in hits._cards() if isinstance(piece, Card)]
    places = square(located.xy)
    return {
        "kind": "hits",
        "serial": serial,
        "query": hits.query,
        "plan": hits.plan,
        "milliseconds": round(1_000 * seconds, 1),
        "ring": None if located.ring is None else square(located.ring[np.newaxis])[0],
        "hits": [
            {
                **_card_message(card),
                "id": hit.id,
                "place": explorer.map.place_of.get(hit.id, -1),
                "at": at,
                "score": card.score,
                "share": card.share,
            }
            for card, hit, at in zip(cards, hits, places, strict=False)
        ],
    }


def list_message(explorer: Explorer, places: Sequence[int], serial: int) -> Message:
    """Return the first 200 of the selected entries as short cards, and their total number."""
    shown = places[:LISTED_ENTRIES]
    entry_map = explorer.map
    rows = [
        {
            **_card_message(found_card(text, entry_map.metadatas[place], entry_map.ids[place])),
            "id": entry_map.ids[place],
            "place": place,
        }
        for place, text in zip(shown, entry_map.texts(shown), strict=True)
    ]
    return {"kind": "selection", "serial": serial, "count": len(places), "rows": rows}


def entry_message(explorer: Explorer, id: str) -> Message:
    """Return an entry in its document: the chunk before it, the entry, and the chunk after it."""
    store = explorer.store
    found = _CHUNK_ID.match(id)
    ids = [id]
    if found is not None:
        name, number = found[1], int(found[2])
        ids = [f"{name}#{number - 1}", id, f"{name}#{number + 1}"]
    entries = [entry for entry in map(store.get, ids) if entry is not None]
    own = next((entry for entry in entries if entry.id == id), None)
    if own is None:
        return {"kind": "entry", "id": id, "title": id, "parts": [], "facts": ["deleted meanwhile"]}
    card = found_card(own.content, own.metadata, own.id)
    return {
        "kind": "entry",
        "id": id,
        "title": card.title,
        "facts": list(card.facts),
        "parts": [
            {
                "id": entry.id,
                "text": without_marks(clip(entry.content or "", _CHUNK_CHARACTERS)).strip(),
                "cut": max(0, len(entry.content or "") - _CHUNK_CHARACTERS),
                "own": entry.id == id,
            }
            for entry in entries
        ],
    }


def peek_message(explorer: Explorer, place: int) -> Message:
    """Return the heading of the entry under the pointer."""
    metadata, id = explorer.map.metadatas[place], explorer.map.ids[place]
    title = one_line(heading_of(metadata) or id, _TITLE_CHARACTERS)
    field = explorer.color_by
    value = "" if field == CLUSTERS else one_line(f"{field}: {metadata.get(field, '–')}", 80)
    return {"kind": "peek", "place": place, "title": title, "value": value}


def marks_message(explorer: Explorer) -> Message:
    """Return near duplicates and outliers."""
    found = explorer.map.neighbourhood
    return {
        "kind": "marks",
        "groups": [group.tolist() for group in found.groups[:MAX_MARKED_GROUPS]],
        "group_count": len(found.groups),
        "outliers": found.outliers.tolist(),
        "exact": found.exact,
    }


def ranks_message(
    question: Misplaced, ranks: Mapping[str, int | None], pages: list[int]
) -> Message:
    """Return the rank of a question's right page in each mode, and the page's entries."""
    words = rank_words(ranks, 1_000)
    return {"kind": "ranks", "question": question.question, "words": words, "places": pages}


def _card_message(card: Card) -> Message:
    marked = next((piece for piece in card.pieces if isinstance(piece, Marked)), Marked(""))
    return {
        "title": card.title,
        "text": marked.text,
        "spans": [list(span) for span in marked.spans],
        "facts": list(card.facts),
    }


def _base64(array: Array) -> str:
    return b64encode(np.ascontiguousarray(array).tobytes()).decode()
