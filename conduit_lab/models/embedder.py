"""Embedder: a sentence-transformers folder that turns text into vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import anyio.to_thread
import numpy as np

from conduit_lab.core import figures
from conduit_lab.core.errors import ModelInputError, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, FloatArray, TensorSpec
from conduit_lab.models.encoder import Encoder, Tokens
from conduit_lab.models.folder import Folder
from conduit_lab.models.folder_model import FolderModel
from conduit_lab.models.tokenizer import Tokenizer
from conduit_lab.runtime.batching import Batcher
from conduit_lab.runtime.cache import Shared, sessions
from conduit_lab.runtime.tuning import read_tuning

_UNCUT = 2**30  # tokens: a text is counted whole
WINDOW = 2048  # texts that are tokenised and sorted together
SHORT = 8192  # characters; tokenising more of them would hold an event loop up for more than a millisecond


@dataclass(frozen=True)
class _Opened:
    folder: Folder
    graph: Path
    tokenizer: Tokenizer
    encoder: Encoder
    joined: Batcher[Tokens, FloatArray]

    @property
    def shared(self) -> Shared:
        """The opened graph."""
        return self.encoder.shared

    @cached_property
    def counter(self) -> Tokenizer:
        """The tokenizer without a limit."""
        return Tokenizer(self.folder.tokenizer, _UNCUT, lower_case=self.folder.lower_case)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the graph, the tokenizer with its length, the prompts, the pooling and the layers after it."""
        folder, encoder = self.folder, self.encoder
        found = sha256()
        for part in (self.shared.key[0], self.tokenizer.backend.to_str(), folder.prompts, folder.default_prompt):
            found.update(f"{part}\0".encode())
        for layer in (encoder.pooling, *encoder.layers):
            found.update(f"{type(layer).__name__}\0".encode())
            for name, value in sorted(vars(layer).items()) if layer is not None else ():
                found.update(value.tobytes() if isinstance(value, np.ndarray) else f"{name} {value}\0".encode())
        return found.hexdigest()

    def tokens(self, texts: Sequence[str], prompt: str) -> Tokens:
        """Return the token ids of the texts, each with the prompt before it."""
        pooling = self.encoder.pooling
        rows = self.tokenizer.ids([prompt + text for text in texts] if prompt else texts)
        included = not prompt or self.folder.pooling is None or self.folder.pooling.include_prompt
        if not included and pooling is None:
            raise ModelInputError(
                f"{display(self.folder.path)} leaves the tokens of a prompt out of its pooling, and its graph pools by "
                "itself: it takes no prompt; export the graph without pooling"
            )
        return Tokens(rows, 0 if included else self.tokenizer.prompt_tokens(prompt))


class Embedder(FolderModel[_Opened]):
    """An embedding model folder: `model.onnx`, `tokenizer.json` and the configs of sentence-transformers.

    `modules.json` says how tokens become a vector: pooling, dense layers, unit length. Without it they are pooled as
    `1_Pooling/config.json` says (mean by default) and made of unit length. A graph that gives one vector a text is
    not pooled again. `variant` chooses another graph than `model.onnx`: "int8" is `model_int8.onnx`; both may lie in
    the folder `onnx/`. `device`, `fallback` and `timeout` are those of `Options`. Opened at `open()`, or at the first
    use.
    """

    kind = "encode"

    # Life

    def _open(self) -> _Opened:
        folder = Folder.read(self.path)
        graph = folder.graph(self.variant)
        tokenizer = Tokenizer(folder.tokenizer, folder.max_length, lower_case=folder.lower_case)
        if folder.vocabulary is not None and tokenizer.vocabulary_size > folder.vocabulary:
            raise ModelLoadError(
                f"{display(self.path)} has a tokenizer of {tokenizer.vocabulary_size} tokens and a model of "
                f"{folder.vocabulary}: the tokenizer.json belongs to another model"
            )
        tuned = read_tuning(graph)
        shared = sessions.open(graph, self.options if tuned is None else tuned.options(self.options))
        encoder = Encoder(folder, shared, tokenizer.vocabulary_size)
        return _Opened(folder, graph, tokenizer, encoder, Batcher(self.name, encoder))

    @property
    def dimension(self) -> int:
        """Length of one vector."""
        return self._parts().encoder.dimension

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """One vector a text."""
        return (TensorSpec("embedding", "float32", ("batch", self.dimension)),)

    @property
    def max_length(self) -> int:
        """Tokens of a text that are read; what is longer is cut."""
        return self._parts().folder.max_length

    @property
    def fingerprint(self) -> str:
        """A hash of all that its vectors depend on, files and settings, wherever they lie; 64 hex digits."""
        return self._parts().fingerprint

    @property
    def prompts(self) -> dict[str, str]:
        """The folder's prompts by name."""
        return dict(self._parts().folder.prompts)

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text has, those that the model adds included, however long it is."""
        return len(self._parts().counter.ids([text])[0])

    # Work

    def encode(
        self, texts: Any, *, prompt_name: str | None = None, prompt: str | None = None, batch_size: int | None = None
    ) -> FloatArray:
        """Return float32 `[dimension]` for one text, `[n, dimension]` for a list, tuple, 1-D array or Series.

        `prompt` is put before each text; `prompt_name` is one of the folder's own. Without either its default is
        taken, which most folders do not have. `batch_size` is the number of texts in a run; by default it goes by
        their length. Where a graph's vectors depend on what shares the run, as with dynamic int8, it is one: more are
        faster there, and a little less exact. Raises `ModelInputError` for anything else than text and for an unknown
        prompt.
        """
        return self._traced(texts, lambda: self._encode(texts, prompt_name, prompt, batch_size))

    def encode_query(self, texts: Any) -> FloatArray:
        """Return what `encode` does, for what is looked for: with the folder's prompt "query" where it has one."""
        return self.encode(texts, prompt_name=self._first_prompt("query"))

    def encode_document(self, texts: Any) -> FloatArray:
        """Return what `encode` does, for what is stored: with the prompt "document" or "passage" where there is one."""
        return self.encode(texts, prompt_name=self._first_prompt("document", "passage"))

    def _first_prompt(self, *names: str) -> str | None:
        return next((name for name in names if name in self._parts().folder.prompts), None)

    def run(self, value: Any) -> FloatArray:
        """Encode without a trace; call `encode` instead."""
        return self._encode(value)

    def batch(self, values: Sequence[Any]) -> list[Any]:
        """Return one vector for each text, computed together."""
        return list(self(values)) if all(isinstance(value, str) for value in values) else super().batch(values)

    def repeat(self, sample: Any, rows: int | None = None) -> tuple[Any, int]:
        """Return what `encode` takes, a text or texts repeated to `rows` or as they are, and the texts in it."""
        if isinstance(sample, str) and rows in (None, 1):
            return sample, 1
        given = [sample] if isinstance(sample, str) else list(sample)
        if not given:
            raise ModelInputError(f"the sample for {self.name!r} is empty: wanted at least one text")
        texts = list(islice(cycle(given), rows or len(given)))
        return texts, len(texts)

    def feeds(self, texts: Any) -> list[dict[str, Array]]:
        """Return what `encode` hands to the graph for `texts`, run by run."""
        opened = self._parts()
        prompt = self._prompt(opened.folder, None, None)
        return [
            feeds for window in self._windows(texts) for feeds in opened.encoder.feeds(opened.tokens(window, prompt))
        ]

    def _encode(
        self, value: Any, prompt_name: str | None = None, prompt: str | None = None, batch_size: int | None = None
    ) -> FloatArray:
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ModelInputError(f"{self.name!r} wants a batch_size of at least 1, got {batch_size!r}")
        opened = self._parts()
        before = self._prompt(opened.folder, prompt_name, prompt)
        parts = []
        for window in self._windows(value):
            tokens = opened.tokens(window, before)
            if batch_size is None:
                with opened.shared.told():
                    parts.append(opened.joined.call(tokens, len(window), self.options.timeout))
            else:
                parts.append(opened.encoder.vectors(tokens, batch_size))
        return _whole(parts, opened, value)

    async def acall(self, value: Any) -> FloatArray:
        """Encode from an event loop, which stays free; texts of calls that come together share their runs."""
        return await self._atraced(value, self._aencode(value))

    async def _aencode(self, value: Any) -> FloatArray:
        if not self.loaded:
            await anyio.to_thread.run_sync(self._load)
        opened = self._parts()
        prompt = self._prompt(opened.folder, None, None)
        parts = []
        for window in self._windows(value):
            if sum(map(len, window)) <= SHORT:
                tokens = opened.tokens(window, prompt)
            else:
                tokens = await anyio.to_thread.run_sync(opened.tokens, window, prompt)
            with opened.shared.told():
                parts.append(await opened.joined.acall(tokens, len(window), self.options.timeout))
        return _whole(parts, opened, value)

    def _windows(self, value: Any) -> Iterator[Sequence[str]]:
        """Yield the texts, so many at once that neighbours in length are found and an interrupt is heard."""
        texts: Any = [value] if isinstance(value, str) else value
        if not isinstance(texts, Sequence) and getattr(texts, "ndim", 0) == 1 and hasattr(texts, "tolist"):
            texts = texts.tolist()  # an array or a Series
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            raise ModelInputError(f"{self.name!r} wants a text or a list of texts, got {_kind(value)}")
        return (texts[start : start + WINDOW] for start in range(0, len(texts), WINDOW))

    def _prompt(self, folder: Folder, name: str | None, text: str | None) -> str:
        """Return what is put before each text."""
        if name is not None and text is not None:
            raise ModelInputError(f"{self.name!r} wants prompt_name or prompt, got both")
        if text is not None and not isinstance(text, str):
            raise ModelInputError(f"{self.name!r} wants a text as prompt, got {_kind(text)}")
        name = folder.default_prompt if name is None else name
        if text is not None or name is None:
            return text or ""
        if name not in folder.prompts:
            there = f"it has {', '.join(folder.prompts)}" if folder.prompts else "it has none of its own; pass prompt="
            raise ModelInputError(f"{self.name!r} has no prompt {name!r}: {there}")
        return folder.prompts[name]

    # Showing

    def _more_facts(self, opened: _Opened) -> list[tuple[str, str]]:
        folder, encoder = opened.folder, opened.encoder
        rows = [("vector", f"float32 [{encoder.dimension}]"), ("pooling", str(encoder))]
        if folder.prompts:
            named = [f"{name} (default)" if name == folder.default_prompt else name for name in folder.prompts]
            rows.append(("prompts", ", ".join(named)))
        rows.append(("max length", f"{folder.max_length} tokens"))
        rows.append(("vocabulary", f"{figures.count(opened.tokenizer.vocabulary_size)} tokens"))
        rows.append(("calls", opened.shared.statistics()))
        return rows


def _whole(parts: Sequence[FloatArray], opened: _Opened, value: Any) -> FloatArray:
    """Return the windows' vectors as one array, or the one vector of a text."""
    if not parts:
        return np.zeros((0, opened.encoder.dimension), np.float32)
    vectors = parts[0] if len(parts) == 1 else np.concatenate(parts)
    one: FloatArray = vectors[0] if isinstance(value, str) else vectors
    return one


def _kind(value: Any) -> str:
    """Return what `value` is, for an error: its type, or for a list its items' types."""
    if isinstance(value, list | tuple):
        return f"a list of {', '.join(sorted({type(item).__name__ for item in value})) or 'nothing'}"
    return type(value).__name__
