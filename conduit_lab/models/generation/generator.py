"""Generator: a decoder folder that generates many sequences concurrently."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import anyio.to_thread

from conduit_lab.core.errors import InputError, ModelLoadError
from conduit_lab.core.keywords import with_keywords_of
from conduit_lab.core.paths import display
from conduit_lab.core.spec import TEXT_SPEC, TensorSpec
from conduit_lab.core.streams.ownership import adopt
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.tally import is_observed
from conduit_lab.core.views import figures
from conduit_lab.models.folder_model import FolderModel
from conduit_lab.models.generation.constraint import GrammarCompiler
from conduit_lab.models.generation.decoder_folder import DecoderFolder
from conduit_lab.models.generation.detokenizer import TokenBytes
from conduit_lab.models.generation.generation_call import GenerationCall, OpenedGenerator
from conduit_lab.models.generation.generation_request import GenerationRequest
from conduit_lab.models.generation.prompts import GenerationPrompt, PromptEncoder, Truncate
from conduit_lab.models.generation.result import Generation
from conduit_lab.models.generation.sampling_options import SamplingKeywords, SamplingOptions
from conduit_lab.models.generation.scheduler import Scheduler
from conduit_lab.models.generation.token_stream import TokenStream, start_stream
from conduit_lab.models.text.tokenizer import Tokenizer
from conduit_lab.runtime.decoding.decoder import Decoder

MAX_SEQUENCES = 16  # in one batch
MAX_QUEUED_SEQUENCES = 256
_NO_TRUNCATION_TOKENS = 2**30  # long prompts are rejected by the encoder, not truncated
_MIN_VOCABULARY_RATIO = 0.8  # tokens to logits; exports pad the logits by less
_INTERRUPT_SECONDS = 0.2  # between checks for a KeyboardInterrupt

_log = logging.getLogger("conduit_lab")


class GenerateKeywords(SamplingKeywords, total=False):
    """The keywords of `chat`: those of `generate`, without query and context."""

    truncate: Truncate | None
    choices: Sequence[str] | None
    regex: str | None
    json_schema: Mapping[str, Any] | str | None
    tools: Sequence[Mapping[str, Any]] | None
    sampling: SamplingOptions | None


class Generator(FolderModel[OpenedGenerator]):
    """A text generator: a folder with a decoder graph, `tokenizer.json` and configs.

    Calls from any thread or task are batched: at most `rows` sequences run and `queue` wait, each
    with its own sampling options. `variant` selects a graph other than `model.onnx`: "int8" is
    `model_int8.onnx`. `context` is the maximum length of prompt and generation in tokens (default:
    the model's). `device`, `fallback` and `timeout` are those of `load_model`. The folder is opened
    by `open()` or on the first call.
    """

    kind = "generate"
    main_call = "generate(prompt)"

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        fallback: bool | None = None,
        name: str | None = None,
        timeout: float | None = None,
        variant: str | None = None,
        rows: int = MAX_SEQUENCES,
        queue: int = MAX_QUEUED_SEQUENCES,
        context: int | None = None,
    ) -> None:
        super().__init__(
            path, device=device, fallback=fallback, name=name, timeout=timeout, variant=variant
        )
        self.rows = rows
        self.queue = queue
        self.max_context = context

    def _takes(self, opened: OpenedGenerator) -> tuple[TensorSpec, ...]:
        return (TEXT_SPEC,)  # also token ids and messages, which no other model returns

    def _gives(self, opened: OpenedGenerator) -> tuple[TensorSpec, ...]:
        return (TEXT_SPEC,)

    # Lifecycle

    def unload(self) -> None:
        """Cancel all generations and free the memory; the next call opens the folder again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.scheduler.stop()

    def _open(self) -> OpenedGenerator:
        folder = DecoderFolder.read(self.path)
        graph = folder.graph(self.variant)
        tokenizer = Tokenizer(folder.tokenizer, _NO_TRUNCATION_TOKENS)
        context = min(folder.context, self.max_context or folder.context)
        decoder = Decoder.open(
            graph,
            self.options,
            rows=self.rows,
            context=context,
            heads=folder.heads,
            width=folder.width,
            switch=folder.switch,
        )
        _check_vocabulary(display(self.path), folder, tokenizer, decoder.vocabulary)
        logits = decoder.vocabulary
        embedded = decoder.io.embedded or logits
        prompts = PromptEncoder(self.name, folder, tokenizer, context, logits, embedded)
        scheduler = Scheduler(self.name, decoder, folder.ends, self.queue)
        token_bytes = TokenBytes(tokenizer.backend)
        grammars = GrammarCompiler(folder.tokenizer.read_text("utf-8"), logits, sorted(folder.ends))
        return OpenedGenerator(
            folder, graph, tokenizer, prompts, token_bytes, grammars, decoder, scheduler
        )

    @property
    def context(self) -> int:
        """The maximum length of prompt and generation together, in tokens."""
        return self._parts().decoder.context

    @property
    def vocabulary(self) -> int:
        """The number of tokens with logits."""
        return self._parts().decoder.vocabulary

    def count_tokens(
        self,
        prompt: GenerationPrompt | None = None,
        *,
        query: str | None = None,
        context: Sequence[str] | None = None,
    ) -> int:
        """Return the number of tokens of a prompt, which may exceed the model's context.

        Takes a prompt as `generate` does; raises `ModelInputError` for an invalid one.
        """
        return self._parts().prompts.count_tokens(prompt, query, context)

    # Generation

    @with_keywords_of(SamplingOptions)
    def generate(
        self,
        prompt: GenerationPrompt | None = None,
        *,
        query: str | None = None,
        context: Sequence[str] | None = None,
        truncate: Truncate | None = None,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
        json_schema: Mapping[str, Any] | str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        sampling: SamplingOptions | None = None,
        **options: Unpack[SamplingKeywords],
    ) -> Generation:
        """Generate the continuation of a prompt, or an answer to `query` from passages.

        `prompt` is a string, the messages of a chat, or token ids; `context` are the passages.
        `choices`, `regex` or `json_schema` constrains the text, and `tools` are passed to the chat
        template. The fields of `SamplingOptions` are also keywords and override those of
        `sampling`; with `n` the result's `choices` holds all generations. A prompt longer than the
        model's context raises `ModelInputError`, unless `truncate` names the end to truncate.
        Raises `InputError` for invalid options and `Overloaded` if the queue is full.
        """
        chosen = SamplingOptions.of(sampling, **options)
        arguments = (truncate, choices, regex, json_schema, chosen, tools)
        call = GenerationCall(prompt, query, context, *arguments)
        given = prompt if query is None else {"query": query, "context": context}
        return self._traced(given, lambda: self._generate(call), arguments)

    def run_again(self, value: Any, arguments: Any) -> Generation:
        """Generate again from the prompt and options of an earlier span."""
        if len(arguments) != 6:
            return self.run(value)
        if isinstance(value, Mapping):
            return self._generate(
                GenerationCall(None, value["query"], value["context"], *arguments)
            )
        return self._generate(GenerationCall(value, None, None, *arguments))

    @with_keywords_of(generate, "prompt", "query", "context")
    def chat(
        self, messages: Sequence[Mapping[str, Any]], **options: Unpack[GenerateKeywords]
    ) -> Generation:
        """Generate the next message of a chat, `[{"role": "user", "content": "…"}]`.

        Takes the keywords of `generate`.
        """
        return self.generate(messages, **options)

    @with_keywords_of(SamplingOptions)
    def stream(
        self,
        prompt: GenerationPrompt | None = None,
        *,
        query: str | None = None,
        context: Sequence[str] | None = None,
        truncate: Truncate | None = None,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
        json_schema: Mapping[str, Any] | str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        sampling: SamplingOptions | None = None,
        **options: Unpack[SamplingKeywords],
    ) -> TokenStream:
        """Return a stream of `Token`s that starts immediately; its result is the `Generation`.

        Arguments and errors are those of `generate`, for one sequence. `cancel()` ends it before
        the next decode step. Its name is the first words of the prompt. `alternatives(position)`
        returns the candidate tokens at a position, and `branch(position, token)` continues from one
        of them.
        """
        chosen = SamplingOptions.of(sampling, **options)
        arguments = (truncate, choices, regex, json_schema, chosen, tools)
        call = GenerationCall(prompt, query, context, *arguments)
        requests = call.requests(self._parts())
        if len(requests) != 1:
            raise InputError(
                f"a stream expects n=1, got n={len(requests)}: start one stream per sequence, "
                "or use generate"
            )
        given = prompt if query is None else {"query": query, "context": context}
        return start_stream(self, requests[0], call.title or self.name, given)

    def run(self, value: Any) -> Generation:
        """Generate without a trace; call the stage itself, or `generate`, instead."""
        return self._generate(GenerationCall(value))

    def batch(self, values: Sequence[Any]) -> list[Any]:
        """Return one generation per prompt, batched together."""
        opened = self._parts()
        calls = [GenerationCall(value).requests(opened) for value in values]
        return [
            _first_choice([request])
            for request in self._run_all(opened, [each for call in calls for each in call])
        ]

    def _generate(self, call: GenerationCall) -> Generation:
        opened = self._parts()
        made = _first_choice(self._run_all(opened, call.requests(opened)))
        _record(opened, made)
        return made

    def _run_all(
        self, opened: OpenedGenerator, makers: Sequence[Callable[..., GenerationRequest]]
    ) -> list[GenerationRequest]:
        """Run requests and return them when all have ended; an interrupt cancels them."""
        left, done = len(makers), threading.Event()

        def on_end(_: GenerationRequest) -> None:
            nonlocal left
            left -= 1  # only on the scheduler's thread
            if left == 0:
                done.set()

        requests = [make(on_end=on_end) for make in makers]
        if requests:
            opened.scheduler.submit(requests)
        for request in requests:
            adopt(request)
        try:
            while requests and not done.wait(_INTERRUPT_SECONDS):
                pass
        except BaseException:
            for request in requests:
                request.cancel()
            raise
        return requests

    async def arun(self, value: Any) -> Generation:
        """Generate from an event loop without blocking it."""
        if self._opened is None:
            await anyio.to_thread.run_sync(self.open)
        opened = self._parts()
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def on_end(request: GenerationRequest) -> None:
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:
                _log.debug("%r: event loop closed before a generation ended", self.name)
                if request.error is not None:
                    _log.error("%r: generation failed", self.name, exc_info=request.error)

        requests = [make(on_end=on_end) for make in GenerationCall(value).requests(opened)]
        opened.scheduler.submit(requests)
        try:
            await done.wait()
        except BaseException:
            requests[0].cancel()
            raise
        made = _first_choice(requests)
        _record(opened, made)
        return made

    # Views

    def _more_facts(self, opened: OpenedGenerator) -> list[tuple[str, str]]:
        decoder, scheduler, io = opened.decoder, opened.scheduler, opened.decoder.io
        heads, width = io.shapes[0]
        layers = figures.plural(len(io.pasts) // 2, "layer")
        kind = "one buffer" if io.in_place else "grows"
        running = f"{scheduler.running} of {decoder.rows} running, {scheduler.waiting} waiting"
        return [
            ("context", f"{decoder.context} tokens"),
            ("vocabulary", f"{figures.count(decoder.vocabulary)} tokens"),
            ("KV cache", f"{layers}, {figures.plural(heads, 'head')} of {width}, {kind}"),
            ("sequences", running),
        ]


def _record(opened: OpenedGenerator, made: Generation) -> None:
    """Record a generation in the current span."""
    if is_observed():
        opened.shared.record_use()
        recorder.annotate(usage=made.usage, tokens=made.usage.generated)


def _check_vocabulary(where: str, folder: DecoderFolder, tokenizer: Tokenizer, logits: int) -> None:
    """Raise `ModelLoadError` if the tokenizer or the config belongs to another model."""
    tokens = tokenizer.vocabulary_size
    # added tokens may have no logits
    own = tokenizer.backend.get_vocab_size(with_added_tokens=False)
    if not _MIN_VOCABULARY_RATIO * logits <= tokens or own > logits:
        raise ModelLoadError(
            f"{where} has a tokenizer of {tokens} tokens and a graph of {logits}: "
            "the tokenizer.json belongs to another model"
        )
    if folder.vocabulary is not None and folder.vocabulary > logits:
        raise ModelLoadError(
            f"{where} has a config for {folder.vocabulary} tokens and a graph of {logits}: "
            "they belong to different models"
        )


def _first_choice(requests: Sequence[GenerationRequest]) -> Generation:
    """Return the first generation, with all of them as its choices; raise the first error."""
    for request in requests:
        if request.error is not None:
            raise request.error
    results = [request.result for request in requests if request.result is not None]
    results[0].choices = results
    return results[0]
