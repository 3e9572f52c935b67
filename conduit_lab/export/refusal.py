"""Refusal: an object that cannot be exported, why, and the code that fixes it."""

from __future__ import annotations

from typing import Self

from conduit_lab.core.errors import ExportError


class Refusal(ExportError):
    """A refused object: the `problem`, the `chain` of names that needs it, and the `mend`.

    The message combines all three. `ends_with_it` says that the chain ends with the object's name.
    """

    def __init__(
        self, problem: str, chain: str = "", mend: str = "", *, ends_with_it: bool = False
    ) -> None:
        self.problem, self.chain, self.mend = problem, chain, mend
        needed = chain if ends_with_it or not chain else f"needed by {chain}"
        sentence = f"{problem} ({needed})" if needed else problem
        super().__init__(f"{sentence}: {mend}" if mend else sentence)

    @classmethod
    def of(cls, error: ExportError) -> Self:
        """Return the error itself if it is a refusal, or wrap its message in one."""
        return error if isinstance(error, cls) else cls(str(error))
