"""Entry: a stored embedding with id, metadata and content, and checks for them."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views.pieces import Strip
from conduit_lab.core.views.view import View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.vectors.found_card import excerpt_note, found_card

MAX_NESTING = 64


@dataclass(frozen=True, eq=False)
class Entry(Viewed):
    """The record under one id of a store.

    `embedding` is float32 `[dimension]`, unchanged (not normalised). `created_at` and
    `updated_at` are Unix seconds; replacing an entry keeps the first and sets the second.
    """

    id: str
    embedding: FloatArray = field(repr=False)
    metadata: dict[str, Any]
    content: str | None
    created_at: float
    updated_at: float

    def _view(self) -> View:
        strip = Strip(self.embedding.tolist())
        card = found_card(self.content, self.metadata, self.id, whole="entry.metadata")
        note = excerpt_note(self.content, self.metadata, self.id, "entry.content")
        return View("Entry", self.id, pieces=[card, *note, strip])


def check_text(value: Any, what: str) -> str:
    """Return `value` if it is text that UTF-8 can encode.

    Raises `VectorInputError` naming `what`.
    """
    if not isinstance(value, str):
        raise VectorInputError(f"{what} must be text, got {reprlib.repr(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise VectorInputError(
            f"{what} holds a lone surrogate at position {error.start}, which UTF-8 cannot encode: "
            "read the source with the right encoding, or replace it"
        ) from None
    return str.__str__(value)  # converts a subclass (NumPy's str_, an Enum) to a plain str


def check_ids(ids: Any, what: str) -> list[str]:
    """Return the ids of one batch as a list.

    Raises `VectorInputError` for an id that is not text or is repeated.
    """
    unordered = isinstance(ids, (str, bytes, set, frozenset))
    if unordered or not isinstance(ids, Iterable):
        raise VectorInputError(f"{what} must be a list of text, got {reprlib.repr(ids)}")
    batch: list[str] = []
    seen: set[str] = set()
    for id in ids:
        if check_text(id, f"each of {what}") in seen:
            raise VectorInputError(f"{what} hold {id!r} twice in one batch: leave one out")
        seen.add(id)
        batch.append(id)
    return batch


def check_metadata(value: Any, what: str) -> dict[str, Any]:
    """Return a copy of `value` after a JSON round trip (tuples become lists); `None` becomes `{}`.

    Raises `VectorInputError` naming the key of the first value that JSON cannot represent.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise VectorInputError(f"{what} must be a dict, got {reprlib.repr(value)}")
    plain: dict[str, Any] = check_json(value, what)
    return plain


def check_content(given: Any, metadata: Mapping[str, Any], what: str) -> str | None:
    """Return the given text, else the text in the metadata's `content`, else None."""
    if given is not None:
        return check_text(given, what)
    text = metadata.get("content")
    return text if isinstance(text, str) else None


def merge_metadata(known: Entry, given: Mapping[str, Any], text: str | None) -> dict[str, Any]:
    """Return an entry's metadata updated with the `given` keys.

    `text` is its new content, or None if unchanged. A `content` key in the metadata that repeats
    the entry's content is updated with it.
    """
    metadata = {**known.metadata, **given}
    if (
        text is not None
        and "content" not in given
        and known.metadata.get("content", known) == known.content
    ):
        metadata["content"] = text
    return metadata


def check_json(value: Any, what: str, depth: int = 0) -> Any:
    """Return a copy of `value` consisting of dict, list, str, int, float, bool and None.

    Raises `VectorInputError` naming the place, such as `metadata of 'a'['price']`.
    """
    if depth > MAX_NESTING:
        raise VectorInputError(f"{what[:80]}… is nested more than {MAX_NESTING} levels deep")
    match value:
        case str():
            return check_text(value, what)
        case bool() | None:
            return value
        case int():
            return int(value)
        case float():
            if not math.isfinite(value):
                raise VectorInputError(
                    f"{what} is {value}, which JSON cannot represent: leave it out or use None"
                )
            return float(value)
        case Mapping():
            for key in value:
                check_text(key, f"a key of {what}")
            return {
                key: item if _is_plain(item) else check_json(item, f"{what}[{key!r}]", depth + 1)
                for key, item in value.items()
            }
        case list() | tuple():
            return [
                item if _is_plain(item) else check_json(item, f"{what}[{i}]", depth + 1)
                for i, item in enumerate(value)
            ]
        case _:
            raise VectorInputError(
                f"{what} is a {type(value).__name__}, which JSON cannot represent: "
                "use text, numbers, True/False, None, lists or dicts "
                "(.item() or .tolist() for NumPy)"
            )


def copy_json(value: Any) -> Any:
    """Return a copy of a JSON value; copy.deepcopy also detects cycles and is slower."""
    if isinstance(value, dict):
        return {key: copy_json(item) for key, item in value.items()} if value else {}
    if isinstance(value, list):
        return [copy_json(item) for item in value]
    return value


def _is_plain(value: Any) -> bool:
    """Return whether a value certainly passes; formatting its location would cost more."""
    kind = type(value)
    return value is None or kind is int or kind is bool or (kind is str and value.isascii())
