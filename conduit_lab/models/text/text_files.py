"""TextFiles: the sizes stated in a text model's files, and its tokenizer, checked against them."""

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

_UNLIMITED = 10**9  # transformers writes 1e30 for no limit
# model types whose positions start after pad_token_id, so max_position_embeddings is too large
_OFFSET = (
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
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
_ARCHITECTURES = tuple(name.replace("-", "") for name in _OFFSET)


@dataclass(frozen=True)
class TextFiles:
    """The folder `body` with `config.json` and the tokenizer's files, and one graph."""

    body: Path
    graph: Path

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The object in `config.json`, empty without one."""
        return read_config(self.body / "config.json")

    @cached_property
    def named(self) -> Mapping[str, Any]:
        """The objects in `special_tokens_map.json` and `tokenizer_config.json`."""
        configs = (
            read_config(self.body / name)
            for name in ("special_tokens_map.json", "tokenizer_config.json")
        )
        return {key: value for config in configs for key, value in config.items()}

    @cached_property
    def stated(self) -> TextGraph:
        """The sizes that the graph states."""
        return read_text_graph(self.graph)

    @property
    def padding(self) -> int:
        """The id that pads short rows: some graphs use it to find a text's last token."""
        padding = _number(self.config.get("pad_token_id"), least=0) or 0
        rows = self.stated.vocabulary
        return padding if rows is None or padding < rows else 0

    def max_length(self, default: int, own: int | None = None) -> int:
        """Return the maximum number of tokens: `own` or the tokenizer's, within the positions.

        `default` is returned if no file states a length.
        """
        limit = own or _number(self.named.get("model_max_length"))
        known = [limit, self.stated.positions, self._positions()]
        return min((n for n in known if n is not None), default=default)

    def _positions(self) -> int | None:
        """Return the number of tokens that `config.json` has positions for."""
        keys = ("max_position_embeddings", "n_positions")
        positions = next((n for n in (_number(self.config.get(key)) for key in keys) if n), None)
        if positions is None or self.stated.positions is not None:
            return positions
        known = self.config.get("model_type") in _OFFSET
        if not known and not self._architecture().startswith(_ARCHITECTURES):
            return positions
        padding = _number(self.config.get("pad_token_id"), least=0)
        return positions - (1 if padding is None else padding) - 1

    def _architecture(self) -> str:
        names = self.config.get("architectures")
        first = names[0] if isinstance(names, list) and names else None
        return first.lower() if isinstance(first, str) else ""

    def tokenizer(
        self, max_length: int, *, lower_case: bool = False, stride: int | None = None
    ) -> Tokenizer:
        """Open `tokenizer.json`; raise `ModelLoadError` if it is missing, broken or mismatched."""
        file = self.body / "tokenizer.json"
        tokenizer = Tokenizer(file, max_length, lower_case=lower_case, stride=stride)
        rows = self.stated.vocabulary
        Vocabulary(display(self.body), self.config, self.named, rows).check(tokenizer)
        return tokenizer


def _number(value: Any, least: int = 1) -> int | None:
    """Return an integer of at least `least`, or None for anything else, including no limit."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if least <= value < _UNLIMITED else None
