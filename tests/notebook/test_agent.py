"""An agent that pairs with a session: it lists, calls and reads, and sees no secret."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mcp import Client

from conduit_lab import Lab
from conduit_lab.notebook.agent import MAX_FORM_CHARACTERS, redacted

SECRET = "sk-a-secret-of-the-session"


class Shell:
    """IPython's shell, as far as a lab needs it."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of a session, in which the test runs."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shell = Shell(
        user_ns=names,
        events=SimpleNamespace(register=lambda *_: None),
        history_manager=SimpleNamespace(input_hist_parsed=[""], input_hist_raw=[""]),
        register_magic_function=lambda *_, **__: None,
        set_hook=lambda *_, **__: None,
        custom_exceptions=(Exception,),
    )
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    return names


@pytest.fixture
def lab(tmp_path: Path, names: dict[str, Any]) -> Lab:
    lab = Lab("desk", root=tmp_path)

    @lab.post("/greet")
    def greet(name: str, api_key: str = "") -> str:
        """Greet somebody."""
        return f"Hello {name}"

    names.update(lab=lab, greet=greet)
    return lab


def pair(lab: Lab, use: Callable[[Client], Awaitable[Any]]) -> Any:
    async def run(url: str) -> Any:
        async with Client(url) as client:
            return await use(client)

    with lab.serve(port=0, mcp=True) as server:
        return asyncio.run(run(f"{server.url}/mcp"))


def read(lab: Lab, tool: str, **arguments: Any) -> str:
    result = pair(lab, lambda client: client.call_tool(tool, arguments))
    text: str = result.content[0].text
    return f"error: {text}" if result.is_error else text


def test_an_agent_lists_the_session_and_calls_its_endpoints(lab: Lab) -> None:
    async def use(client: Client) -> Any:
        names = [tool.name for tool in (await client.list_tools()).tools]
        return names, await client.call_tool("greet", {"name": "Ada"})

    names, result = pair(lab, use)
    assert names == ["greet", "lab_overview", "lab_names", "lab_show", "lab_traces"]
    assert result.structured_content == {"result": "Hello Ada"}


def test_the_session_is_shown_as_markdown(lab: Lab, names: dict[str, Any]) -> None:
    names["answers"] = [1, 2, 3]
    overview = read(lab, "lab_overview")
    assert overview.startswith("**Lab 'desk' · 1 endpoint")
    assert "```text\n" in overview
    listed = read(lab, "lab_names").splitlines()
    assert listed == ["- `answers`: list", "- `greet`: Endpoint", "- `lab`: Lab"]
    assert "greet(name: str" in read(lab, "lab_show", name="greet")
    assert read(lab, "lab_show", name="answers") == "**[1, 2, 3]**"
    assert "Did you mean 'greet'" in read(lab, "lab_show", name="great")


def test_traces_are_read_the_newest_first(lab: Lab, names: dict[str, Any]) -> None:
    assert read(lab, "lab_traces", endpoint="greet") == "greet has not been called"
    for name in ("Ada", "Bob"):
        names["greet"](name)
    shown = read(lab, "lab_traces", endpoint="/greet")
    assert shown.count("**Trace") == 2
    assert len(shown) < MAX_FORM_CHARACTERS
    assert "expects 1 to 20" in read(lab, "lab_traces", endpoint="greet", count=21)
    assert "Did you mean" in read(lab, "lab_traces", endpoint="greeet")


def test_no_secret_is_shown(
    lab: Lab, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "the-token-of-the-shop")
    names["api_key"] = SECRET
    names["settings"] = ["used", SECRET, "the-token-of-the-shop"]
    names["greet"]("Ada", api_key=SECRET)
    assert "api_key" not in read(lab, "lab_names")
    assert "error" in read(lab, "lab_show", name="api_key")
    every = [read(lab, tool) for tool in ("lab_overview", "lab_names")]
    every += [read(lab, "lab_show", name=name) for name in ("settings", "greet", "lab")]
    every.append(read(lab, "lab_traces", endpoint="greet"))
    assert "error" in every[2] or "[secret]" in every[2]
    for text in every:
        assert SECRET not in text
        assert "the-token-of-the-shop" not in text


def test_a_secret_argument_is_not_shown_where_nothing_else_holds_it(
    lab: Lab, names: dict[str, Any]
) -> None:
    names["greet"]("Ada", api_key=SECRET)
    names["config"] = {"db": {"password": SECRET}, "max_tokens": "1234567890"}
    assert "Ada" in read(lab, "lab_traces", endpoint="greet")
    assert SECRET not in read(lab, "lab_traces", endpoint="greet")
    assert "config" not in read(lab, "lab_names")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{'password': 'abc def', 'n': 1}", "{'password': '[secret]', 'n': 1}"),
        ('{"API_KEY":"abc", "token": "x"}', '{"API_KEY":"[secret]", "token": "[secret]"}'),
        ("greet(api_key='abc…", "greet(api_key='[secret]'"),
        ("{'max_token_count': 12, 'author': 'Ada'}", "{'max_token_count': 12, 'author': 'Ada'}"),
    ],
)
def test_a_text_in_quotes_after_the_name_of_a_secret_is_left_out(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_what_is_shown_is_bounded(lab: Lab, names: dict[str, Any]) -> None:
    names["big"] = ["x" * 1000] * 1000
    names["array"] = np.zeros((1000, 1000))
    for name in ("big", "array"):
        assert len(read(lab, "lab_show", name=name)) < MAX_FORM_CHARACTERS + 200


def test_pairing_changes_no_export_and_needs_to_be_asked_for(lab: Lab) -> None:
    assert list(lab.spoken) == []
    with lab.serve(port=0, mcp=True):
        pass
    assert lab.protocols == ()
    assert list(lab.spoken) == ["mcp"]
    assert [each.path for each in lab.endpoints] == ["/greet"]
