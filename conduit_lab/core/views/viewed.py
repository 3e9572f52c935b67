"""Viewed: a mixin that provides a class's repr and MIME bundle.

The view modules are imported when a value is displayed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conduit_lab.core.views.view import View


class Viewed(ABC):
    """Provides a class's repr and MIME bundle, both built from its `View`.

    A class with a shorter repr overrides `__repr__`; the bundle then has that as text.
    """

    __slots__ = ()

    @abstractmethod
    def _view(self) -> View:
        """Return the view. Must not run a model, open a file or touch a device."""

    def __repr__(self) -> str:
        return self._view().plain()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self._view().bundle(repr(self))
