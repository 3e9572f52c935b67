"""TextFiles: the sizes that the files of a text model state, and its tokenizer, checked against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from conduit_lab.core.paths import display
from conduit_lab.models.config import read_config
from conduit_lab.models.text.tokenizer import Tokenizer
from conduit_lab.models.text.vocabulary import Vocabulary
from conduit_lab.runtime.sessions.text_graph import TextGraph, read_text_graph

_UNSET = 10**9  # transformers writes 1e30 for "as many as you like"
# their positions begin behind that of padding, so max_position_embeddings counts pad_token_id + 1
# too many
_OFFSET = (
    *(
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "mluke",
    ),
    *("mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
)
_ARCHITECTURES = tuple(name.replace("-", "") for name in _OFFSET)


@dataclass(frozen=True)
class TextFiles:
    """`config.json`, the tokenizer's files and one graph; `body` is the folder that has the first two."""

    body: Path
    graph: Path

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The object in `config.json`, empty without one."""
        return read_config(self.body / "config.json")

    @cached_property
    def named(self) -> Mapping[str, Any]:
        """The objects in `special_tokens_map.json` and `tokenizer_config.json`."""
        names = ("special_tokens_map.json", "tokenizer_config.json")
        return {
            key: value for name in names for key, value in read_config(self.body / name).items()
        }

    @cached_property
    def stated(self) -> TextGraph:
        """The sizes that the graph states."""
        return read_text_graph(self.graph)

    @property
    def padding(self) -> int:
        """The id that fills up short rows: some graphs find a text's last token by it."""
        padding = _number(self.config.get("pad_token_id"), least=0) or 0
        rows = self.stated.vocabulary
        return padding if rows is None or padding < rows else 0

    def max_length(self, default: int, own: int | None = None) -> int:
        """Return the tokens that a text may have: `own` or the tokenizer's limit, and no more than
        positions.

        `default` is the length where no file says how many.
        """
        known = [
            own or _number(self.named.get("model_max_length")),
            self.stated.positions,
            self._positions(),
        ]
        return min((n for n in known if n is not None), default=default)

    def _positions(self) -> int | None:
        """Return the tokens that `config.json` has positions for."""
        keys = ("max_position_embeddings", "n_positions")
        positions = next((n for n in (_number(self.config.get(key)) for key in keys) if n), None)
        if positions is None or self.stated.positions is not None:
            return positions
        offset = self.config.get("model_type") in _OFFSET or self._architecture().startswith(
            _ARCHITECTURES
        )
        if not offset:
            return positions
        padding = _number(self.config.get("pad_token_id"), least=0)
        return positions - (1 if padding is None else padding) - 1

    def _architecture(self) -> str:
        names = self.config.get("architectures")
        return (
            names[0].lower()
            if isinstance(names, list) and names and isinstance(names[0], str)
            else ""
        )

    def tokenizer(
        self, max_length: int, *, lower_case: bool = False, stride: int | None = None
    ) -> Tokenizer:
        """Open `tokenizer.json`; `ModelLoadError` for one that is missing, broken or of another model."""
        tokenizer = Tokenizer(
            self.body / "tokenizer.json", max_length, lower_case=lower_case, stride=stride
        )
        Vocabulary(display(self.body), self.config, self.named, self.stated.vocabulary).check(
            tokenizer
        )
        return tokenizer


def _number(value: Any, least: int = 1) -> int | None:
    """Return a whole number of at least `least`; None for anything else, and for a number that stands for none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and least <= value < _UNSET
        else None
    )
