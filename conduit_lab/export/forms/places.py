"""ObjectPlaces: where the pieces written so far hold each mutable object."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

from conduit_lab.export.state.anatomy import instance_parts

_SEQUENCES = (list, tuple, deque)
_MAPPINGS = (dict, OrderedDict, defaultdict)
_KEYS = (str, int, bytes, bool, type(None))
_FIXED = (str, int, float, complex, bytes, type(None), type(Ellipsis), type)


class ObjectPlace(NamedTuple):
    """The place of an object: an expression that begins with a name of the session."""

    name: str
    expression: str


class ObjectPlaces:
    """The objects reachable from the names written so far, each with its first place.

    A list that two containers hold is written into the first; the second refers to it.
    """

    def __init__(self, own: str = "__main__") -> None:
        self._own = own  # module of the session's classes
        self._found: dict[
            int, tuple[ObjectPlace, Any]
        ] = {}  # keeps the objects alive, so that no id is reused

    def of(self, value: Any) -> ObjectPlace | None:
        """Return the place of this object (by identity), or None."""
        found = self._found.get(id(value))
        return None if found is None else found[0]

    def record(self, name: str, value: Any) -> None:
        """Record the places of an object and of everything it contains."""
        pending = [(name, value)]
        while pending:
            expression, each = pending.pop()
            if isinstance(each, _FIXED) and each == each:  # a NaN equals only itself
                continue
            if id(each) in self._found and expression != name:
                continue
            self._found.setdefault(id(each), (ObjectPlace(name, expression), each))
            pending += ((expression + step, part) for step, part in self.parts(each))

    def record_part(self, name: str, part: str, value: Any) -> None:
        """Record that the piece of `name` binds an object to `part`."""
        self._found.setdefault(id(value), (ObjectPlace(name, part), value))

    def parts(self, value: Any) -> Iterator[tuple[str, Any]]:
        """Yield the parts of a container or a plain object, each with its index or attribute."""
        if type(value) in _SEQUENCES:
            yield from ((f"[{number}]", part) for number, part in enumerate(value))
        elif type(value) in _MAPPINGS:
            yield from ((f"[{key!r}]", part) for key, part in value.items() if type(key) in _KEYS)
        elif type(value) is SimpleNamespace or type(value).__module__ == self._own:
            attributes = [
                (f".{name}", part) for name, part in getattr(value, "__dict__", {}).items()
            ]
            found = attributes or list(instance_parts(value))  # of slots
            yield from ((step, part) for step, part in found if step[1:].isidentifier())
