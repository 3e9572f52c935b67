"""Templates: the texts of the files that an export writes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from conduit_lab.export.closure import Closure
from conduit_lab.serving.app import App
from conduit_lab.serving.limits import Limits

TEST_REPLAY = '''"""Starts this folder's app in a fresh process and replays the notebook's calls."""

from pathlib import Path

from conduit_lab.export.replay import replay


def test_answers_are_those_of_the_notebook() -> None:
    problems = [outcome.problem for outcome in replay(Path(__file__).parent) if outcome.problem]
    assert not problems, problems
'''


def app_source(app: App, closure: Closure) -> str:
    """Return `app.py`: imports, the app, its pieces in order; `app` is its last line."""
    names = "App" if app.limits == Limits() else "App, Limits"
    imports = [
        "from pathlib import Path",
        f"from conduit_lab import {names}",
        *closure.packages.lines,
    ]
    name = json.dumps(app.name, ensure_ascii=False)
    options = app_options(app)
    head = [
        f'"""{harmless_line(app.name)}: a conduit_lab app. Run it with `uvicorn app:app`."""',
        *closure.futures,
        _merged(imports),
        f"HERE = Path(__file__).parent\n{closure.app_name} = App({name}, root=HERE{options})",
    ]
    tail = [] if closure.app_name == "app" else [f"app = {closure.app_name}"]
    pieces = [piece.source for piece in closure.pieces]
    return "\n\n".join(head) + _spaced([*pieces, *tail]) + "\n"


def app_options(app: App) -> str:
    """Return the source of the arguments of `App` that differ from their defaults."""
    parts = (
        "" if app.limits == Limits() else f", limits={app.limits!r}",
        "" if app.trace == app.default_trace else f", trace={app.trace!r}",
        "" if not app.protocols else f", protocols={list(app.protocols)!r}",
        "" if app.hosts.names is None else f", hosts={list(app.hosts.names)!r}",
        "" if not app.origins.allowed else f", origins={list(app.origins.allowed)!r}",
        "" if not app.public_url else f", public_url={app.public_url!r}",
    )
    return "".join(parts)


def _merged(lines: Sequence[str]) -> str:
    """Return import statements in their usual order: plain ones, then one `from` per module."""
    plain: set[str] = set()
    members: dict[str, set[str]] = {}
    for line in lines:
        if line.startswith("from "):
            module, _, names = line.removeprefix("from ").partition(" import ")
            members.setdefault(module, set()).add(names)
        else:
            plain.add(line)
    froms = [
        f"from {module} import {', '.join(sorted(names))}"
        for module, names in sorted(members.items())
    ]
    own = [line for line in froms if line.startswith("from conduit_lab")]
    return "\n".join([*sorted(plain), *(line for line in froms if line not in own), "", *own])


def _spaced(pieces: Sequence[str]) -> str:
    """Return the pieces with their gaps: neighboring one-liners as one block, others set apart."""
    text = ""
    after_line: bool | None = None
    for piece in pieces:
        is_line = "\n" not in piece
        gap = "\n\n\n" if not is_line or after_line is False else "\n" if after_line else "\n\n"
        text += gap + piece
        after_line = is_line
    return text


def harmless_line(text: str) -> str:
    """Return a name on one line, harmless inside a docstring and a heading."""
    line = " ".join(text.replace('"""', "'''").replace("\\", "/").split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
