"""Stores: the stores of an app by name."""

from __future__ import annotations

from typing import NoReturn

from conduit_lab.core.errors import UnknownName
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.vectors.store import VectorStore


class Stores(dict[str, VectorStore]):
    """The stores of an app; an unknown name is an `UnknownName` with the nearest one."""

    def __missing__(self, name: str) -> NoReturn:
        known = ", ".join(self) or "none yet"
        raise UnknownName(f"no store {name!r}; there are {known}{did_you_mean(str(name), self)}")
