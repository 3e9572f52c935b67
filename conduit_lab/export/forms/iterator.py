"""The form of built-in iterators: the call that makes one, and its position."""

from __future__ import annotations

from typing import Any

from conduit_lab.export.forms.form import Draft
from conduit_lab.export.forms.value import ObjectForm

_CALLS = (iter, reversed, enumerate, zip, map, filter)


class IteratorForm(ObjectForm):
    """An iterator over a list, a text or other iterators continues where the session's stands."""

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call; one that has advanced is bound first, and its position set."""
        call, arguments, *states = value.__reduce__()
        items = ", ".join(draft.named(each) or draft.find(each) for each in arguments)
        made = f"{draft.imported('builtins', call.__name__)}({items})"
        if not _has_advanced(value):
            return made
        name = draft.add_part(value, made)
        last = f"{draft.imported('builtins', 'next')}({name}, None)"  # it is exhausted
        draft.before.append(f"{name}.__setstate__({states[0]!r})" if states else last)
        return name


def _has_advanced(value: Any) -> bool:
    """Return whether an iterator differs from a new one over the same items."""
    call, arguments, *states = value.__reduce__()
    if call in (iter, reversed):
        return bool(call(*arguments).__reduce__() != value.__reduce__())
    return any(states)  # of a strict `zip`; the others advance their arguments


def is_iterator(value: Any) -> bool:
    """Return whether a built-in iterator reveals its position."""
    if type(value).__module__ != "builtins" or not hasattr(type(value), "__next__"):
        return False
    try:
        made = value.__reduce__()
    except TypeError:
        return False
    if not isinstance(made, tuple) or made[0] not in _CALLS:
        return False
    # the iterators of a dict and a set are reduced to lists
    return type(value) in _CALLS or type(made[0](*made[1])) is type(value)
