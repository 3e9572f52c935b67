"""Templates: the text of the files that an export writes."""

from __future__ import annotations

import json

from conduit_lab.export import source_layout
from conduit_lab.export.closure import Closure
from conduit_lab.serving.app import App
from conduit_lab.serving.limits import Limits

TEST_REPLAY = '''"""Start this folder's app in a fresh process and replay the notebook's calls."""

from pathlib import Path

from conduit_lab.export.replay import replay


def test_answers_are_those_of_the_notebook() -> None:
    problems = [outcome.problem for outcome in replay(Path(__file__).parent) if outcome.problem]
    assert not problems, problems
'''


def app_source(app: App, closure: Closure) -> str:
    """Return `app.py`: imports, the app, its pieces in order, and `app` as the last line."""
    names = ["App"] if app.limits == Limits() else ["App", "Limits"]
    lines = [
        "from pathlib import Path",
        *(f"from conduit_lab import {name}" for name in names),
        *closure.packages.lines,
    ]
    name = json.dumps(app.name, ensure_ascii=False)
    head = [
        f'"""{harmless_line(app.name)}: a conduit_lab app. Run it with `uvicorn app:app`."""',
        *closure.futures,
        source_layout.imports(lines, closure.assets.modules),
        "HERE = Path(__file__).parent\n"
        + source_layout.formatted(f"{closure.app_name} = App({name}, root=HERE{app_options(app)})"),
    ]
    tail = [] if closure.app_name == "app" else [f"app = {closure.app_name}"]
    pieces = [
        source_layout.formatted(piece.source) if piece.order is None else piece.source
        for piece in closure.pieces
    ]
    return "\n\n".join(head) + source_layout.spaced([*pieces, *tail]) + "\n"


def app_options(app: App) -> str:
    """Return the source of the `App` arguments that differ from their defaults."""
    parts = (
        "" if app.limits == Limits() else f", limits={app.limits!r}",
        "" if app.trace == app.default_trace else f", trace={app.trace!r}",
        "" if not app.protocols else f", protocols={list(app.protocols)!r}",
        "" if app.hosts.names is None else f", hosts={list(app.hosts.names)!r}",
        "" if not app.origins.allowed else f", origins={list(app.origins.allowed)!r}",
        "" if not app.public_url else f", public_url={app.public_url!r}",
    )
    return "".join(parts)


def harmless_line(text: str) -> str:
    """Return a name on one line, safe inside a docstring and a heading."""
    line = " ".join(text.replace('"""', "'''").replace("\\", "/").split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
