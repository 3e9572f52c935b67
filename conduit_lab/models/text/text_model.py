"""TextModel: base class of models that read whole texts: input checks, windows, coalesced runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Protocol, TypeVar

import anyio.to_thread

from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.progress import Progress, progress
from conduit_lab.core.spec import TEXT_SPEC, Array, TensorSpec
from conduit_lab.models.text.token_graph import TokenRows
from conduit_lab.models.text.tokenized_model import (
    MAX_WINDOW_TEXTS,
    GraphT,
    OpenedTokens,
    TokenizedModel,
)
from conduit_lab.models.text.tokenizer import TextOrPair
from conduit_lab.runtime.batching.batcher import Batcher

# per call in an event loop; tokenising more would block the loop for over a millisecond
MAX_LOOP_CHARACTERS = 8192


class TextColumn(Protocol):
    """A 1-D NumPy array or a pandas Series of texts."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    def tolist(self) -> list[Any]:
        """Return the texts as a list."""


Texts = Sequence[str] | TextColumn  # one text is a str, which is a Sequence[str]
TextPair = Mapping[str, str]  # {"text": …, "text_pair": …}


@dataclass(frozen=True)
class OpenedText(OpenedTokens[GraphT]):
    """An opened folder; concurrent calls share runs through `batcher`."""

    batcher: Batcher[TokenRows, Any]


_Parts = TypeVar("_Parts", bound=OpenedText[Any])
Encode = Callable[[Sequence[Any]], TokenRows]


class TextModel(TokenizedModel[_Parts]):
    """A folder model that processes a text, or each text of a list, tuple, 1-D array or Series."""

    takes_pairs = False  # {"text": …, "text_pair": …} beside a text

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """One text, or several."""
        return (TEXT_SPEC,)

    def _takes(self, opened: _Parts) -> tuple[TensorSpec, ...]:
        return (TEXT_SPEC,)

    @abstractmethod
    def _encoder(self, opened: _Parts) -> Encode:
        """Return the function that converts texts to rows of token ids."""

    @abstractmethod
    def _whole(self, opened: _Parts, parts: Sequence[tuple[Any, Any]], value: Any) -> Any:
        """Return the answer to `value` from the rows and answers of its windows."""

    def run(self, value: Any) -> Any:
        """Answer without a trace; call the model itself instead."""
        opened = self._parts()
        return self._whole(opened, self._run_windows(opened, value, self._encoder(opened)), value)

    def batch(self, values: Sequence[Any]) -> list[Any]:
        """Return one answer per text, batched together."""
        return list(self(values)) if all(map(self._is_one, values)) else super().batch(values)

    def repeat(self, sample: Any, rows: int | None = None) -> tuple[Any, int]:
        """Return one or more texts, optionally repeated to `rows`, and their number."""
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
        """Return the graph's input arrays for `texts`, one dict per run."""
        opened = self._parts()
        encode = self._encoder(opened)
        rows = map(encode, self._windows(texts))
        return [feeds for window in rows for feeds in opened.token_graph.feeds(window)]

    def _run_windows(
        self, opened: _Parts, value: Any, encode: Encode
    ) -> list[tuple[TokenRows, Any]]:
        parts = []
        with self._progress(value) as job:
            for window in self._windows(value):
                rows = encode(window)
                with opened.shared.recorded():
                    answer = opened.batcher.call(rows, len(rows.ids), self.options.timeout)
                parts.append((rows, answer))
                job.step(len(window))
        return parts

    async def arun(self, value: Any) -> Any:
        """Answer without blocking the event loop; texts of concurrent calls share their runs."""
        if not self.loaded:
            await anyio.to_thread.run_sync(self._load)
        opened = self._parts()
        encode = self._encoder(opened)
        parts = []
        with self._progress(value) as job:
            for window in self._windows(value):
                if sum(map(_characters, window)) <= MAX_LOOP_CHARACTERS:
                    rows = encode(window)
                else:
                    rows = await anyio.to_thread.run_sync(encode, window)
                with opened.shared.recorded():
                    answer = await opened.batcher.acall(rows, len(rows.ids), self.options.timeout)
                parts.append((rows, answer))
                job.step(len(window))
        return self._whole(opened, parts, value)

    @contextmanager
    def _progress(self, value: Any) -> Iterator[Progress]:
        """Show the progress of a call with several texts."""
        if self._is_one(value) or not isinstance(value, Sized):
            yield Progress(None, "text", self.name)
            return
        method, _, _ = self.main_call.partition("(")
        with progress(len(value), "text", f"{self.name}.{method}") as job:
            yield job

    def _is_one(self, value: Any) -> bool:
        """Return whether `value` is one text, or one pair of texts."""
        return isinstance(value, str) or (self.takes_pairs and isinstance(value, Mapping))

    def _windows(self, value: Any) -> Iterator[Sequence[Any]]:
        """Yield the texts in windows, between which a long call can be interrupted."""
        texts: Any = [value] if self._is_one(value) else value
        if not isinstance(texts, Sequence) and _is_column(texts):
            texts = texts.tolist()
        if not isinstance(texts, Sequence) or not all(map(self._is_one, texts)):
            pair = ", or pairs {'text': …, 'text_pair': …}" if self.takes_pairs else ""
            raise ModelInputError(
                f"{self.name!r} expects a text or a list of texts{pair}, got {type_names(value)}"
            )
        if self.takes_pairs:
            texts = [text if isinstance(text, str) else self._pair(text) for text in texts]
        starts = range(0, len(texts), MAX_WINDOW_TEXTS)
        return (texts[start : start + MAX_WINDOW_TEXTS] for start in starts)

    def _pair(self, value: Mapping[str, Any]) -> TextOrPair:
        """Return the text, or the two texts, of `{"text": …, "text_pair": …}`."""
        text, other = value.get("text"), value.get("text_pair", "")
        unknown = set(value) - {"text", "text_pair"}
        if unknown or not isinstance(text, str) or not isinstance(other, str):
            raise ModelInputError(
                f"{self.name!r} expects {{'text': …, 'text_pair': …}} with two texts, "
                f"got {str(dict(value))[:100]}"
            )
        return (text, other) if "text_pair" in value else text


def type_names(value: Any) -> str:
    """Return the type of a value for an error, and the types of a list's items."""
    if isinstance(value, list | tuple):
        names = sorted({type(item).__name__ for item in value})
        return f"a list of {', '.join(names) or 'nothing'}"
    return type(value).__name__


def _is_column(value: Any) -> bool:
    return getattr(value, "ndim", 0) == 1 and hasattr(value, "tolist")


def _characters(text: TextOrPair) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))
