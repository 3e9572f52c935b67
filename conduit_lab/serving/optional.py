"""OptionalModels: models with a fallback, which may fail to load."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ConduitError, ModelLoadError
from conduit_lab.core.stage import Function, Stage
from conduit_lab.models.load import AnyModel, load_model

_log = logging.getLogger("conduit_lab")


class OptionalModels:
    """The models of one app that have a fallback: a failure to load is only a warning."""

    def __init__(self) -> None:
        self._models: list[AnyModel] = []

    def declare(self, source: str | Path, root: Path) -> Stage:
        """Return a model without opening it; for an invalid one, a stage that always fails."""
        try:
            model: AnyModel = load_model(source, root=root, lazy=True)
        except ModelLoadError as error:  # the kind of a folder is read now
            _warn(error)
            return Function(_failing(str(error)), name=Path(source).stem)
        self._models.append(model)
        return model

    def open(self) -> None:
        """Open every model."""
        for model in self._models:
            try:
                model.open()
            except ConduitError as error:
                _warn(error)


def _warn(error: ConduitError) -> None:
    _log.warning("%s; its fallback answers", error)


def _failing(message: str) -> Callable[[Any], Any]:
    """Return a function that raises a `ModelLoadError`."""

    def fail(value: Any) -> Any:
        raise ModelLoadError(message)

    return fail
