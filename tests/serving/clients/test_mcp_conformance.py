"""The public conformance suite of MCP against a served app, in both of its revisions."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.clients.node import NODE, PACKAGES, require

pytestmark = pytest.mark.long

SUITE = "@modelcontextprotocol/conformance"
SECONDS = 300.0
SCORED = {"2026-07-28": 37, "2025-11-25": 30}  # scenarios that the revision requires of a server
POLLING = "server-sse-polling"  # optional, of the older revision


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the app with the suite's fixtures, in a process of its own."""
    require(SUITE)
    command = [sys.executable, "-m", "tests.serving.faces.mcp_fixtures"]
    process = subprocess.Popen(
        [*command, str(tmp_path_factory.mktemp("conformance"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # failing fixtures are logged
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(SECONDS)
        process.stdout.close()


@pytest.mark.parametrize("revision", SCORED)
def test_every_scenario_passes(url: str, revision: str) -> None:
    suite = PACKAGES / "node_modules" / SUITE
    done = subprocess.run(
        [NODE, "dist/index.js", "server", "--url", url, "--requirements", revision],
        cwd=suite,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    required = _required(suite / "requirements" / f"{revision}.yaml")
    assert len(required) == SCORED[revision]
    verdicts = dict(re.findall(r"^. ([\w-]+): \d+ passed, (\d+) failed", done.stdout, re.MULTILINE))
    failed = {name: verdicts.get(name, "not run") for name in {*required, *verdicts}}
    assert {name for name, count in failed.items() if count != "0"} == set()
    assert (POLLING in verdicts) == (revision == "2025-11-25")


def _required(path: Path) -> list[str]:
    """Return the scenarios below `server:` of a list of requirements."""
    block = path.read_text("utf-8").partition("\nserver:\n")[2].partition("\n\n")[0]
    return [line.removeprefix("  - ") for line in block.split("\n") if line.startswith("  - ")]
