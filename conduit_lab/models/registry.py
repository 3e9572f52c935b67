"""Models: the loaded models of an app by name, with their cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from conduit_lab.core.errors import UnknownName
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.views import figures
from conduit_lab.core.views.view import Table, View, Viewed
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.load import AnyModel
from conduit_lab.runtime.sessions.cache import sessions

_COLUMNS = ("model", "device", "size", "calls", "mean time", "hits", "state")
_NUMERIC = ("size", "calls", "mean time", "hits")


class Models(Sequence[AnyModel], Viewed):
    """The models of an app in loading order; `models["topic"]` is the newest of that name.

    A model that is loaded again replaces the older one. `budget` is the memory that the weights of
    all models of this process may take, in bytes; beyond it the least recently used are evicted,
    and opened again at their next use.
    """

    def __init__(self) -> None:
        self._models: list[AnyModel] = []

    def add(self, model: AnyModel) -> None:
        """Add `model`, in place of one of the same name and file."""
        others = [known for known in self._models if _identity(known) != _identity(model)]
        self._models = [*others, model]  # a new list: a server may be reading the old one

    @property
    def budget(self) -> int:
        """The memory that the weights of all models of this process may take, in bytes."""
        return sessions.budget

    @budget.setter
    def budget(self, size: int) -> None:
        sessions.budget = size

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return self._models[key]
        for model in reversed(self._models):
            if model.name == key:
                return model
        names = list(dict.fromkeys(model.name for model in self))
        known = ", ".join(names) or "none yet"
        raise UnknownName(f"no model {key!r}; there are {known}{did_you_mean(key, names)}")

    def __len__(self) -> int:
        return len(self._models)

    def __iter__(self) -> Iterator[AnyModel]:
        return iter(self._models)

    def _ipython_key_completions_(self) -> list[str]:
        return [model.name for model in self]

    def _table(self) -> Table:
        rows = [(model.name, *_figures(model)) for model in self]
        return Table(_COLUMNS, rows, numeric=_NUMERIC)

    def _facts(self) -> list[str]:
        facts = [f"{figures.size(sessions.size)} of {figures.size(sessions.budget)} in use"]
        facts += [figures.plural(sessions.evictions, "eviction")] if sessions.evictions else []
        return facts + (
            [figures.plural(sessions.preloader.preloads, "preload")]
            if sessions.preloader.preloads
            else []
        )

    def __repr__(self) -> str:
        return f"{self._table().plain()}\n{' · '.join(self._facts())}"

    def _view(self) -> View:
        return View("Models", str(len(self)), self._facts(), [self._table()])


def _identity(model: AnyModel) -> tuple[str, Any]:
    return model.name, getattr(model, "path", None)


def _figures(model: AnyModel) -> tuple[str, ...]:
    """Return device, size, calls, mean time, hits and state; opens nothing."""
    shared = model.held
    if shared is None:
        python = isinstance(model, CallableModel)
        return ("python", "", "", "", "", "") if python else ("", "", "", "", "", "not opened")
    mean = figures.seconds(shared.seconds / shared.calls) if shared.calls else ""
    device = shared.state if shared.loaded else ""
    state = ("loaded" if shared.loaded else "evicted") + (f": {shared.note}" if shared.note else "")
    return (
        device,
        figures.size(shared.size),
        figures.count(shared.calls),
        mean,
        figures.count(shared.hits),
        state,
    )
