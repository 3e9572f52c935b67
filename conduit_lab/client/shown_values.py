"""JSON values as displayable objects: predictions, hits, answers with sources, media.

They are recognized by their exact keys; any other value is left unchanged.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

from conduit_lab.core.errors import RemoteError
from conduit_lab.flow.cited_answer import CitedAnswer
from conduit_lab.models.prediction import Prediction
from conduit_lab.vectors.hits import Hit, Hits

_MAX_DEPTH = 4  # of nested values; deeper ones stay plain

_PREDICTION = {"label", "score", "probabilities"}
_ANSWER = {"response", "sources"}
_HIT = {"id", "score", "content", "metadata"}
_MEDIA = {"type", "base64"}


def shown_value(value: Any, depth: int = 0) -> Any:
    """Return a JSON value with recognized values in it converted to objects."""
    kind = type(value)
    if depth > _MAX_DEPTH or (kind is not dict and kind is not list):
        return value
    if kind is list:
        return _list(value, depth)
    keys = value.keys()
    if len(keys) <= len(_HIT):
        if keys == _PREDICTION and _is_prediction(value):
            return Prediction(value["label"], value["score"], value["probabilities"])
        if keys == _ANSWER and _is_answer(value):
            return CitedAnswer(value["response"], value["sources"])
        if keys == _HIT and _is_hit(value):
            return Hit(value)
        if keys == _MEDIA and isinstance(value["base64"], str) and "/" in str(value["type"]):
            return _bytes(value)
    return {key: shown_value(each, depth + 1) for key, each in value.items()}


def shown_hits(answer: Any, query: Any, name: str) -> Hits:
    """Return the hits of a search in the store `name`."""
    hits = answer.get("hits") if isinstance(answer, dict) else None
    if not isinstance(hits, list) or not all(isinstance(h, dict) and _is_hit(h) for h in hits):
        raise RemoteError(f"the search of store {name!r} expects hits in its answer, got none")
    best, text = answer.get("best"), query if isinstance(query, str) else None
    found = Hits(map(Hit, hits), name, str(answer.get("plan", "")), best, text)
    found.similarities = dict(answer.get("similarities") or {})
    return found


def _list(values: list[Any], depth: int) -> Any:
    if not values or type(values[0]) not in (dict, list):
        return values  # typically a list of numbers
    if all(type(each) is dict and each.keys() == _HIT and _is_hit(each) for each in values):
        return Hits(map(Hit, values))
    return [shown_value(each, depth + 1) for each in values]


def _is_prediction(value: dict[str, Any]) -> bool:
    probabilities = value["probabilities"]
    return (
        isinstance(value["label"], str)
        and _is_number(value["score"])
        and isinstance(probabilities, dict)
        and all(map(_is_number, probabilities.values()))
    )


def _is_answer(value: dict[str, Any]) -> bool:
    sources = value["sources"]
    return (
        isinstance(value["response"], str)
        and isinstance(sources, list)
        and all(
            isinstance(each, dict) and isinstance(each.get("text"), str) and "id" in each
            for each in sources
        )
    )


def _is_hit(value: dict[str, Any]) -> bool:
    return (
        value.keys() == _HIT
        and isinstance(value["id"], str)
        and _is_number(value["score"])
        and isinstance(value["content"], str | None)
        and isinstance(value["metadata"], dict)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bytes(value: dict[str, Any]) -> Any:
    try:
        return b64decode(value["base64"], validate=True)
    except binascii.Error:
        return value
