"""Hits: dicts with attributes, a table for people, a DataFrame for pandas."""

from __future__ import annotations

import json
import sys

import pytest

from conduit_lab.core.errors import MissingExtra
from conduit_lab.vectors.hits import Hit, Hits


@pytest.fixture
def hits() -> Hits:
    found = [
        Hit(id=f"id {i}", score=1 - i / 50, content=f"<i>text</i>\n{i}", metadata={"n": i})
        for i in range(25)
    ]
    return Hits(found, "handbook")


def test_a_hit_is_a_dict_with_attributes(hits: Hits) -> None:
    hit = hits[0]
    assert dict(hit) == {
        "id": "id 0",
        "score": 1.0,
        "content": "<i>text</i>\n0",
        "metadata": {"n": 0},
    }
    assert (hit.id, hit.score, hit.content, hit.metadata) == tuple(hit.values())
    assert json.loads(json.dumps(hits)) == list(hits)


def test_views_are_bounded_and_escaped(hits: Hits) -> None:
    bundle = hits._repr_mimebundle_()
    plain, html = bundle["text/plain"], bundle["text/html"]
    assert plain == repr(hits)
    assert plain.startswith("25 hits in handbook\n")
    assert plain.endswith("\n5 more rows: hits[20:]")
    assert "<i>text</i> 0" in plain
    assert "&lt;i&gt;text" in html
    assert "<i>" not in html
    assert html.count("<b>") == 21  # the header and twenty cards
    assert html.count("5 more rows") == 1


def test_no_hits() -> None:
    assert repr(Hits()) == "0 hits"
    assert "<em" not in Hits()._repr_mimebundle_()["text/html"]


def test_long_content_is_cut_on_one_line() -> None:
    hits = Hits([Hit(id="a", score=0.5, content="word \n" * 10_000, metadata={})])
    assert len(repr(hits)) < 300
    assert "…" in repr(hits)


def test_to_pandas(hits: Hits) -> None:
    pytest.importorskip("pandas")
    frame = hits.to_pandas()
    assert list(frame.columns) == ["id", "score", "content", "metadata"]
    assert frame["metadata"][3] == {"n": 3}
    assert list(Hits().to_pandas().columns) == ["id", "score", "content", "metadata"]


def test_to_pandas_names_the_extra(hits: Hits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"needs pandas.*conduit-lab\[lab\]"):
        hits.to_pandas()
