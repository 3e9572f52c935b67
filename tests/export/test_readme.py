"""The README of an export: its requests, and the commands of what the app needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab import App
from conduit_lab.export.deployment.deployment import Deployment
from conduit_lab.export.readme import readme
from conduit_lab.serving.recorded import Example

DEPLOYMENT = Deployment("desk", "3.11", 300, False, None, 2**24, 2**15)


@pytest.mark.parametrize(
    ("example", "command"),
    [
        (Example("GET", "/a", "value", {"n": 1}, 1), "curl 'http://127.0.0.1:8000/a?n=1'"),
        (
            Example("POST", "/a", "value", {"t": "it's ä"}, 1),
            "curl 'http://127.0.0.1:8000/a' -H 'content-type: application/json' "
            """-d '{"t": "it'\\''s ä"}'""",
        ),
        (
            Example("POST", "/a", "stream", [1], []),
            "curl -N 'http://127.0.0.1:8000/a' -H 'content-type: application/json' -d '[1]'",
        ),
        (
            Example("POST", "/a", "value", "x" * 299, 1),
            "sed -n 2p examples.jsonl | .venv/bin/python -c "
            "'import json, sys; print(json.dumps(json.load(sys.stdin)[\"payload\"]))' \\\n"
            "  | curl 'http://127.0.0.1:8000/a' -H 'content-type: application/json' -d @-",
        ),
        (
            Example("POST", "/a", "value", "x" * 298, 1),
            "curl 'http://127.0.0.1:8000/a' -H 'content-type: application/json' "
            f"-d '\"{'x' * 298}\"'",
        ),
    ],
)
def test_the_readme_shows_one_request_per_endpoint(
    tmp_path: Path, example: Example, command: str
) -> None:
    app = App("desk", root=tmp_path)
    first = Example(example.method, example.path, example.shape, {"first": 1}, 1)
    text = readme(app, [first, example], DEPLOYMENT)
    assert f"```sh\n{command}\n```" in text
    assert text.partition("## Requests")[2].count("```sh") == 1


@given(name=st.text(max_size=12))
def test_any_name_is_a_heading(name: str) -> None:
    text = readme(App(name), [], DEPLOYMENT)
    assert text.startswith("# ")
    assert text.split("\n")[1:3] == [
        "",
        "Exported by conduit_lab. It needs Python 3.11 or newer; in this folder, run:",
    ]


def test_it_says_what_stores_and_models_need() -> None:
    plain = readme(App("desk"), [], DEPLOYMENT)
    assert "GPU" not in plain
    assert "indexes" not in plain
    full = readme(App("desk"), [], replace(DEPLOYMENT, stores=True, onnxruntime="1.32.0"))
    assert "RUNTIME=gpu" in full
    assert "its own copy of the stores" in full
