"""Tool calls in the text forms of the families that people run."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.serving.faces.language.tool_calls import ToolCallReader, ToolUse

TOOLS = ToolUse([{"name": "weather"}, {"name": "clock"}])
CALL = '{"name": "weather", "arguments": {"city": "Oslo"}}'
QWEN, MISTRAL, LLAMA, PHI = (
    "<tool_call>",
    "[TOOL_CALLS] {{ tools }}",
    "<|python_tag|>",
    "<|tool_call|>",
)


def read(template: str, text: str, tools: ToolUse = TOOLS, step: int = 1) -> tuple[str, list[str]]:
    """Return the running text and the calls of a text that comes `step` characters at a time."""
    reader = ToolCallReader(template, tools)
    shown, calls = "", []
    for start in range(0, len(text), step):
        part, found = reader.push(text[start : start + step])
        shown += part
        calls += found
    part, found = reader.finish()
    return shown + part, [f"{call.name} {json.loads(call.arguments)}" for call in [*calls, *found]]


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(
    ("template", "text", "shown", "names"),
    [
        (QWEN, f"Let me see.<tool_call>\n{CALL}\n</tool_call>", "Let me see.", ["weather"]),
        (QWEN, f"<tool_call>{CALL}</tool_call><tool_call>{CALL}</tool_call>", "", ["weather"] * 2),
        (MISTRAL, f"[TOOL_CALLS][{CALL}, {CALL}]", "", ["weather"] * 2),
        (MISTRAL, f" [{CALL}]", "", ["weather"]),  # its mark is a special token
        (LLAMA, '{"name": "clock", "parameters": {}}', "", ["clock"]),
        (PHI, f"<|tool_call|>[{CALL}]<|/tool_call|>", "", ["weather"]),
        (QWEN, "<tool_call>nonsense</tool_call> and more", None, []),
        (QWEN, f"<tool_call>{CALL}", None, ["weather"]),
        (QWEN, '<tool_call>{"name": "other", "arguments": {}}</tool_call>', None, []),
        (QWEN, CALL, None, []),
        (QWEN, "a < b <tool", None, []),
        (LLAMA, "[1, 2] is a list", None, []),
        (PHI, f"<|tool_call|>no<|/tool_call|>{CALL}", None, []),
        (LLAMA, f"Sure: {CALL}", None, []),
        (LLAMA, '{"name": ["weather"]}', None, []),
        (LLAMA, "[" * 5000, None, []),
        (LLAMA, "  \n", None, []),
    ],
)
def test_a_text_is_split_into_words_and_calls(
    template: str, text: str, shown: str | None, names: list[str], step: int
) -> None:
    got, calls = read(template, text, step=step)
    assert [call.partition(" ")[0] for call in calls] == names
    if not names:
        assert got == text
    elif shown is not None:
        assert got == shown


@given(st.text(alphabet='<tool_cal>/{}[]"name:, x', max_size=80), st.integers(1, 9))
def test_text_without_a_call_is_kept_however_it_is_cut(text: str, step: int) -> None:
    for template in (QWEN, MISTRAL, LLAMA, PHI):
        assert read(template, text, step=step) == (text, [])


def test_a_forced_call_needs_no_mark() -> None:
    forced = ToolUse(TOOLS.functions, ["weather"])
    assert read(QWEN, CALL, forced) == ("", ["weather {'city': 'Oslo'}"])
    assert read(QWEN, '{"name": "clock", "arguments": {}}', forced)[1] == []
    assert forced.schema is not None
    assert forced.schema["properties"]["name"] == {"const": "weather"}
    both = ToolUse(TOOLS.functions, ["weather", "clock"]).schema
    assert both is not None
    assert len(both["anyOf"]) == 2
