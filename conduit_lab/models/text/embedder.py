"""Embedder: a sentence-transformers folder that encodes text as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import FloatArray, TensorSpec
from conduit_lab.models.text.encoder import Encoder
from conduit_lab.models.text.folder import Folder
from conduit_lab.models.text.text_files import TextFiles
from conduit_lab.models.text.text_model import Encode, OpenedText, TextModel, Texts, type_names
from conduit_lab.models.text.token_graph import TokenRows
from conduit_lab.models.text.tokenizer import Tokenizer
from conduit_lab.runtime.batching.unbatched import batcher_of

_DEFAULT_MAX_TOKENS = 256  # if no file states a length
_UNLIMITED_TOKENS = 2**30
# names of the prompt for stored texts, in the order of sentence-transformers
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class _Opened(OpenedText[Encoder]):
    folder: Folder

    @cached_property
    def counter(self) -> Tokenizer:
        """The tokenizer without a length limit."""
        file = self.folder.body / "tokenizer.json"
        return Tokenizer(file, _UNLIMITED_TOKENS, lower_case=self.folder.lower_case)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the graph, the tokenizer and its limit, the prompts and the pooling head."""
        folder, encoder = self.folder, self.token_graph
        tokenizer = self.tokenizer.backend.to_str()
        digest = sha256()
        for part in (self.shared.key[0], tokenizer, folder.prompts, folder.default_prompt):
            digest.update(f"{part}\0".encode())
        for layer in (encoder.pooling, *encoder.layers):
            digest.update(f"{type(layer).__name__}\0".encode())
            for name, value in sorted(vars(layer).items()) if layer is not None else ():
                array = isinstance(value, np.ndarray)
                digest.update(value.tobytes() if array else f"{name} {value}\0".encode())
        return digest.hexdigest()

    def tokens(self, texts: Sequence[str], prompt: str) -> TokenRows:
        """Return the token ids of the texts, each after the prompt."""
        pooling = self.token_graph.pooling
        rows = self.tokenizer.ids([prompt + text for text in texts] if prompt else texts)
        included = not prompt or self.folder.pooling is None or self.folder.pooling.include_prompt
        if not included and pooling is None:
            raise ModelInputError(
                f"{display(self.folder.path)} leaves the tokens of a prompt out of its pooling, "
                "and its graph pools by itself: it takes no prompt; export the graph without "
                "pooling"
            )
        return TokenRows(rows, skipped=0 if included else self.tokenizer.prompt_tokens(prompt))


class Embedder(TextModel[_Opened]):
    """An embedding folder: `model.onnx`, `tokenizer.json` and sentence-transformers' configs.

    `modules.json` defines how token vectors become one vector: pooling, dense layers, unit length.
    Without it they are pooled as in `1_Pooling/config.json` (mean by default) and scaled to unit
    length. A graph that returns one vector per text is not pooled again. `variant` chooses another
    graph than `model.onnx`: "int8" is `model_int8.onnx`; both may be in the folder `onnx/`.
    `device`, `fallback` and `timeout` are those of `Options`. Opened by `open()` or on first use.
    """

    kind = "encode"
    main_call = "encode(texts)"

    # Opening

    def _open(self) -> _Opened:
        folder = Folder.read(self.path)
        graph = folder.graph(self.variant)
        files = TextFiles(folder.body, graph)
        length = files.max_length(_DEFAULT_MAX_TOKENS, folder.max_length)
        tokenizer = files.tokenizer(length, lower_case=folder.lower_case)
        shared = self._open_session(graph)
        encoder = Encoder(folder, shared, tokenizer.vocabulary_size, files.padding)
        return _Opened(graph, tokenizer, encoder, batcher_of(shared, self.name, encoder), folder)

    @property
    def dimension(self) -> int:
        """Length of one vector."""
        return self._parts().token_graph.dimension

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """One vector per text."""
        return self._gives(self._parts())

    def _gives(self, opened: _Opened) -> tuple[TensorSpec, ...]:
        dimension = opened.token_graph.dimension
        return (TensorSpec("embedding", "float32", ("batch", dimension)),)

    @property
    def fingerprint(self) -> str:
        """A hash of everything that the vectors depend on, in any location; 64 hex digits."""
        return self._parts().fingerprint

    @property
    def prompts(self) -> dict[str, str]:
        """The folder's prompts by name."""
        return dict(self._parts().folder.prompts)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text of any length, including special tokens."""
        return len(self._parts().counter.ids([text])[0])

    def count_read(self, texts: Sequence[str]) -> tuple[int, int]:
        """Return the number of tokens that `encode` reads from texts, and that it truncates."""
        encodings = self._parts().tokenizer.encode(texts)
        tokens = sum(len(encoding.ids) for encoding in encodings)
        return tokens, sum(bool(encoding.overflowing) for encoding in encodings)

    # Encoding

    def encode(
        self,
        texts: Texts,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
    ) -> FloatArray:
        """Encode one text to float32 `[dimension]`, or several to `[n, dimension]`.

        Several texts are a list, tuple, 1-D array or Series. `prompt` is prepended to each text;
        `prompt_name` selects one of the folder's prompts. Without either, the folder's default is
        used, if any. `batch_size` is the number of texts per run; by default it depends on their
        length. If a graph's vectors depend on the rest of the batch, as with dynamic int8, the
        default is 1: larger batches are faster but slightly less exact. Raises `ModelInputError`
        for anything other than text and for an unknown prompt.
        """
        return self._traced(
            texts,
            lambda: self._encode(texts, prompt_name, prompt, batch_size),
            (prompt_name, prompt, batch_size),
        )

    def run_again(self, value: Any, arguments: Any) -> FloatArray:
        """Encode the texts of an earlier span again with its prompt."""
        return self._encode(value, *arguments) if len(arguments) == 3 else self.run(value)

    def encode_query(self, texts: Texts) -> FloatArray:
        """Encode queries, with the folder's prompt "query" if it has one."""
        return self.encode(texts, prompt_name=self._first_prompt("query"))

    def encode_document(self, texts: Texts) -> FloatArray:
        """Encode texts to store, with the prompt "document", "passage" or "corpus" if any."""
        return self.encode(texts, prompt_name=self._first_prompt(*_DOCUMENT_PROMPTS))

    @property
    def document_prompt(self) -> str:
        """The text that `encode_document` prepends to each text, or ""."""
        return self._prompt(self._parts().folder, self._first_prompt(*_DOCUMENT_PROMPTS), None)

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
                f"{self.name!r} expects a batch_size of at least 1, got {batch_size!r}"
            )
        opened = self._parts()
        prefix = self._prompt(opened.folder, prompt_name, prompt)
        if batch_size is None:
            parts = self._run_windows(opened, value, lambda texts: opened.tokens(texts, prefix))
        else:
            parts = []
            with self._progress(value) as job:
                for window in self._windows(value):
                    rows = opened.tokens(window, prefix)
                    parts.append((rows, opened.token_graph.vectors(rows, batch_size)))
                    job.step(len(window))
        return self._whole(opened, parts, value)

    def _encoder(self, opened: _Opened) -> Encode:
        prompt = self._prompt(opened.folder, None, None)
        return lambda texts: opened.tokens(texts, prompt)

    def _whole(
        self, opened: _Opened, parts: Sequence[tuple[Any, FloatArray]], value: Any
    ) -> FloatArray:
        """Return the windows' vectors as one array, or the one vector of a text."""
        if not parts:
            return np.zeros((0, opened.token_graph.dimension), np.float32)
        vectors = parts[0][1] if len(parts) == 1 else np.concatenate([part for _, part in parts])
        answer: FloatArray = vectors[0] if isinstance(value, str) else vectors
        return answer

    def _prompt(self, folder: Folder, name: str | None, text: str | None) -> str:
        """Return the prompt given by name or text, by default the folder's default."""
        if name is not None and text is not None:
            raise ModelInputError(f"{self.name!r} expects prompt_name or prompt, got both")
        if text is not None and not isinstance(text, str):
            raise ModelInputError(f"{self.name!r} expects a text as prompt, got {type_names(text)}")
        name = folder.default_prompt if name is None else name
        if text is not None or name is None:
            return text or ""
        if name not in folder.prompts:
            known = (
                f"it has {', '.join(folder.prompts)}"
                if folder.prompts
                else ("it has none of its own; pass prompt=")
            )
            raise ModelInputError(f"{self.name!r} has no prompt {name!r}: {known}")
        return folder.prompts[name]

    def _more_facts(self, opened: _Opened) -> list[tuple[str, str]]:
        folder, encoder = opened.folder, opened.token_graph
        rows = [("vector", f"float32 [{encoder.dimension}]"), ("pooling", str(encoder))]
        if folder.prompts:
            default = folder.default_prompt
            named = [f"{name} (default)" if name == default else name for name in folder.prompts]
            rows.append(("prompts", ", ".join(named)))
        return [*rows, *super()._more_facts(opened)]
