"""Tools of agents in an export: their source, their proof over MCP, and the README."""

from __future__ import annotations

import json

import pytest

from conduit_lab.core.errors import ExportError
from tests.export.session import Session

SHOP = """
PRICES = {"kettle": 20}

@lab.tool("price_of", "Look up a price.")
def look_up(item: str, count: int = 1) -> int:
    return PRICES[item] * count

@lab.tool()
async def stock(body):
    return {"items": sorted(PRICES), "given": body}
"""


def test_a_tool_is_exported_and_proved_by_a_call_of_its_protocol(session: Session) -> None:
    session.run(SHOP, "look_up('kettle', 2)", "import asyncio; asyncio.run(stock({'a': 1}))")
    export = session.export(replay=True)
    assert [(o.endpoint, o.problem) for o in export.outcomes] == [
        ("TOOL price_of", None),
        ("TOOL stock", None),
    ]
    source = (export.folder / "app.py").read_text()
    assert '@lab.tool("price_of", "Look up a price.")' in source
    assert "PRICES = " in source
    assert "protocols=" not in source  # its tools say so
    readme = (export.folder / "README.md").read_text()
    assert "Agents call price_of, stock over MCP, at `/mcp`." in readme
    requirements = (export.folder / "requirements.txt").read_text()
    assert "\nmcp==" in requirements
    assert "\nsse-starlette==" in requirements  # a requirement of mcp


def test_a_tool_that_answers_differently_stops_the_export(session: Session) -> None:
    session.run(
        "import os\n@lab.tool()\ndef process() -> int:\n    return os.getpid()", "process()"
    )
    with pytest.raises(ExportError, match="TOOL process differently"):
        session.export(replay=True)


def test_a_tool_that_fails_in_the_export_stops_it(session: Session) -> None:
    session.run(
        "import os\nhere = os.getpid()\n@lab.tool()\ndef process() -> int:\n"
        "    if os.getpid() != here: raise RuntimeError('elsewhere')\n    return 1",
        "process()",
    )
    with pytest.raises(ExportError, match="the tool failed"):
        session.export(replay=True)


def test_a_tool_without_a_call_is_missing(session: Session) -> None:
    session.run(SHOP, "look_up('kettle')")
    with pytest.raises(ExportError, match="no recorded call of TOOL stock"):
        session.export()


def test_a_tool_is_replaced_by_its_cell(session: Session) -> None:
    session.run(SHOP, "look_up('kettle')")
    session.run(
        '@lab.tool("price_of")\ndef look_up(item: str) -> int:\n    return 1', "look_up('x')"
    )
    assert [each.path for each in session.lab.endpoints] == ["stock", "price_of"]
    (example,) = session.lab.examples
    assert json.loads(example.to_json())["answer"] == 1
