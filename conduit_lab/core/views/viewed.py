"""Viewed: the mixin that gives a class its repr and its MIME bundle.

The views that it makes are loaded when a value is shown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conduit_lab.core.views.view import View


class Viewed(ABC):
    """Gives a class its repr and its MIME bundle, both made of its `View`.

    A class with a shorter repr of its own overrides `__repr__`; the bundle then has that as text.
    """

    __slots__ = ()

    @abstractmethod
    def _view(self) -> View:
        """Return the view. It never runs a model, opens a file or touches a device."""

    def __repr__(self) -> str:
        return self._view().plain()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self._view().bundle(repr(self))
