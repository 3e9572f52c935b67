"""Generator: a decoder folder that writes text, many texts at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.to_thread

from conduit_lab.core.errors import InputError, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span import Span, current
from conduit_lab.core.views import figures
from conduit_lab.models.folder_model import FolderModel
from conduit_lab.models.generation.constraint import Constraint, Constraints
from conduit_lab.models.generation.decoder_folder import DecoderFolder
from conduit_lab.models.generation.prompts import Prompt, Prompts, Truncate
from conduit_lab.models.generation.request import Request
from conduit_lab.models.generation.result import Generation, TokenStream
from conduit_lab.models.generation.sampling import Sampling
from conduit_lab.models.generation.scheduler import Scheduler
from conduit_lab.models.generation.text import Pieces, Text
from conduit_lab.models.text.tokenizer import Tokenizer
from conduit_lab.runtime.decoding.decoder import Decoder
from conduit_lab.runtime.sessions.cache import Shared

ROWS = 16  # texts at once
QUEUE = 256  # that wait beyond those
_UNCUT = 2**30  # a prompt that is too long is refused, and not cut by the tokenizer
_LEAST_OF_VOCABULARY = 0.8  # of the logits have a token; exports pad by less
_SLICE = 0.2  # seconds a blocking wait may last before the kernel's interrupt is looked at


@dataclass(frozen=True)
class _Opened:
    folder: DecoderFolder
    graph: Path
    tokenizer: Tokenizer
    prompts: Prompts
    pieces: Pieces
    constraints: Constraints
    decoder: Decoder
    scheduler: Scheduler

    @property
    def shared(self) -> Shared:
        """The opened graph."""
        return self.decoder.shared


class Generator(FolderModel[_Opened]):
    """A text generator: a folder with a decoder's graph, `tokenizer.json` and its configs.

    Calls from any thread or task are written together, `rows` at once and `queue` waiting; each has
    its own sampling. `variant` chooses another graph than `model.onnx`: "int8" is
    `model_int8.onnx`. `context` is the most tokens of prompt and text together (default: what the
    model can). `device`, `fallback` and `timeout` are those of `Options`. Opened at `open()`, or at
    the first use.
    """

    kind = "generate"

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        fallback: bool | None = None,
        name: str | None = None,
        timeout: float | None = None,
        variant: str | None = None,
        rows: int = ROWS,
        queue: int = QUEUE,
        context: int | None = None,
    ) -> None:
        super().__init__(
            path, device=device, fallback=fallback, name=name, timeout=timeout, variant=variant
        )
        self.rows = rows
        self.queue = queue
        self.wanted_context = context

    # Life

    def unload(self) -> None:
        """Cancel what is being written and give the memory back; the next call opens the folder again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.scheduler.stop()

    def _open(self) -> _Opened:
        folder = DecoderFolder.read(self.path)
        graph = folder.graph(self.variant)
        tokenizer = Tokenizer(folder.tokenizer, _UNCUT)
        context = min(folder.context, self.wanted_context or folder.context)
        decoder = Decoder.open(
            graph,
            self.options,
            rows=self.rows,
            context=context,
            heads=folder.heads,
            width=folder.width,
            switch=folder.switch,
        )
        where, tokens, logits = display(self.path), tokenizer.vocabulary_size, decoder.vocabulary
        own = tokenizer.backend.get_vocab_size(
            with_added_tokens=False
        )  # added ones may have no logits
        if not _LEAST_OF_VOCABULARY * logits <= tokens or own > logits:
            raise ModelLoadError(
                f"{where} has a tokenizer of {tokens} tokens and a graph of {logits}: "
                "the tokenizer.json belongs to another model"
            )
        if folder.vocabulary is not None and folder.vocabulary > logits:
            raise ModelLoadError(
                f"{where} has a config for {folder.vocabulary} tokens and a graph of {logits}: "
                "the two belong to different models"
            )
        embedded = decoder.io.embedded or logits
        prompts = Prompts(self.name, folder, tokenizer, context, logits, embedded)
        scheduler = Scheduler(self.name, decoder, folder.ends, self.queue)
        pieces = Pieces(tokenizer.backend)
        constraints = Constraints(folder.tokenizer.read_text("utf-8"), logits, sorted(folder.ends))
        return _Opened(folder, graph, tokenizer, prompts, pieces, constraints, decoder, scheduler)

    @property
    def context(self) -> int:
        """The most tokens of prompt and text together."""
        return self._parts().decoder.context

    @property
    def vocabulary(self) -> int:
        """How many tokens the model chooses from."""
        return self._parts().decoder.vocabulary

    def count_tokens(
        self,
        prompt: Prompt | None = None,
        *,
        query: str | None = None,
        context: Sequence[str] | None = None,
    ) -> int:
        """Return how many tokens a prompt has, given as to `generate`; it may be more than the
        model can read.

        Raises `ModelInputError` for what is no prompt.
        """
        return self._parts().prompts.count_tokens(prompt, query, context)

    # Work

    def generate(
        self,
        prompt: Prompt | None = None,
        *,
        query: str | None = None,
        context: Sequence[str] | None = None,
        truncate: Truncate | None = None,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
        json_schema: Mapping[str, Any] | str | None = None,
        **sampling: Any,
    ) -> Generation:
        """Return the text that follows a prompt, or the answer to `query` from the passages in
        `context`.

        `prompt` is a text, the messages of a chat, or token ids. `choices`, `regex` or
        `json_schema` is what the text keeps to. `sampling` are the fields of `Sampling`; `n` texts
        are in the result's `choices`. A prompt longer than the model's context raises
        `ModelInputError`, unless `truncate` says which end of it is cut away. Raises `InputError`
        for what is out of range, `Overloaded` where too many wait.
        """
        asked = _Asked(prompt, query, context, truncate, choices, regex, json_schema, sampling)
        given = prompt if query is None else {"query": query, "context": context}
        return self._traced(given, lambda: self._generate(asked))

    def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Generation:
        """Return the model's answer to a chat, `[{"role": "user", "content": "…"}]`; takes what `generate` takes."""
        return self.generate(messages, **options)

    def stream(
        self,
        prompt: Prompt | None = None,
        *,
        query: str | None = None,
        context: Sequence[str] | None = None,
        truncate: Truncate | None = None,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
        json_schema: Mapping[str, Any] | str | None = None,
        **sampling: Any,
    ) -> TokenStream:
        """Return a stream of `Token`s that begins at once; its result is the `Generation`.

        Takes and raises what `generate` does, for one text. `cancel()` ends it before the next
        step.
        """
        opened = self._parts()
        asked = _Asked(prompt, query, context, truncate, choices, regex, json_schema, sampling)
        texts = asked.texts(opened)
        if len(texts) != 1:
            raise InputError(
                f"a stream is of one text, got n={len(texts)}: make as many streams, or use generate"
            )

        def begin(stream: TokenStream) -> Any:
            request = Request(
                **texts[0], written=stream.append, ended=lambda r: stream.end(r.result, r.error)
            )
            opened.scheduler.submit([request])
            return request.cancel

        here = current()
        if here is None:
            return TokenStream(self.name, begin)
        given = prompt if query is None else {"query": query, "context": context}
        with here.child(self.name, self.kind, self, given) as span:
            stream = TokenStream(self.name, begin)
            stream.on_end(lambda ended: _record_end(span, opened, ended))
            span.follow(stream)
        return stream

    def run(self, value: Any) -> Generation:
        """Generate without a trace; call the stage itself, or `generate`, instead."""
        return self._generate(_Asked(value))

    def batch(self, values: Sequence[Any]) -> list[Any]:
        """Return one text for each prompt, written together."""
        opened = self._parts()
        requests = self._written(
            opened, [text for value in values for text in _Asked(value).texts(opened)]
        )
        return [_outcome([request]) for request in requests]

    def _generate(self, asked: _Asked) -> Generation:
        opened = self._parts()
        made = _outcome(self._written(opened, asked.texts(opened)))
        _record(opened, made)
        return made

    def _written(self, opened: _Opened, texts: Sequence[dict[str, Any]]) -> list[Request]:
        """Return the requests for some texts when all have ended; the kernel's interrupt cancels them."""
        left, done = len(texts), threading.Event()

        def ended(_: Request) -> None:
            nonlocal left
            left -= 1  # on one thread, the generator's
            if left == 0:
                done.set()

        requests = [Request(**text, ended=ended) for text in texts]
        if requests:
            opened.scheduler.submit(requests)
        try:
            while requests and not done.wait(_SLICE):
                pass
        except BaseException:
            for request in requests:
                request.cancel()
            raise
        return requests

    async def arun(self, value: Any) -> Generation:
        """Generate from an event loop, which stays free."""
        if self._opened is None:
            await anyio.to_thread.run_sync(self.open)
        opened = self._parts()
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def ended(_: Request) -> None:
            with suppress(RuntimeError):  # the loop is gone: nobody waits
                loop.call_soon_threadsafe(done.set)

        requests = [Request(**text, ended=ended) for text in _Asked(value).texts(opened)]
        opened.scheduler.submit(requests)
        try:
            await done.wait()
        except BaseException:
            requests[0].cancel()
            raise
        made = _outcome(requests)
        _record(opened, made)
        return made

    # Showing

    def _more_facts(self, opened: _Opened) -> list[tuple[str, str]]:
        decoder, scheduler, signature = opened.decoder, opened.scheduler, opened.decoder.io
        heads, width = signature.shapes[0]
        kind = "one buffer" if signature.in_place else "grows"
        return [
            ("context", f"{decoder.context} tokens"),
            ("vocabulary", f"{figures.count(decoder.vocabulary)} tokens"),
            ("KV cache", f"{len(signature.pasts) // 2} layers, {heads} heads of {width}, {kind}"),
            (
                "texts",
                f"{scheduler.running} of {decoder.rows} running, {scheduler.waiting} waiting",
            ),
        ]


def _record(opened: _Opened, made: Generation) -> None:
    """Record a generation in the span that is running here."""
    if current() is not None:
        opened.shared.record_use()
        recorder.annotate(usage=made.usage, tokens=made.usage.generated)


def _record_end(span: Span, opened: _Opened, stream: Stream[Any]) -> None:
    """Record the end of a stream, on the thread that ended it, in the span that follows it."""
    shared = opened.shared
    if shared.note and shared.state == "cpu":
        span.annotate(device="cpu", device_fallback=shared.note)
    if stream.state == "done":
        span.output = made = stream.result()
        span.annotate(usage=made.usage, tokens=made.usage.generated)


@dataclass(frozen=True)
class _Asked:
    """What was asked for, as it was given."""

    prompt: Any = None
    query: str | None = None
    context: Sequence[str] | None = None
    truncate: Truncate | None = None
    choices: Sequence[str] | None = None
    regex: str | None = None
    json_schema: Mapping[str, Any] | str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def texts(self, opened: _Opened) -> list[dict[str, Any]]:
        """Return what a `Request` is made of, for each text that is wanted; raises `InputError`."""
        how = _sampling(self.sampling)
        ids = opened.prompts.ids(self.prompt, self.query, self.context, self.truncate, how)
        how = how.seeded() if how.n > 1 else how
        constraint = self._constraint(opened)
        limit = min(how.max_tokens, opened.decoder.context - len(ids))
        return [
            {
                "prompt": ids,
                "sampling": how,
                "text": Text(opened.pieces, how.stop, after=ids[-1]),
                "limit": limit,
                "choice": choice,
                "constraint": constraint if constraint is None or how.n == 1 else constraint.copy(),
            }
            for choice in range(how.n)
        ]

    def _constraint(self, opened: _Opened) -> Constraint | None:
        given = [
            name for name in ("choices", "regex", "json_schema") if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise InputError(
                f"a text keeps to one of choices, regex and json_schema, got {' and '.join(given)}"
            )
        if not given:
            return None
        made: Constraint = getattr(opened.constraints, given[0])(getattr(self, given[0]))
        return made


def _sampling(given: Mapping[str, Any]) -> Sampling:
    """Return the sampling that keywords ask for."""
    unknown = sorted(set(given) - set(Sampling.__dataclass_fields__))
    if unknown:
        known = ", ".join(Sampling.__dataclass_fields__)
        raise InputError(f"{', '.join(unknown)} is no way to sample: wanted some of {known}")
    return Sampling(**given)


def _outcome(requests: Sequence[Request]) -> Generation:
    """Return the first text, with all of them as its choices."""
    for request in requests:
        if request.error is not None:
            raise request.error
    results = [request.result for request in requests if request.result is not None]
    results[0].choices = results
    return results[0]
