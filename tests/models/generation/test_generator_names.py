"""Generator: the names of its streams."""

from __future__ import annotations

from typing import Any

import pytest

from conduit_lab.models.generation.generator import Generator
from tests.models.generation.writers import DECODERS

CHAT = [{"role": "user", "content": "Say  hello"}]


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Once\nupon a time", "Once upon a time"),
        (CHAT, "Say hello"),
        ([1, 2, 3], "llama"),
        ("", "llama"),
    ],
)
def test_a_stream_is_named_after_its_prompt(prompt: Any, name: str) -> None:
    writer = Generator(DECODERS / "llama", device="cpu")
    stream = writer.stream(prompt, max_tokens=1)
    asked = writer.stream(query="How long?", context=["A week."], max_tokens=1)
    try:
        assert (stream.name, asked.name) == (name, "How long?")
    finally:
        for each in (stream, asked):
            each.result(20)
        writer.unload()
