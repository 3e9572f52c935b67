"""Templates: the texts of the files that an export writes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from conduit_lab.export import source_layout
from conduit_lab.export.closure import Closure
from conduit_lab.serving.app import App
from conduit_lab.serving.limits import Limits
from conduit_lab.serving.recorded import Example
from conduit_lab.serving.tool import MCP_PATH, TOOL_METHOD

_MAX_SHOWN_BODY_CHARACTERS = 300

TEST_REPLAY = '''"""Starts this folder's app in a fresh process and replays the notebook's calls."""

from pathlib import Path

from conduit_lab.export.replay import replay


def test_answers_are_those_of_the_notebook() -> None:
    problems = [outcome.problem for outcome in replay(Path(__file__).parent) if outcome.problem]
    assert not problems, problems
'''


def app_source(app: App, closure: Closure) -> str:
    """Return `app.py`: imports, the app, its pieces in order; `app` is its last line."""
    names = ["App"] if app.limits == Limits() else ["App", "Limits"]
    lines = [
        "from pathlib import Path",
        *(f"from conduit_lab import {name}" for name in names),
        *closure.packages.lines,
    ]
    name = json.dumps(app.name, ensure_ascii=False)
    head = [
        f'"""{_line(app.name)}: a conduit_lab app. Run it with `uvicorn app:app`."""',
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
    """Return the source of the arguments of `App` that differ from their defaults."""
    parts = (
        "" if app.limits == Limits() else f", limits={app.limits!r}",
        "" if app.trace == app.default_trace else f", trace={app.trace!r}",
        "" if not app.protocols else f", protocols={list(app.protocols)!r}",
        "" if app.hosts.names is None else f", hosts={list(app.hosts.names)!r}",
        "" if not app.origins.allowed else f", origins={list(app.origins.allowed)!r}",
    )
    return "".join(parts)


def readme(app: App, examples: Sequence[Example]) -> str:
    """Return `README.md`: how to run it, and one request per endpoint."""
    last = {(example.method, example.path): example for example in examples}
    shown = [_curl(each) for each in last.values() if each.method != TOOL_METHOD]
    requests = "\n\n".join(f"```sh\n{curl}\n```" for curl in shown)
    if tools := [example.path for example in last.values() if example.method == TOOL_METHOD]:
        requests += f"\n\nAgents call {', '.join(map(_line, tools))} by MCP, at `{MCP_PATH}`."
    return f"""# {_line(app.name)}

Exported by conduit_lab. It needs Python 3.11 or newer; run these in this folder:

```sh
python3 -m venv .venv
.venv/bin/pip install -r requirements.txt
.venv/bin/conduit-lab serve . --port 8000
```

It listens on 127.0.0.1. Other machines may call it (`--host 0.0.0.0`) once it has a key:
`.venv/bin/conduit-lab key NAME` makes one, and prints the line for the environment.

`.venv/bin/conduit-lab check .` starts it in a fresh process and compares its answers with those
in `examples.jsonl`.

## Requests

{requests}
"""


def _curl(example: Example) -> str:
    url = f"'http://127.0.0.1:8000{example.target}'"
    if example.method == "GET":
        return f"curl {url}"
    body = json.dumps(example.payload, ensure_ascii=False).replace("'", "'\\''")
    data = f"-d '{body}'"
    if len(body) > _MAX_SHOWN_BODY_CHARACTERS:
        data = "-d @body.json  # a line of examples.jsonl holds a payload"
    flag = "-N " if example.shape == "stream" else ""
    return f"curl {flag}{url} -H 'content-type: application/json' {data}"


def _line(text: str) -> str:
    """Return a name on one line, harmless inside a docstring and a heading."""
    line = " ".join(text.replace('"""', "'''").replace("\\", "/").split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
