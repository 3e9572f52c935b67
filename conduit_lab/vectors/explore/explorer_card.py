"""Explorer card: the static form of an explorer, a picture beside hits or clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conduit_lab.core.text import one_line
from conduit_lab.core.views import figures
from conduit_lab.core.views.indexed_png import png_url
from conduit_lab.core.views.labelled_picture import ColorLine, LabelledPicture, PictureLabel
from conduit_lab.core.views.pieces import Card, Columns, Line, ViewPiece
from conduit_lab.core.views.view import View
from conduit_lab.vectors.explore.coloring import MISSING_CODE, REST, REST_COLOR
from conduit_lab.vectors.explore.map_picture import frame_of, label_places, map_picture
from conduit_lab.vectors.explore.misplaced import rank_words
from conduit_lab.vectors.found_card import heading_of
from conduit_lab.vectors.hits import Hits

if TYPE_CHECKING:
    from conduit_lab.vectors.explore.explorer import Explorer

MAX_SHOWN_HITS = 5
_MAX_QUESTIONS = 8


def map_facts(explorer: Explorer) -> list[str]:
    """Return the facts of a map: the number and selection of entries, and the projection."""
    shown, total = len(explorer.map), explorer.map.total
    facts = [figures.plural(total, "entry")]
    if shown < total:
        facts = [f"{figures.count(shown)} of {facts[0]}, chosen at random"]
    return [*facts, explorer.map.sentence]


def explorer_card(explorer: Explorer, *, pictured: bool) -> View:
    """Return the view of an explorer: the map on the left, hits or clusters on the right.

    Without `pictured` the picture is omitted, as for plain text.
    """
    facts = map_facts(explorer)
    if not len(explorer.map):
        text = "There is nothing to show yet: store.add_texts([…]), then store.explore()"
        return View("Explorer", explorer.store.name, facts, pieces=[Line(text)])
    right = _found(explorer) if explorer.shown is not None else []
    right = right or (_questions(explorer) if explorer.misplaced else [])
    picture = [_picture(explorer)] if pictured else []
    colors = _colors(explorer, brief=bool(right))
    columns = Columns([[*picture, *colors], right] if right else [picture, colors])
    return View("Explorer", explorer.store.name, facts, pieces=[columns])


def _picture(explorer: Explorer) -> LabelledPicture:
    shown, coloring, xy = explorer.shown, explorer.coloring, explorer.map.xy
    frame = frame_of(xy)
    ring, hits = (None, None) if shown is None else (shown.ring, shown.xy[:MAX_SHOWN_HITS])
    places = label_places(xy, coloring, frame)
    labels = [
        PictureLabel(category.label, x, y)
        for category, (x, y) in zip(coloring.categories, places, strict=True)
    ]
    if ring is not None and hits is not None:
        for number, (x, y) in enumerate(frame(hits).tolist(), 1):
            if 0 <= x <= 1 and 0 <= y <= 1:
                labels.append(PictureLabel(str(number), x, y - 0.03))
    url = png_url(map_picture(xy, coloring, frame, ring, hits, labels))
    names = ", ".join(category.label for category in coloring.categories)
    description = f"{figures.plural(len(xy), 'entry')} by {coloring.field}: {names}"
    return LabelledPicture(url, labels, description)


def _found(explorer: Explorer) -> list[ViewPiece]:
    """Return the last search: its query and first hits as cards."""
    assert explorer.shown is not None
    hits = explorer.shown.hits
    shown = Hits(hits[:MAX_SHOWN_HITS], hits.store, hits.plan, hits.best, hits.query)
    more = len(hits) - len(shown)
    # without the other metadata, which does not fit into a column
    pieces = [
        replace(piece, facts=()) if isinstance(piece, Card) else piece
        for piece in shown._view().pieces
        if isinstance(piece, Card) or hits.query is not None
    ]
    if hits.query is None:
        pieces.insert(0, Line("query: an embedding", "quiet"))
    return [*pieces, *([Line(f"{more} more: explorer.shown.hits", "quiet")] if more > 0 else [])]


def _questions(explorer: Explorer) -> list[ViewPiece]:
    """Return the questions of an evaluation whose correct page was not first."""
    evaluation = explorer.evaluation
    assert evaluation is not None
    count = len(explorer.misplaced)
    pieces: list[ViewPiece] = [
        Line(f"{figures.plural(count, 'question')} with the right page not first in every mode")
    ]
    for each in explorer.misplaced[:_MAX_QUESTIONS]:
        ranks = f"{rank_words(each.ranks, evaluation.top_k)} · {', '.join(each.pages)}"
        pieces += [Line(f"“{one_line(each.question, 160)}”"), Line(ranks, "quiet")]
    if count > _MAX_QUESTIONS:
        pieces.append(Line(f"{count - _MAX_QUESTIONS} more: explorer.misplaced", "quiet"))
    return pieces


def _colors(explorer: Explorer, *, brief: bool) -> list[ViewPiece]:
    """Return the colours with names and counts, and clusters with their central entries."""
    coloring, entry_map = explorer.coloring, explorer.map
    pieces: list[ViewPiece] = []
    for place, category in enumerate(coloring.categories):
        note = ""
        if coloring.field == "clusters" and not brief:
            central = entry_map.central(place, 3)
            headings = [heading_of(entry_map.metadatas[at]) or entry_map.ids[at] for at in central]
            note = " · ".join(one_line(text, 60) for text in dict.fromkeys(headings))
        number = figures.plural(category.entries, "entry")
        pieces.append(ColorLine(category.color, category.label, number, note))
    codes = coloring.codes
    if coloring.rest:
        count = int((codes == REST).sum())
        pieces.append(ColorLine(REST_COLOR, coloring.rest, figures.plural(count, "entry")))
    if without := int((codes == MISSING_CODE).sum()):
        name = f"without {coloring.field}"
        pieces.append(ColorLine(REST_COLOR, name, figures.plural(without, "entry")))
    return pieces
