"""Verdict: what became of a notebook's export, and whether that is right."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conduit_lab.core.errors import ExportError
from conduit_lab.export.proof import WrongAnswer
from tests.export.notebooks.notebook import Answer, Notebook

RIGHT = ("equal", "refused")
WRONG = (
    "silently wrong",
    "silently broken",
    "leak",
    "crash",
    "wrongly refused",
    "refused for another reason",
    "not refused",
)
_REFUSALS = ("", ExportError.__name__, WrongAnswer.__name__)  # types of errors


@dataclass
class Observed:
    """The error of the export with its type, and the answers of the session and the export.

    `broken` tells why the exported app does not start, `leaked` are the secrets that were found.
    """

    error: str = ""
    error_type: str = ""
    broken: str = ""
    here: Sequence[Answer] = ()
    there: Sequence[Answer] = ()
    leaked: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """The word for a notebook's outcome, and its detail."""

    word: str
    detail: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the outcome is the expected one."""
        return self.word in RIGHT


def verdict(notebook: Notebook, seen: Observed) -> Verdict:
    """Judge what was seen by what the notebook expects."""
    if seen.leaked:
        return Verdict("leak", f"found {', '.join(seen.leaked)}")
    if seen.error_type not in _REFUSALS:
        return Verdict("crash", f"{seen.error_type}: {seen.error}")
    if seen.error:
        if not notebook.refused:
            return Verdict("wrongly refused", seen.error)
        known = re.search(notebook.refused, seen.error)
        return Verdict("refused" if known else "refused for another reason", seen.error)
    return _of_answers(notebook, seen)


def _of_answers(notebook: Notebook, seen: Observed) -> Verdict:
    if seen.broken:
        return Verdict("silently broken", seen.broken)
    for ask, here, there in zip(notebook.asks, seen.here, seen.there, strict=True):
        if here != there:
            word = "silently broken" if there.status >= 500 else "silently wrong"
            return Verdict(word, f"{ask}: {_shown(here)} here, {_shown(there)} in the export")
    return Verdict("equal" if not notebook.refused or notebook.or_equal else "not refused")


def _shown(answer: Answer) -> str:
    return answer.text if answer.status == 200 else f"status {answer.status}: {answer.text}"


def leaked(folder: Path, error: str, secrets: Iterable[str]) -> list[str]:
    """Return the secrets that a file below `folder`, its name, or the error holds."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        f"{secret} in {path.relative_to(folder).as_posix()}"
        for secret in secrets
        for path in files
        if secret.encode() in path.read_bytes() or secret in path.name
    ] + [f"{secret} in the error" for secret in secrets if secret in error]


def table(verdicts: Iterable[Verdict]) -> str:
    """Return the number of notebooks per verdict, one line each."""
    counts = Counter(each.word for each in verdicts)
    words = [*RIGHT, *WRONG, "not run"]
    return "\n".join(f"{word:<28}{counts[word]:>4}" for word in words if counts[word])
