"""TokenizedModel: a folder model with a graph and a tokenizer, the base of all text models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from conduit_lab.core.trace import recorder
from conduit_lab.core.views import figures
from conduit_lab.models.folder_model import FolderModel
from conduit_lab.models.text.token_graph import TokenGraph
from conduit_lab.models.text.tokenizer import Tokenizer
from conduit_lab.runtime.sessions.cache import Shared

MAX_WINDOW_TEXTS = 2048  # texts or pairs tokenised and sorted by length together

GraphT = TypeVar("GraphT", bound=TokenGraph)


@dataclass(frozen=True)
class OpenedTokens(Generic[GraphT]):
    """An opened folder: its graph file, its tokenizer, and the graph that takes token ids."""

    graph: Path
    tokenizer: Tokenizer
    token_graph: GraphT

    @property
    def shared(self) -> Shared:
        """The opened graph."""
        return self.token_graph.shared


_Parts = TypeVar("_Parts", bound=OpenedTokens[Any])


class TokenizedModel(FolderModel[_Parts]):
    """A folder model that truncates its texts, or reads them in windows, at `max_length` tokens."""

    @property
    def max_length(self) -> int:
        """The maximum number of tokens per run, including special tokens."""
        return self._parts().tokenizer.max_length

    def _more_facts(self, opened: _Parts) -> list[tuple[str, str]]:
        return [
            ("max length", f"{opened.tokenizer.max_length} tokens"),
            ("vocabulary", f"{figures.count(opened.tokenizer.vocabulary_size)} tokens"),
            ("calls", opened.shared.statistics()),
        ]


@dataclass
class TruncationCount:
    """Counts the truncated inputs of a call and reports them in its span."""

    noun: str
    max_length: int
    inputs: int = 0
    truncated: int = 0

    def add(self, encodings: Sequence[Any]) -> None:
        """Count the encodings of a window of inputs."""
        self.inputs += len(encodings)
        self.truncated += sum(bool(encoding.overflowing) for encoding in encodings)
        if self.truncated:
            total = figures.plural(self.inputs, self.noun)
            recorder.annotate(detail=f"{self.truncated} of {total} cut at {self.max_length} tokens")
