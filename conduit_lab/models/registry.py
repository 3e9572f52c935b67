"""Models: the loaded models of an app by name, with their costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from weakref import ref

from conduit_lab.core import views
from conduit_lab.core.errors import UnknownName
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.trace.stage_statistics import StageStatistics, cost_cells
from conduit_lab.core.views import figures
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.models.file_model import FileModel
from conduit_lab.models.load import AnyModel, loose_remote_models
from conduit_lab.runtime.sessions.cache import sessions

_COLUMNS = ("model", "kind", "device", "size", "calls", "p50", "runs", "mean run", "hits", "state")
_NUMERIC = ("size", "calls", "p50", "runs", "mean run", "hits")


class Models(Sequence[AnyModel], Viewed):
    """The models of an app in loading order; `models["topic"]` is the newest with that name.

    A model that is loaded again replaces the older one, which a server still opens while code
    references it. `calls` and `p50` come from the app's `statistics`, which count calls within an
    endpoint; `runs` are all runs of the model's session. `budget` limits the memory for the weights
    of all models of this process, in bytes; beyond it the least recently used models are evicted,
    and reopened on their next use.
    """

    def __init__(self, statistics: StageStatistics | None = None) -> None:
        self._models: list[AnyModel] = []
        self._replaced: list[ref[AnyModel]] = []
        self._statistics = StageStatistics() if statistics is None else statistics

    def add(self, model: AnyModel) -> None:
        """Add `model`, replacing one with the same name and file."""
        others = [known for known in self._models if _identity(known) != _identity(model)]
        if isinstance(model, FileModel):
            loose_remote_models.discard(model)
        kept = {id(each) for each in (*others, model)}
        self._replaced = [ref(each) for each in self.in_use if id(each) not in kept]
        self._models = [*others, model]  # a new list: a server may be reading the old one

    @property
    def in_use(self) -> list[AnyModel]:
        """The models, and those replaced ones that a variable or a stage still holds."""
        replaced = (each() for each in self._replaced)
        return [*(model for model in replaced if model is not None), *self._models]

    @property
    def budget(self) -> int:
        """The memory limit for the weights of all models of this process, in bytes."""
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

    def summary(self) -> views.Table:
        """Return a table of name, device, size, calls and p50; opens nothing.

        For a model without calls within an endpoint it shows runs and their mean time.
        """
        rows: list[tuple[Any, ...]] = []
        for model, cost in zip(self, self._costs(), strict=True):
            device, size, runs, mean, _, state = _figures(model)
            cells: tuple[Any, ...] = cost
            if runs and not cost[0]:
                noun = " run" if runs == "1" else " runs"
                cells = views.Cell(runs, suffix=noun), views.Cell(mean, suffix=" mean")
            rows.append((model.name, device or state, size, *cells))
        return views.Table(("model", "device", "size", "calls", "p50"), rows, numeric=_NUMERIC[:3])

    def _costs(self) -> list[tuple[str, views.Cell]]:
        return cost_cells([self._statistics.get(model.name) for model in self])

    def _table(self) -> views.Table:
        rows = []
        for model, cost in zip(self, self._costs(), strict=True):
            device, size, *runs, state = _figures(model)
            rows.append((model.name, type(model).__name__, device, size, *cost, *runs, state))
        return views.Table(_COLUMNS, rows, numeric=_NUMERIC)

    def _facts(self) -> list[str]:
        facts = [f"{figures.size(sessions.size)} of {figures.size(sessions.budget)} in use"]
        facts += [figures.plural(sessions.evictions, "eviction")] if sessions.evictions else []
        return facts + (
            [figures.plural(sessions.preloader.preloads, "preload")]
            if sessions.preloader.preloads
            else []
        )

    def _view(self) -> views.View:
        call = views.Code(['model = lab.load_model("path/to/model.onnx")'], "to load one:")
        pieces = [] if self._models else [call]
        facts = [str(len(self)), *self._facts()]
        return views.View("Models", "", facts, [self._table()], pieces=pieces)


def _identity(model: AnyModel) -> tuple[str, Any]:
    return model.name, getattr(model, "path", None)


def _figures(model: AnyModel) -> tuple[str, str, str, str, str, str]:
    """Return device, size, runs, mean time of a run, hits and state; opens nothing."""
    shared = model.held
    if shared is None:
        if getattr(model, "path", None) is None:  # a Python function
            return "python", "", "", "", "", ""
        return "", "", "", "", "", "not opened"
    runs = shared.calls
    state = ("loaded" if shared.loaded else "evicted") + (f": {shared.note}" if shared.note else "")
    return (
        shared.state if shared.loaded else "",
        figures.size(shared.size),
        figures.count(runs) if runs else "",
        figures.seconds(shared.seconds / runs) if runs else "",
        figures.count(shared.hits) if shared.hits else "",
        state,
    )
