"""RequestFields: typed, bounded access to the fields of a JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conduit_lab.core.text import clip
from conduit_lab.serving.errors import HttpError

_MAX_SHOWN_CHARACTERS = 60
_NAMES = {
    str: "a string",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    int: "a number",
    float: "a number",
    type(None): "null",
}


class FieldError(HttpError):
    """A 400 for one field of a request; `param` is its name."""

    def __init__(self, param: str, message: str, kind: str = "invalid_value") -> None:
        super().__init__(400, kind, message)
        self.param = param


class RequestFields:
    """The fields of one JSON object; null is treated as missing.

    Each method returns a field or its default; a field without a default is required. A value of
    another type or out of bounds raises `FieldError`.
    """

    def __init__(self, body: Any, where: str = "") -> None:
        if not isinstance(body, dict):
            name = where or "the body"
            raise FieldError(where, f"{name} expects an object, got {_type_of(body)}")
        self._body = body
        self._where = f"{where}." if where else ""

    def name(self, field: str) -> str:
        """Return the full name of a field in the request."""
        return f"{self._where}{field}"

    def has(self, field: str) -> bool:
        """Return whether a field is present and not null."""
        return self._body.get(field) is not None

    def value(self, field: str) -> Any:
        """Return a required field of any type."""
        if not self.has(field):
            raise FieldError(self.name(field), f"{self.name(field)} is missing")
        return self._body[field]

    def text(self, field: str, default: str | None = None) -> str:
        """Return a string."""
        return str(self._typed(field, str, default))

    def flag(self, field: str, default: bool = False) -> bool:
        """Return a boolean."""
        return bool(self._typed(field, bool, default))

    def items(self, field: str, most: int, *, required: bool = False) -> list[Any]:
        """Return a list of at most `most` items; an optional list defaults to empty."""
        if not required and not self.has(field):
            return []
        found: list[Any] = self._typed(field, list, None)
        if len(found) > most:
            raise FieldError(
                self.name(field),
                f"{self.name(field)} expects at most {most} items, got {len(found)}",
            )
        return found

    def object(self, field: str) -> RequestFields:
        """Return the fields of an object, which defaults to empty."""
        given = self._body.get(field)
        return RequestFields({} if given is None else given, self.name(field))

    def one_of(self, field: str, values: Sequence[str], default: str) -> str:
        """Return a string that must be one of `values`."""
        found = self.text(field, default)
        if found not in values:
            raise FieldError(
                self.name(field),
                f"{self.name(field)} expects {' or '.join(map(repr, values))}, "
                f"got {clip(found, _MAX_SHOWN_CHARACTERS)!r}",
            )
        return found

    def integer(self, field: str, low: int, high: int, default: int | None = None) -> int:
        """Return an integer from `low` to `high`."""
        return int(self._number(field, low, high, default, (int,), "an integer"))

    def number(self, field: str, low: float, high: float, default: float | None = None) -> float:
        """Return a number from `low` to `high`."""
        return float(self._number(field, low, high, default, (int, float), "a number"))

    def _number(
        self, field: str, low: float, high: float, default: Any, kinds: Any, expected: str
    ) -> Any:
        if default is not None and not self.has(field):
            return default
        found = self.value(field)
        if isinstance(found, bool) or not isinstance(found, kinds) or not low <= found <= high:
            shown = _type_of(found) if not isinstance(found, int | float) else _shown(found)
            raise FieldError(
                self.name(field),
                f"{self.name(field)} expects {expected} from {low:,} to {high:,}, got {shown}",
            )
        return found

    def refuse(self, *fields: str, reason: str = "this server does not support it") -> None:
        """Raise for a field that is set to a truthy value, since it would be ignored."""
        for field in fields:
            if self._body.get(field):
                raise FieldError(
                    self.name(field),
                    f"{self.name(field)}: {reason}; leave it out",
                    "unsupported_parameter",
                )

    def _typed(self, field: str, kind: type, default: Any) -> Any:
        if default is not None and not self.has(field):
            return default
        found = self.value(field)
        if not isinstance(found, kind):
            raise FieldError(
                self.name(field),
                f"{self.name(field)} expects {_NAMES[kind]}, got {_type_of(found)}",
            )
        return found


def _type_of(value: Any) -> str:
    return _NAMES.get(type(value), type(value).__name__)


def _shown(number: float) -> str:
    large = isinstance(number, int) and abs(number) >= 10**18
    return "a larger number" if large else repr(number)
