"""The text of the files that an export writes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from conduit_lab.export.closure import Closure
from conduit_lab.serving.app import App
from conduit_lab.serving.gate.body import MAX_BODY_BYTES
from conduit_lab.serving.recorded import Example

TEST_REPLAY = '''"""Starts this folder's app in a fresh process and asks it everything that the notebook asked."""

from pathlib import Path

from conduit_lab.export.replay import replay


def test_answers_are_those_of_the_notebook() -> None:
    problems = [outcome.problem for outcome in replay(Path(__file__).parent) if outcome.problem]
    assert not problems, problems
'''


def app_source(app: App, closure: Closure) -> str:
    """Return `app.py`: imports, the app, then everything in the order it is needed; `app` is its last line."""
    imports = ["from pathlib import Path", "from conduit_lab import App", *closure.packages.lines]
    name = json.dumps(app.name, ensure_ascii=False)
    limit = "" if app.body_limit == MAX_BODY_BYTES else f", body_limit={app.body_limit}"
    limit += "" if app.deadline is None else f", deadline={app.deadline!r}"
    head = [
        f'"""{_one_line(app.name)}: a conduit_lab app. Run it with `uvicorn app:app`."""',
        *closure.futures,
        _merged(imports),
        f"HERE = Path(__file__).parent\n{closure.app_name} = App({name}, root=HERE{limit})",
    ]
    tail = [] if closure.app_name == "app" else [f"app = {closure.app_name}"]
    return "\n\n".join(head) + _spaced([*closure.pieces, *tail]) + "\n"


def readme(app: App, examples: Sequence[Example]) -> str:
    """Return `README.md`: how to run it, and one request for each endpoint."""
    shown = {(example.method, example.path): example for example in examples}
    requests = "\n\n".join(f"```sh\n{_curl(example)}\n```" for example in shown.values())
    return f"""# {_one_line(app.name)}

Exported by conduit_lab. It needs Python 3.11 or newer; run these in this folder:

```sh
python3 -m venv .venv
.venv/bin/pip install -r requirements.txt
.venv/bin/uvicorn app:app --port 8000 --timeout-graceful-shutdown 10
```

`.venv/bin/conduit-lab check .` starts it in a fresh process and compares its answers with those in `examples.jsonl`.

## What it answers

{requests}
"""


def _curl(example: Example) -> str:
    if example.method == "GET":
        return f"curl 'http://127.0.0.1:8000{example.target}'"
    body = json.dumps(example.payload, ensure_ascii=False).replace("'", "'\\''")
    flag = "-N " if example.shape == "stream" else ""
    shown = body if len(body) <= 300 else "@body.json"
    return (
        f"curl {flag}'http://127.0.0.1:8000{example.target}' -H 'content-type: application/json' "
        + (
            f"-d '{shown}'"
            if shown == body
            else "-d @body.json  # a line of examples.jsonl holds a payload"
        )
    )


def _merged(lines: Sequence[str]) -> str:
    """Return import statements in the order a reader expects: plain ones, then one `from` line a module."""
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
    """Return the pieces, each after its gap: neighbouring one-liners as one block, definitions set apart."""
    text = ""
    before = None  # whether the piece before is one line
    for piece in pieces:
        single = "\n" not in piece
        gap = "\n\n\n" if not single or before is False else "\n" if before else "\n\n"
        text += gap + piece
        before = single
    return text


def _one_line(text: str) -> str:
    line = " ".join(text.replace('"""', "'''").replace("\\", "/").split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
