"""The texts of an export: app.py and README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab import App
from conduit_lab.export.closure import Closure
from conduit_lab.export.templates import app_source
from conduit_lab.serving.limits import Limits

CELL = "@lab.get('/a')\ndef a():\n    return 1\n"


def made(name: str, root: Path, cell: str = CELL, **options: Any) -> tuple[App, str]:
    """Return an app with one cell, and the source of its export."""
    names: dict[str, Any] = {"__name__": "cells", "lab": (app := App(name, root=root, **options))}
    exec(cell, names)
    return app, app_source(app, Closure(app, [cell]))


@given(name=st.text(max_size=12))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_name_of_an_app_gives_source_that_runs(tmp_path: Path, name: str) -> None:
    _app, source = made(name, tmp_path)
    names: dict[str, Any] = {"__file__": str(tmp_path / "app.py"), "__name__": "exported"}
    exec(compile(source.encode("utf-8"), "app.py", "exec"), names)
    assert names["app"].name == name


def test_the_source_is_laid_out_as_by_hand(tmp_path: Path) -> None:
    cell = (
        "import numpy as np\nimport json\nfrom os import getcwd\n"
        "from conduit_lab import load_model\n"
        "A = 1\nB = 2\n\ndef f(n):\n    return [A, B, np, json, getcwd, load_model]\nC = 3\n\n"
        "@lab.post('/a')\ndef a(n):\n    return f(C)\n"
    )
    _, source = made("desk", tmp_path, cell)
    assert source == (
        '"""desk: a conduit_lab app. Run it with `uvicorn app:app`."""\n\n'
        "import json\nfrom os import getcwd\nfrom pathlib import Path\n\n"
        "import numpy as np\nfrom conduit_lab import App, load_model\n\n"
        'HERE = Path(__file__).parent\nlab = App("desk", root=HERE)\n\n'
        "A = 1\nB = 2\n\n\ndef f(n):\n    return [A, B, np, json, getcwd, load_model]\n\n\n"
        "C = 3\n\n\n@lab.post('/a')\ndef a(n):\n    return f(C)\n\n\napp = lab\n"
    )


@pytest.mark.parametrize(
    ("limit", "option"), [(None, ""), (1234, ", limits=Limits(body_bytes=1234)")]
)
def test_a_body_limit_that_is_no_default_is_kept(
    tmp_path: Path, limit: int | None, option: str
) -> None:
    options: dict[str, Any] = {} if limit is None else {"limits": Limits(body_bytes=limit)}
    _, source = made("desk", tmp_path, **options)
    assert f'App("desk", root=HERE{option})' in source


def test_an_app_named_app_is_not_set_again(tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "cells", "app": (app := App("x", root=tmp_path))}
    exec(CELL.replace("lab", "app"), names)
    source = app_source(app, Closure(app, [CELL.replace("lab", "app")]))
    assert 'app = App("x", root=HERE)' in source
    assert "app = app" not in source
