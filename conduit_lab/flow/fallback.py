"""Fallback: the first stage that succeeds."""

from __future__ import annotations

import logging
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.core.trace import recorder

log = logging.getLogger("conduit_lab")


class Fallback(Stage):
    """The first stage whose call succeeds; bad input is the caller's and is raised at once.

    Each failure is logged with its reason, and the trace holds the failed span beside the one that answered.
    """

    def __init__(self, *stages: Any, name: str = "fallback") -> None:
        if not stages:
            raise ValueError(f"fallback {name!r} has no stages: wanted at least one")
        self.stages = tuple(as_stage(stage) for stage in stages)
        self.name = name

    def run(self, value: Any) -> Any:
        """Return the answer of the first stage that gives one; raises the last stage's error if none does."""
        for stage in self.stages[:-1]:
            try:
                result = stage(value)
            except InputError:
                raise
            except Exception as error:
                log.warning("%s: %s failed, trying the next: %s", self.name, stage.name, error)
            else:
                return self._answered(stage, result)
        return self._answered(self.stages[-1], self.stages[-1](value))

    def _answered(self, stage: Stage, result: Any) -> Any:
        if stage is not self.stages[0]:
            recorder.stood_in(stage.name)
        return result
