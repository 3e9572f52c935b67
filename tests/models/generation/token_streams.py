"""Steps of the tests of token streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.generation.token_stream import TokenStream
from tests.models.generation.chains import chain

PROMPT = "The dishwasher does not drain, and the display shows an error."
WARM: dict[str, Any] = {"temperature": 1.0, "top_p": 0.9, "repetition_penalty": 1.1, "seed": 3}


def ended(stream: TokenStream) -> TokenStream:
    stream.wait(20)
    return stream


def id_list(stream: TokenStream) -> list[int]:
    return [token.id for token in ended(stream).tokens]


def until(ready: Callable[[], bool]) -> None:
    end = monotonic() + 20
    while not ready():
        assert monotonic() < end
        sleep(0.002)


def clear_cache(writer: Generator) -> None:
    scheduler = writer._parts().scheduler
    until(lambda: scheduler.running == 0)  # a sequence stays cached after its end
    scheduler.prefix_cache.clear()


def prompt_ids(writer: Generator, prompt: str = PROMPT) -> list[int]:
    return writer._parts().prompts.encode(prompt)


def prefilled(writer: Generator, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that records the tokens of each prefill run."""
    decoder, runs = writer._parts().decoder, list[int]()
    fill = decoder._fill

    def filling(row: int, tokens: Any, past: int) -> Any:
        runs.append(tokens.size)
        return fill(row, tokens, past)

    monkeypatch.setattr(decoder, "_fill", filling)
    return runs


def chained(path: Path, tokenizer: Any, *tokens: str) -> Generator:
    """Return a writer of these tokens; the last token ends its text."""
    ids = [tokenizer.token_to_id(token) for token in tokens]
    return Generator(chain(path, tokenizer, ids, eos_token_id=ids[-1]), device="cpu").open()
