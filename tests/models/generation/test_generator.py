"""Generator: its tokens, batched or not, and the arguments it accepts."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import pytest

from conduit_lab.core.errors import InputError, ModelInputError, ModelRunError, Overloaded
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span_facts import remarks
from conduit_lab.models.generation.generation_call import GenerationCall
from conduit_lab.models.generation.generation_request import GenerationRequest
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.generation.prompts import Truncate
from conduit_lab.models.generation.sampling_options import SamplingOptions
from tests.models.generation.writers import DECODERS, NAMES, copy, golden


@pytest.fixture
def writer() -> Iterator[Generator]:
    made = Generator(DECODERS / "llama", device="cpu").open()
    yield made
    made.unload()


@pytest.mark.parametrize("name", NAMES)
def test_tokens_equal_those_of_transformers(name: str) -> None:
    writer = Generator(DECODERS / name, device="cpu")
    for text in golden(name):
        written = writer.generate(text.prompt, max_tokens=64)
        assert [token.id for token in written.tokens] == text.tokens
        assert written.usage.prompt == len(text.ids)
    writer.unload()


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_the_same_while_others_join_the_batch(name: str) -> None:
    writer = Generator(DECODERS / name, device="cpu", rows=3)
    texts = golden(name)
    streams = []
    for turn in range(3):
        for text in texts:
            streams.append((text, writer.stream(text.prompt, max_tokens=64)))
            if turn:
                next(iter(streams[-1][1]))  # the next request joins during this generation
    for text, stream in streams:
        assert [token.id for token in stream.result(20).tokens] == text.tokens
    writer.unload()


def test_sampled_tokens_depend_on_the_seed_and_not_on_the_batch(writer: Generator) -> None:
    how: dict[str, Any] = {"temperature": 1.0, "top_k": 50, "seed": 7, "max_tokens": 40}
    unbatched = writer.generate("Our return policy is", **how)
    others = [
        writer.stream("Kettle", temperature=1.5, seed=seed, max_tokens=80) for seed in range(6)
    ]
    assert writer.generate("Our return policy is", **how) == unbatched
    assert len({stream.result(20) for stream in others}) == 6


def test_generation_is_a_string_with_tokens_and_usage(writer: Generator) -> None:
    text = writer.run("Kettle")
    assert isinstance(text, str)
    assert text == text.text == "".join(token.text for token in text.tokens)
    assert text.finish_reason == "length"
    assert text.usage.generated == len(text.tokens) == 64
    assert 0 < text.usage.first_token <= text.usage.seconds
    assert text.usage.tokens_per_second > 0


def test_end_of_sequence_token_stops_a_generation(writer: Generator, tmp_path: Path) -> None:
    tokens = golden("llama")[0].tokens
    folder = copy("llama", tmp_path)
    file = folder / "genai_config.json"
    file.write_text(file.read_text().replace("0,\n            2", f"0,\n            {tokens[9]}"))
    ending = Generator(folder, device="cpu")
    text = ending.generate("Kettle")
    first = tokens.index(tokens[9])
    assert (text.finish_reason, len(text.tokens), text.tokens[-1].text) == ("stop", first + 1, "")
    ending.unload()


def test_n_sequences_share_one_prompt(writer: Generator) -> None:
    first = writer.generate(
        "A customer who bought a fridge asks", n=3, temperature=1.0, seed=1, max_tokens=20
    )
    assert first.choices[0] is first
    assert len(set(first.choices)) == 3
    assert [choice.usage.cached > 0 for choice in first.choices] == [False, True, True]


def test_common_prefix_of_prompts_comes_from_the_prefix_cache(writer: Generator) -> None:
    text = golden("llama")[3]
    writer.generate(text.prompt + " Thanks.", max_tokens=1)
    again = writer.generate(text.prompt, max_tokens=64)
    assert again.usage.cached == len(text.ids) - 1
    assert [token.id for token in again.tokens] == text.tokens


def test_sequences_beyond_the_rows_are_queued() -> None:
    writer = Generator(DECODERS / "llama", device="cpu", rows=2)
    prompts = [text.prompt for text in golden("llama")] * 3
    unbatched = {prompt: writer.generate(prompt) for prompt in set(prompts)}
    assert writer.batch(prompts) == [unbatched[prompt] for prompt in prompts]
    writer.unload()


def test_full_queue_is_overloaded() -> None:
    writer = Generator(DECODERS / "llama", device="cpu", rows=1, queue=2)
    streams = [writer.stream("Kettle", max_tokens=200) for _ in range(3)]
    with pytest.raises(
        Overloaded,
        match=r"'llama' expects at most 1 running and 2 queued .*, got 4 more .* retry later",
    ):
        writer.generate("Kettle", n=4)
    for stream in streams:
        stream.cancel()
    writer.unload()


def test_threads_may_generate_at_the_same_time(writer: Generator) -> None:
    texts = golden("llama")
    written: dict[int, list[int]] = {}

    def ask(number: int) -> None:
        text = texts[number % 4]
        written[number] = [token.id for token in writer.generate(text.prompt, max_tokens=64).tokens]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == {number: texts[number % 4].tokens for number in range(12)}


def test_tasks_may_generate_at_the_same_time(writer: Generator) -> None:
    async def ask() -> list[str]:
        return list(await asyncio.gather(*(writer.acall(text.prompt) for text in golden("llama"))))

    assert asyncio.run(ask()) == [writer(text.prompt) for text in golden("llama")]


def test_query_fills_the_prompt_of_the_folder(tmp_path: Path) -> None:
    folder = copy("llama", tmp_path)
    (folder / "rag_prompt.txt").write_text("Facts: {context}\nQ: {query}\nA:")
    writer = Generator(folder, device="cpu")
    answer = writer.generate(query="{context}?", context=["one {query}", "two"], max_tokens=5)
    assert answer == writer.generate("Facts: one {query}\n\ntwo\nQ: {context}?\nA:", max_tokens=5)
    writer.unload()


def test_chat_is_rendered_with_the_template_of_the_folder(writer: Generator) -> None:
    answer = writer.chat([{"role": "user", "content": "Why?"}], max_tokens=5)
    rendered = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert answer == writer.generate(rendered, max_tokens=5)


def test_token_ids_are_a_prompt(writer: Generator) -> None:
    text = golden("llama")[1]
    assert [token.id for token in writer.generate(text.ids, max_tokens=64).tokens] == text.tokens


def test_text_is_constrained_to_choices_a_pattern_or_a_schema(writer: Generator) -> None:
    assert writer.generate("Kettle", choices=["yes", "no"]) in ("yes", "no")
    assert re.fullmatch(
        "[0-9]{3}-x+y", writer.generate("Kettle", regex="[0-9]{3}-x{1,5}y", temperature=1.0)
    )
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"sure": {"type": "boolean"}},
        "required": ["sure"],
    }
    schema["additionalProperties"] = False
    assert set(json.loads(writer.generate("Kettle", json_schema=schema))) == {"sure"}


def test_each_of_n_sequences_is_constrained(writer: Generator) -> None:
    first = writer.generate("Kettle", n=5, choices=["left", "right"], temperature=2.0, seed=3)
    assert set(first.choices) == {"left", "right"}
    assert {choice.finish_reason for choice in first.choices} == {"stop"}


def test_generation_ends_before_a_stop_sequence(writer: Generator) -> None:
    whole = writer.generate("Kettle")
    stop = whole[20:23]
    text = writer.generate("Kettle", stop=[stop])
    assert (text, text.finish_reason) == (whole[: whole.index(stop)], "stop")


def test_trace_has_input_and_output(writer: Generator) -> None:
    with recorder.record("call") as recorded:
        text = writer.generate("Kettle", max_tokens=3)
    span = recorded["llama"]
    assert (span.kind, span.input, span.output) == ("generate", "Kettle", text)


def test_trace_has_the_usage_of_every_kind_of_call(writer: Generator) -> None:
    with recorder.record("call") as recorded:
        texts = [writer.generate("Kettle"), writer("Kettle"), asyncio.run(writer.acall("Kettle"))]
    assert [remarks(span.attributes) for span in recorded][1:] == [
        str(text.usage) for text in texts
    ]


def test_sampling_options_are_an_argument(writer: Generator) -> None:
    warm = SamplingOptions(temperature=1.0, seed=3, max_tokens=20)
    text = writer.generate("Kettle", sampling=warm)
    assert text == writer.generate("Kettle", temperature=1.0, seed=3, max_tokens=20)
    assert writer.generate("Kettle", sampling=warm, seed=4) != text
    assert writer.stream("Kettle", sampling=warm).result(20) == text
    chat = [{"role": "user", "content": "Why?"}]
    assert len(writer.chat(chat, sampling=warm, max_tokens=2, choices=["ab"]).tokens) <= 2


def test_failed_generation_of_a_closed_event_loop_is_logged(
    writer: Generator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Held:
        """A scheduler that fails its request after the loop is closed."""

        def submit(self, requests: list[GenerationRequest]) -> None:
            self.request = requests[0]

    held = Held()
    opened = replace(writer._parts(), scheduler=cast(Any, held))
    monkeypatch.setattr(writer, "_opened", opened)

    async def leave() -> None:
        call = asyncio.ensure_future(writer.acall("Kettle"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.cancel()

    asyncio.run(leave())
    held.request.end("error", ModelRunError("out of memory"))
    assert "'llama': generation failed" in caplog.text
    assert "out of memory" in caplog.text


# Arguments


def test_prompt_longer_than_the_context_is_rejected(writer: Generator) -> None:
    with pytest.raises(
        ModelInputError,
        match="expects a prompt of at most 255 tokens, got 400: shorten it, or pass truncate=",
    ):
        writer.generate("\n" * 400)


def test_prompt_of_megabytes_is_rejected_before_it_is_tokenized(writer: Generator) -> None:
    with pytest.raises(ModelInputError, match="at most 255 tokens, got 10000000 characters"):
        writer.stream("a" * 10_000_000)


@pytest.mark.parametrize("end", get_args(Truncate))
def test_long_prompt_is_truncated_at_either_end(writer: Generator, end: Truncate) -> None:
    words = " ".join(str(number) for number in range(300))
    cut = writer.generate(words, truncate=end, max_tokens=16)
    ids = writer._parts().tokenizer.backend.encode(words).ids
    kept = ids[:240] if end == "end" else ids[-240:]
    assert cut == writer.generate(writer._parts().tokenizer.backend.decode(kept), max_tokens=16)
    assert (cut.usage.prompt, cut.usage.generated) == (240, 16)


def test_empty_prompt_starts_with_the_beginning_of_sequence(writer: Generator) -> None:
    assert writer.generate("", max_tokens=3).usage.prompt == 1


def test_model_without_a_beginning_of_sequence_rejects_an_empty_prompt(tmp_path: Path) -> None:
    folder = copy("qwen2", tmp_path)
    for file in ("config.json", "generation_config.json"):
        (folder / file).write_text(
            (folder / file).read_text().replace('"bos_token_id": 0', '"bos_token_id": null')
        )
    writer = Generator(folder, device="cpu")
    with pytest.raises(
        ModelInputError, match=r"'qwen2' has no beginning-of-sequence token .* got an empty prompt"
    ):
        writer.generate("")


def test_generation_ends_with_the_context(writer: Generator) -> None:
    text = writer.generate("Kettle", max_tokens=1000, logit_bias={0: -100.0, 2: -100.0})
    assert (text.finish_reason, text.usage.prompt + text.usage.generated) == ("length", 256)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"prompt": 3},
            "expects a prompt that is a string, token ids or the messages of a chat, got int",
        ),
        ({}, "expects a prompt, or query= with context=; got neither"),
        ({"prompt": "a", "query": "b"}, "got both"),
        ({"prompt": [1, 384]}, "'llama' expects tokens from 0 to 383, got 384"),
        ({"prompt": ["a"]}, "got a list of str"),
        (
            {"prompt": "a", "regex": "a", "choices": ["b"]},
            "expected one of choices, regex and json_schema, got choices and regex",
        ),
        ({"query": "a", "context": [1]}, "expects strings as query= and in context="),
        (
            {"prompt": "a", "temprature": 1},
            "unknown sampling option temprature: expected max_tokens, temperature",
        ),
        (
            {"prompt": "a", "truncate": "middle"},
            "truncate expects 'start', 'end' or None, got 'middle'",
        ),
        ({"prompt": "a", "max_tokens": 10**12}, "max_tokens"),
        ({"prompt": "a", "n": 10**9}, "^n expects"),
        (
            {"prompt": "a", "logit_bias": {384: 1.0}},
            "logit_bias of 'llama' expects tokens from 0 to 383, got 384",
        ),
    ],
)
def test_invalid_arguments_are_rejected(
    writer: Generator, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        writer.generate(**arguments)  # type: ignore[arg-type]


def test_lone_surrogate_becomes_a_question_mark(writer: Generator) -> None:
    assert writer.generate("a\ud800", max_tokens=4) == writer.generate("a?", max_tokens=4)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_several_sequences_share_a_random_seed(writer: Generator, n: int) -> None:
    requests = GenerationCall(prompt="Kettle", sampling=SamplingOptions(n=n)).requests(
        writer._parts()
    )
    seeds = {request.args[1].seed for request in requests}  # type: ignore[attr-defined]
    assert len(requests) == n
    assert len(seeds) == 1
    assert (seeds == {None}) is (n == 1)  # a single sequence draws its own seed


def test_tools_reach_the_template(tmp_path: Path) -> None:
    folder = copy("llama", tmp_path)
    source = (
        "{% for tool in tools or [] %}{{ tool.function.name }}{% endfor %}{{ messages[0].content }}"
    )
    (folder / "chat_template.jinja").write_text(source)
    tools = [{"type": "function", "function": {"name": "weather"}}]
    writer = Generator(folder, device="cpu")
    asked = [{"role": "user", "content": " in Oslo"}]
    with_tools = writer.chat(asked, tools=tools, max_tokens=4)
    assert with_tools.tokens == writer.generate("weather in Oslo", max_tokens=4).tokens
    assert writer.stream(asked, tools=tools, max_tokens=4).result() == with_tools
    writer.unload()
