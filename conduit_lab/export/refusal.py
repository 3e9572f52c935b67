"""Refusal: an object that cannot be exported, why, and the line that mends it."""

from __future__ import annotations

from typing import Self

from conduit_lab.core.errors import ExportError


class Refusal(ExportError):
    """One refused object: the `problem`, the `chain` of names that needs it, and the `mend`.

    The message is made of the three. With `ends_with_it` the chain's last name is the object's own.
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
        """Return the error itself where it is a refusal, else one with its message."""
        return error if isinstance(error, cls) else cls(str(error))
