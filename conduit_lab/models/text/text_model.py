"""TextModel: the base of models that read whole texts: input checks, and batching with other callers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Any, Protocol, TypeVar

import anyio.to_thread

from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.spec import Array
from conduit_lab.models.folder_model import FolderModel, OpenedFolder
from conduit_lab.models.text.token_graph import Rows, TokenGraph
from conduit_lab.models.text.tokenizer import Text
from conduit_lab.runtime.batching.batcher import Batcher

WINDOW = 2048  # texts that are tokenised and sorted together
# characters; tokenising more of them would hold an event loop up for more than a millisecond
SHORT = 8192


class OpenedText(OpenedFolder, Protocol):
    """An opened graph whose runs concurrent calls share."""

    @property
    def token_graph(self) -> TokenGraph:
        """The graph that takes token ids."""

    @property
    def joined(self) -> Batcher[Rows, Any]:
        """Join the rows of concurrent calls."""


Parts = TypeVar("Parts", bound=OpenedText)
Encode = Callable[[Sequence[Any]], Rows]


class TextModel(FolderModel[Parts]):
    """A folder model that answers a text, or each text of a list, tuple, 1-D array or Series."""

    takes_pairs = False  # {"text": …, "text_pair": …} beside a text

    @abstractmethod
    def _encoder(self, opened: Parts) -> Encode:
        """Return the function that turns texts into rows of token ids."""

    @abstractmethod
    def _whole(self, opened: Parts, parts: Sequence[tuple[Rows, Any]], value: Any) -> Any:
        """Return the answer to `value` from the rows and answers of its windows."""

    def run(self, value: Any) -> Any:
        """Answer without a trace; call the model itself instead."""
        opened = self._parts()
        return self._whole(opened, self._run_windows(opened, value, self._encoder(opened)), value)

    def batch(self, values: Sequence[Any]) -> list[Any]:
        """Return one answer per text, computed together."""
        return list(self(values)) if all(map(self._is_one, values)) else super().batch(values)

    def repeat(self, sample: Any, rows: int | None = None) -> tuple[Any, int]:
        """Return a text or texts repeated to `rows` or as they are, and the texts in it."""
        if self._is_one(sample) and rows in (None, 1):
            return sample, 1
        given = [sample] if self._is_one(sample) else list(sample)
        if not given:
            raise ModelInputError(
                f"the sample for {self.name!r} is empty: expected at least one text"
            )
        texts = list(islice(cycle(given), rows or len(given)))
        return texts, len(texts)

    def feeds(self, texts: Any) -> list[dict[str, Array]]:
        """Return the arrays that the graph is fed for `texts`, run by run."""
        opened = self._parts()
        encode = self._encoder(opened)
        return [
            feeds
            for window in self._windows(texts)
            for feeds in opened.token_graph.feeds(encode(window))
        ]

    def _run_windows(self, opened: Parts, value: Any, encode: Encode) -> list[tuple[Rows, Any]]:
        parts = []
        for window in self._windows(value):
            rows = encode(window)
            with opened.shared.recorded():
                parts.append((rows, opened.joined.call(rows, len(rows.ids), self.options.timeout)))
        return parts

    async def arun(self, value: Any) -> Any:
        """Answer from an event loop, which stays free; texts of concurrent calls share their runs."""
        if not self.loaded:
            await anyio.to_thread.run_sync(self._load)
        opened = self._parts()
        encode = self._encoder(opened)
        parts = []
        for window in self._windows(value):
            if sum(map(_characters, window)) <= SHORT:
                rows = encode(window)
            else:
                rows = await anyio.to_thread.run_sync(encode, window)
            with opened.shared.recorded():
                parts.append(
                    (rows, await opened.joined.acall(rows, len(rows.ids), self.options.timeout))
                )
        return self._whole(opened, parts, value)

    def _is_one(self, value: Any) -> bool:
        """Whether `value` is one text, or one pair of texts."""
        return isinstance(value, str) or (self.takes_pairs and isinstance(value, Mapping))

    def _windows(self, value: Any) -> Iterator[Sequence[Any]]:
        """Yield the texts in windows: large enough to sort by length, small enough to heed an interrupt."""
        texts: Any = [value] if self._is_one(value) else value
        if (
            not isinstance(texts, Sequence)
            and getattr(texts, "ndim", 0) == 1
            and hasattr(texts, "tolist")
        ):
            texts = texts.tolist()  # an array or a Series
        if not isinstance(texts, Sequence) or not all(map(self._is_one, texts)):
            pair = ", or pairs {'text': …, 'text_pair': …}" if self.takes_pairs else ""
            raise ModelInputError(
                f"{self.name!r} wants a text or a list of texts{pair}, got {kind_of(value)}"
            )
        if self.takes_pairs:
            texts = [text if isinstance(text, str) else self._pair(text) for text in texts]
        return (texts[start : start + WINDOW] for start in range(0, len(texts), WINDOW))

    def _pair(self, value: Mapping[str, Any]) -> Text:
        """Return the text, or the two texts, of `{"text": …, "text_pair": …}`."""
        text, other = value.get("text"), value.get("text_pair", "")
        if (
            set(value) - {"text", "text_pair"}
            or not isinstance(text, str)
            or not isinstance(other, str)
        ):
            raise ModelInputError(
                f"{self.name!r} expects {{'text': …, 'text_pair': …}} with two texts, got {str(dict(value))[:100]}"
            )
        return (text, other) if "text_pair" in value else text


def kind_of(value: Any) -> str:
    """Return the type of a value for an error, of a list the types of its items."""
    if isinstance(value, list | tuple):
        return (
            f"a list of {', '.join(sorted({type(item).__name__ for item in value})) or 'nothing'}"
        )
    return type(value).__name__


def _characters(text: Text) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))
