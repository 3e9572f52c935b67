"""GenerationCall: the arguments of one call of a generator, converted to requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.text import first_words
from conduit_lab.models.generation.constraint import Constraint, GrammarCompiler
from conduit_lab.models.generation.decoder_folder import DecoderFolder
from conduit_lab.models.generation.detokenizer import IncrementalDetokenizer, TokenBytes
from conduit_lab.models.generation.generation_request import GenerationRequest
from conduit_lab.models.generation.prompts import PromptEncoder, Truncate
from conduit_lab.models.generation.sampling_options import SamplingOptions
from conduit_lab.models.generation.scheduler import Scheduler
from conduit_lab.models.text.tokenizer import Tokenizer
from conduit_lab.runtime.decoding.decoder import Decoder
from conduit_lab.runtime.sessions.cache import Shared


@dataclass(frozen=True)
class OpenedGenerator:
    """The parts of an opened decoder folder."""

    folder: DecoderFolder
    graph: Path
    tokenizer: Tokenizer
    prompts: PromptEncoder
    token_bytes: TokenBytes
    grammars: GrammarCompiler
    decoder: Decoder
    scheduler: Scheduler

    @property
    def shared(self) -> Shared:
        """The opened graph."""
        return self.decoder.shared


_DEFAULTS = SamplingOptions()


@dataclass(frozen=True)
class GenerationCall:
    """The arguments of one call."""

    prompt: Any = None
    query: str | None = None
    context: Sequence[str] | None = None
    truncate: Truncate | None = None
    choices: Sequence[str] | None = None
    regex: str | None = None
    json_schema: Mapping[str, Any] | str | None = None
    sampling: SamplingOptions = _DEFAULTS
    tools: Sequence[Mapping[str, Any]] | None = None

    @property
    def title(self) -> str:
        """The first words of the prompt, the query, or a chat's last message; else empty."""
        text = self.prompt if self.query is None else self.query
        if isinstance(text, Sequence) and text and isinstance(text[-1], Mapping):
            text = text[-1].get("content")
        return first_words(text) if isinstance(text, str) else ""

    @property
    def _conversation(self) -> str:
        """A chat's messages, one per line, without the tokens of its template; else empty."""
        messages = self.prompt if self.query is None else None
        if not isinstance(messages, Sequence) or isinstance(messages, str):
            return ""
        if not all(isinstance(each, Mapping) for each in messages):
            return ""
        said = [(str(each.get("role", "")), _content(each)) for each in messages]
        lines = [f"{role}: {text}" if len(said) > 1 else text for role, text in said]
        return "".join(f"{line}\n" for line in lines)

    def requests(self, opened: OpenedGenerator) -> list[Callable[..., GenerationRequest]]:
        """Return one request factory per sequence, which takes the callbacks."""
        sampling = self.sampling
        ids, text = opened.prompts.read(
            self.prompt, self.query, self.context, self.truncate, sampling, self.tools
        )
        text = self._conversation or text
        sampling = sampling.seeded() if sampling.n > 1 else sampling
        constraint = self._constraint(opened)
        limit = min(sampling.max_tokens, opened.decoder.context - len(ids))
        return [
            partial(
                GenerationRequest,
                ids,
                sampling,
                IncrementalDetokenizer(opened.token_bytes, sampling.stop, after=ids[-1]),
                limit=limit,
                choice=choice,
                text=text,
                constraint=constraint
                if constraint is None or sampling.n == 1
                else constraint.copy(),
            )
            for choice in range(sampling.n)
        ]

    def _constraint(self, opened: OpenedGenerator) -> Constraint | None:
        given = [
            name for name in ("choices", "regex", "json_schema") if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise InputError(
                f"expected one of choices, regex and json_schema, got {' and '.join(given)}"
            )
        if not given:
            return None
        made: Constraint = getattr(opened.grammars, given[0])(getattr(self, given[0]))
        return made


def _content(message: Mapping[str, Any]) -> str:
    """Return the text of a message, whose content may be a list of parts."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    return " ".join(
        str(part.get("text", "")) if isinstance(part, Mapping) else str(part or "")
        for part in parts
    )
