"""Embedder: a sentence-transformers folder that turns text into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import FloatArray, TensorSpec
from conduit_lab.core.views import figures
from conduit_lab.models.text.encoder import Encoder
from conduit_lab.models.text.folder import Folder
from conduit_lab.models.text.text_files import TextFiles
from conduit_lab.models.text.text_model import Encode, TextModel, kind_of
from conduit_lab.models.text.token_graph import Rows
from conduit_lab.models.text.tokenizer import Tokenizer
from conduit_lab.runtime.batching.batcher import Batcher
from conduit_lab.runtime.measuring.tuning import read_tuning
from conduit_lab.runtime.sessions.cache import Shared, sessions

MAX_LENGTH = 256  # tokens of a text, where no file says how many
_UNCUT = 2**30  # tokens: a text is counted whole
_DOCUMENT = (
    "document",
    "passage",
    "corpus",
)  # names of the prompt for stored texts, as sentence-transformers chooses


@dataclass(frozen=True)
class _Opened:
    folder: Folder
    graph: Path
    tokenizer: Tokenizer
    encoder: Encoder
    joined: Batcher[Rows, FloatArray]

    @property
    def shared(self) -> Shared:
        """The opened graph."""
        return self.encoder.shared

    @property
    def token_graph(self) -> Encoder:
        """The graph with its pooling."""
        return self.encoder

    @cached_property
    def counter(self) -> Tokenizer:
        """The tokenizer without a limit."""
        return Tokenizer(
            self.folder.body / "tokenizer.json", _UNCUT, lower_case=self.folder.lower_case
        )

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the graph, the tokenizer with its length, the prompts, the pooling and the layers after it."""
        folder, encoder = self.folder, self.encoder
        found = sha256()
        for part in (
            self.shared.key[0],
            self.tokenizer.backend.to_str(),
            folder.prompts,
            folder.default_prompt,
        ):
            found.update(f"{part}\0".encode())
        for layer in (encoder.pooling, *encoder.layers):
            found.update(f"{type(layer).__name__}\0".encode())
            for name, value in sorted(vars(layer).items()) if layer is not None else ():
                found.update(
                    value.tobytes()
                    if isinstance(value, np.ndarray)
                    else f"{name} {value}\0".encode()
                )
        return found.hexdigest()

    def tokens(self, texts: Sequence[str], prompt: str) -> Rows:
        """Return the token ids of the texts, each with the prompt before it."""
        pooling = self.encoder.pooling
        rows = self.tokenizer.ids([prompt + text for text in texts] if prompt else texts)
        included = not prompt or self.folder.pooling is None or self.folder.pooling.include_prompt
        if not included and pooling is None:
            raise ModelInputError(
                f"{display(self.folder.path)} leaves the tokens of a prompt out of its pooling, and its graph pools by "
                "itself: it takes no prompt; export the graph without pooling"
            )
        return Rows(rows, skipped=0 if included else self.tokenizer.prompt_tokens(prompt))


class Embedder(TextModel[_Opened]):
    """An embedding model folder: `model.onnx`, `tokenizer.json` and the configs of
    sentence-transformers.

    `modules.json` says how tokens become a vector: pooling, dense layers, unit length. Without it
    they are pooled as `1_Pooling/config.json` says (mean by default) and made of unit length. A
    graph that gives one vector a text is not pooled again. `variant` chooses another graph than
    `model.onnx`: "int8" is `model_int8.onnx`; both may lie in the folder `onnx/`. `device`,
    `fallback` and `timeout` are those of `Options`. Opened at `open()`, or at the first use.
    """

    kind = "encode"

    # Life

    def _open(self) -> _Opened:
        folder = Folder.read(self.path)
        graph = folder.graph(self.variant)
        files = TextFiles(folder.body, graph)
        length = files.max_length(MAX_LENGTH, folder.max_length)
        tokenizer = files.tokenizer(length, lower_case=folder.lower_case)
        tuned = read_tuning(graph)
        shared = sessions.open(
            graph, self.options if tuned is None else tuned.options(self.options)
        )
        encoder = Encoder(folder, shared, tokenizer.vocabulary_size, files.padding)
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
        return self._parts().tokenizer.max_length

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
        self,
        texts: Any,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
    ) -> FloatArray:
        """Return float32 `[dimension]` for one text, `[n, dimension]` for a list, tuple, 1-D array
        or Series.

        `prompt` is put before each text; `prompt_name` is one of the folder's own. Without either
        its default is taken, which most folders do not have. `batch_size` is the number of texts in
        a run; by default it goes by their length. Where a graph's vectors depend on what shares the
        run, as with dynamic int8, it is one: more are faster there, and a little less exact. Raises
        `ModelInputError` for anything else than text and for an unknown prompt.
        """
        return self._traced(texts, lambda: self._encode(texts, prompt_name, prompt, batch_size))

    def encode_query(self, texts: Any) -> FloatArray:
        """Return what `encode` does, for what is looked for: with the folder's prompt "query" where it has one."""
        return self.encode(texts, prompt_name=self._first_prompt("query"))

    def encode_document(self, texts: Any) -> FloatArray:
        """Encode texts to store, with the folder's prompt "document", "passage" or "corpus" if it has one."""
        return self.encode(texts, prompt_name=self._first_prompt(*_DOCUMENT))

    @property
    def document_prompt(self) -> str:
        """The text that `encode_document` puts before each text, or ""."""
        return self._prompt(self._parts().folder, self._first_prompt(*_DOCUMENT), None)

    def _first_prompt(self, *names: str) -> str | None:
        return next((name for name in names if name in self._parts().folder.prompts), None)

    def _encode(
        self,
        value: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
    ) -> FloatArray:
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ModelInputError(
                f"{self.name!r} wants a batch_size of at least 1, got {batch_size!r}"
            )
        opened = self._parts()
        before = self._prompt(opened.folder, prompt_name, prompt)
        if batch_size is None:
            parts = self._run_windows(opened, value, lambda texts: opened.tokens(texts, before))
        else:
            rows = [opened.tokens(window, before) for window in self._windows(value)]
            parts = [(window, opened.encoder.vectors(window, batch_size)) for window in rows]
        return self._whole(opened, parts, value)

    def _encoder(self, opened: _Opened) -> Encode:
        prompt = self._prompt(opened.folder, None, None)
        return lambda texts: opened.tokens(texts, prompt)

    def _whole(
        self, opened: _Opened, parts: Sequence[tuple[Rows, FloatArray]], value: Any
    ) -> FloatArray:
        """Return the windows' vectors as one array, or the one vector of a text."""
        if not parts:
            return np.zeros((0, opened.encoder.dimension), np.float32)
        vectors = parts[0][1] if len(parts) == 1 else np.concatenate([part for _, part in parts])
        one: FloatArray = vectors[0] if isinstance(value, str) else vectors
        return one

    def _prompt(self, folder: Folder, name: str | None, text: str | None) -> str:
        """Return what is put before each text."""
        if name is not None and text is not None:
            raise ModelInputError(f"{self.name!r} wants prompt_name or prompt, got both")
        if text is not None and not isinstance(text, str):
            raise ModelInputError(f"{self.name!r} wants a text as prompt, got {kind_of(text)}")
        name = folder.default_prompt if name is None else name
        if text is not None or name is None:
            return text or ""
        if name not in folder.prompts:
            there = (
                f"it has {', '.join(folder.prompts)}"
                if folder.prompts
                else "it has none of its own; pass prompt="
            )
            raise ModelInputError(f"{self.name!r} has no prompt {name!r}: {there}")
        return folder.prompts[name]

    # Showing

    def _more_facts(self, opened: _Opened) -> list[tuple[str, str]]:
        folder, encoder = opened.folder, opened.encoder
        rows = [("vector", f"float32 [{encoder.dimension}]"), ("pooling", str(encoder))]
        if folder.prompts:
            named = [
                f"{name} (default)" if name == folder.default_prompt else name
                for name in folder.prompts
            ]
            rows.append(("prompts", ", ".join(named)))
        rows.append(("max length", f"{opened.tokenizer.max_length} tokens"))
        rows.append(("vocabulary", f"{figures.count(opened.tokenizer.vocabulary_size)} tokens"))
        rows.append(("calls", opened.shared.statistics()))
        return rows
