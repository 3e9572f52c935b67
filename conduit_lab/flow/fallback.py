"""Fallback: the first stage that succeeds."""

from __future__ import annotations

import logging
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.core.trace import recorder
from conduit_lab.flow.combinator import Combinator

_log = logging.getLogger("conduit_lab")


class Fallback(Combinator):
    """The first stage whose call succeeds; bad input is the caller's and is raised at once.

    Each failure is logged with its reason, and the trace holds the failed span beside the one that
    answered.
    """

    arrangement = "fallback"

    def __init__(self, *stages: Any, name: str = "fallback") -> None:
        if not stages:
            raise ValueError(f"fallback {name!r} expected at least one stage, got none")
        self.stages = tuple(as_stage(stage) for stage in stages)
        self.name = name
        self.check()

    @property
    def children(self) -> tuple[Stage, ...]:
        """The stages, in the order in which they are tried."""
        return self.stages

    def run(self, value: Any) -> Any:
        """Return the answer of the first stage that gives one, or raise the last one's error."""
        for stage in self.stages[:-1]:
            try:
                result = stage(value)
            except InputError:
                raise
            except Exception as error:
                self._failed(stage, error)
            else:
                return self._answered(stage, result)
        return self._answered(self.stages[-1], self.stages[-1](value))

    async def arun(self, value: Any) -> Any:
        """Await the stages until one succeeds, as `run` calls them."""
        for stage in self.stages[:-1]:
            try:
                result = await stage.acall(value)
            except InputError:
                raise
            except Exception as error:
                self._failed(stage, error)
            else:
                return self._answered(stage, result)
        return self._answered(self.stages[-1], await self.stages[-1].acall(value))

    def _failed(self, stage: Stage, error: Exception) -> None:
        _log.warning("%s: %s failed, trying the next: %s", self.name, stage.name, error)

    def _answered(self, stage: Stage, result: Any) -> Any:
        if stage is not self.stages[0]:
            recorder.annotate(fallback=stage.name)
        return result
