"""Tries: the stages of a Fallback in the order in which one call tries them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from conduit_lab.core.errors import InputError
from conduit_lab.core.stage import Stage
from conduit_lab.core.streams.ownership import cancelled
from conduit_lab.core.trace import recorder
from conduit_lab.flow.breaker import CircuitBreaker

_log = logging.getLogger("conduit_lab")


class Tries:
    """The tries of one call of the Fallback `name`; iterating yields the stage of each.

    Call either `failed` or `succeeded` after each stage; a failure before iterating counts for the
    first stage. `breakers` has None for a stage without a circuit.
    """

    def __init__(
        self,
        name: str,
        stages: Sequence[Stage],
        breakers: Sequence[CircuitBreaker | None],
        retries: int,
    ) -> None:
        self._name = name
        self._stages = stages
        self._breakers = breakers
        self._retries = retries
        self._place = 0
        self._error: Exception | None = None
        self._notes: dict[str, None] = {}  # distinct, in order

    def __iter__(self) -> Iterator[Stage]:
        stages = self._stages
        begin = 0
        if self._error is not None:
            begin = 1
            if len(stages) > 1:
                self._report(stages[0], self._error, "the next")
        for place in range(begin, len(stages)):
            stage, breaker = stages[place], self._breakers[place]
            self._place = place
            if breaker is not None and not breaker.admit():
                self._notes[f"{breaker.name} was skipped, its circuit is open"] = None
                continue
            for left in range(self._retries, -1, -1):
                yield stage
                again = left > 0 and not (breaker is not None and breaker.is_open)
                if self._error is not None and (again or place + 1 < len(stages)):
                    self._report(stage, self._error, "it again" if again else "the next")
                if not again:
                    break

    def failed(self, error: BaseException) -> bool:
        """Record the failure of the current try; return False if the call ends with it.

        Bad input, an interrupt or a cancellation ends the call.
        """
        breaker = self._breakers[self._place]
        if isinstance(error, InputError) or not isinstance(error, Exception) or cancelled():
            if breaker is not None:
                breaker.withdraw()
            self._annotate(error)
            return False
        if breaker is not None:
            breaker.fail()
        self._drop_error()
        self._error = error
        return True

    def succeeded(self) -> None:
        """Record that the current try succeeded."""
        self._drop_error()
        if (breaker := self._breakers[self._place]) is not None:
            breaker.succeed()
        if self._place > 0:
            name = self._stages[self._place].name
            recorder.annotate(fallback=name)
            _log.info("%s: %s answered", self._name, name)

    def _drop_error(self) -> None:
        """Discard an error once another try replaces it.

        Its frames hold the values of the call, and the future of a thread that holds the error.
        """
        if self._error is not None:
            self._error.__traceback__ = None
            self._error = None

    def error(self) -> Exception:
        """Return the last error, with a note for each earlier one; drop it from `self`."""
        error, self._error = self._error, None
        if error is None:
            raise RuntimeError(f"{self._name}: no try has failed")
        self._annotate(error)
        return error

    def _annotate(self, error: BaseException) -> None:
        present = getattr(error, "__notes__", ())
        for note in self._notes:
            if note not in present:  # the same exception object may be raised by many calls
                error.add_note(note)

    def _report(self, stage: Stage, error: Exception, following: str) -> None:
        text = str(error)  # a log record must not keep the error's frames and their values alive
        _log.warning("%s: %s failed, trying %s: %s", self._name, stage.name, following, text)
        self._notes[f"{self._name}: {stage.name} failed before: {_described(error)}"] = None


def _described(error: Exception) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
