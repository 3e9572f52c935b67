"""Imports in an export: the session's own, their packages, and modules of the project."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conduit_lab.core.errors import ExportError
from tests.export.session import Session, same

Modules = Callable[..., None]


@pytest.fixture
def modules(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Modules]:
    """Write modules of the project, importable here and forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(session.root))

    def write(**sources: str) -> None:
        for name, source in sources.items():
            path = session.root / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, "utf-8")

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("kettle"):
            del sys.modules[name]


def forget() -> None:
    """Drop the project's modules, so that the export imports its own copies."""
    for name in [name for name in sys.modules if name.startswith("kettle")]:
        del sys.modules[name]


def exported(session: Session, cell: str, body: str) -> str:
    session.run(cell, f"@lab.post('/a')\ndef a(n: int):\n    return {body}", "a(2)")
    return same(session)


@pytest.mark.parametrize(
    ("cell", "body", "line"),
    [
        ("import math", "math.floor(2.5)", "import math"),
        ("import math as m", "m.floor(2.5)", "import math as m"),
        ("import os.path", "os.path.basename('a/b')", "import os.path"),
        ("import os.path as p", "p.basename('a/b')", "import os.path as p"),
        ("from os import path", "path.basename('a/b')", "from os import path"),
        ("from math import floor as down", "down(2.5)", "from math import floor as down"),
        ("from math import floor, ceil", "floor(2.5)", "from math import floor"),
        ("from math import *", "ceil(2.5)", "from math import ceil"),
        ("from os.path import *", "basename('a/b')", "from os.path import basename"),
        ("import json, math", "json.dumps(n)", "import json"),
        ("if True:\n    import json", "json.dumps(n)", "import json"),
        (
            "import xml.dom\nimport xml.sax",
            "[xml.dom.__name__, xml.sax.__name__]",
            "import xml.dom\nimport xml.sax",
        ),
        (
            "try:\n    import no_such as j\nexcept ImportError:\n    import json as j",
            "j.dumps(n)",
            "import json as j",
        ),
        ("import json as j\nimport math as j", "j.floor(2.5)", "import math as j"),
        (
            "import math as j\nkept = j\nimport json as j\nj = kept",
            "j.floor(2.5)",
            "import math as j",
        ),
        (
            "from math import floor as f\nkept = f\nfrom math import ceil as f\nf = kept",
            "f(2.5)",
            "from math import floor as f",
        ),
        ("import numpy as np\nimport numpy", "np is numpy", "import numpy\nimport numpy as np"),
        ("from math import pi", "pi", "pi = 3.14"),
        ("from string import ascii_letters as L", "L[0]", 'L = "abc'),
        ("from os import environ", "'PATH' in environ", "from os import environ"),
        ("from typing import Any\nV: Any = 1", "V", "from typing import Any"),
    ],
)  # fmt: skip
def test_the_import_of_the_live_object_is_written(
    session: Session, cell: str, body: str, line: str
) -> None:
    assert f"\n{line}" in exported(session, cell, body)


def test_an_import_inside_a_function_stays_there(session: Session) -> None:
    cell = "def f(n):\n    import math\n    return math.floor(n)"
    assert not exported(session, cell, "f(n)").startswith("import math")
    assert "    import math\n" in (session.root / "out/app.py").read_text("utf-8")


def test_requirements_pin_every_import_even_inside_a_function(session: Session) -> None:
    session.run("@lab.post('/a')\ndef a(n):\n    import orjson, hypothesis\n    return n", "a(1)")
    lines = (session.export().folder / "requirements.txt").read_text("utf-8").splitlines()
    import hypothesis

    assert f"hypothesis=={hypothesis.__version__}" in lines
    assert "sortedcontainers" in "".join(lines)  # a requirement of hypothesis
    assert lines[2].startswith("./lib/conduit_lab-")
    assert lines[3:] == sorted(lines[3:])
    assert not any(line.startswith(("conduit", "jupyterlab", "pandas")) for line in lines[3:])


def test_an_object_without_an_import_is_refused(session: Session) -> None:
    space: dict[str, object] = {"__name__": "nowhere"}
    exec("def lost(n):\n    return n", space)
    session.names["lost"] = space["lost"]
    session.run("@lab.post('/a')\ndef a(n: int):\n    return lost(n)", "a(2)")
    with pytest.raises(ExportError) as caught:
        session.export()
    assert str(caught.value) == (
        "lost has no known import (POST /a → a → lost): import it by name: from … import lost"
    )


# Modules of the project


def test_a_module_is_copied_with_its_imports(session: Session, modules: Modules) -> None:
    modules(
        kettle_a="import kettle_b\nimport httpx\nPRICE = kettle_b.PRICE\n",
        kettle_b="from kettle_c import PRICE\n",
        kettle_c="def lazy():\n    import kettle_d\nPRICE = 20\n",
        kettle_d="",
        kettle_unused="",
    )
    session.run(
        "import kettle_d, kettle_a as k",
        "@lab.post('/a')\ndef a(n):\n    return n * k.PRICE",
        "a(2)",
    )
    folder = session.export().folder
    assert "import kettle_a as k" in (folder / "app.py").read_text("utf-8")
    names = {path.stem for path in folder.glob("kettle*.py")}
    assert names == {"kettle_a", "kettle_b", "kettle_c", "kettle_d"}
    assert "\nhttpx==" in (folder / "requirements.txt").read_text("utf-8")


def test_a_package_is_copied_whole(session: Session, modules: Modules) -> None:
    modules(kettles__parts="from . import deep\nPRICE = deep.PRICE", kettles__deep="PRICE = 3")
    (session.root / "kettles/__init__.py").write_text("")
    (session.root / "kettles/table.csv").write_text("a,b")
    (session.root / "kettles/.hidden").write_text("x")
    session.run(
        "from kettles.parts import PRICE as P, deep",
        "@lab.post('/a')\ndef a(n):\n    return deep.PRICE * n",
        "a(2)",
    )
    forget()
    import kettles.parts  # type: ignore[import-not-found]  # noqa: F401

    folder = session.export().folder
    found = {path.name for path in (folder / "kettles").iterdir() if path.is_file()}
    assert found == {"__init__.py", "parts.py", "deep.py", "table.csv"}


def test_a_file_that_is_no_python_of_this_version_is_copied(
    session: Session, modules: Modules
) -> None:
    modules(kettles__template="def {{ name }}():")
    (session.root / "kettles/__init__.py").write_text("PRICE = 3")
    session.run("import kettles", "@lab.post('/a')\ndef a(n):\n    return kettles.PRICE", "a(2)")
    assert (session.export().folder / "kettles/template.py").is_file()


def test_a_package_may_share_the_folder_of_the_models(session: Session, modules: Modules) -> None:
    modules(kettles__rules="LIMIT = 2")
    (session.root / "models/sign.npz").rename(session.root / "kettles/sign.npz")
    session.run(
        "from kettles import rules\nsign = lab.load_model('kettles/sign.npz')",
        "@lab.post('/a')\ndef a(x: list):\n    return [sign.predict(x), rules.LIMIT]",
        "a([1, 1])",
    )
    (session.root / "kettles/__init__.py").write_text("")
    forget()
    import kettles  # noqa: F401

    folder = session.export().folder
    assert {p.name for p in (folder / "kettles").glob("*.*")} == {
        "__init__.py",
        "rules.py",
        "sign.npz",
    }


def test_a_module_in_the_place_of_the_app_is_refused(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session.root / "app.py").write_text("PRICE = 3")
    monkeypatch.syspath_prepend(str(session.root))
    monkeypatch.delitem(sys.modules, "app", raising=False)
    session.run("import app as shop", "@lab.post('/a')\ndef a(n):\n    return shop.PRICE", "a(2)")
    with pytest.raises(ExportError, match=r"would both be app\.py: rename the module"):
        session.export()
    del sys.modules["app"]


def test_a_module_of_an_environment_inside_the_project_is_pinned(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = session.root / ".venv/site-packages"
    site.mkdir(parents=True)
    (site / "kettle_lib.py").write_text("PRICE = 3")
    monkeypatch.syspath_prepend(str(site))
    session.run(
        "import kettle_lib", "@lab.post('/a')\ndef a(n):\n    return kettle_lib.PRICE", "a(2)"
    )
    assert not (session.export().folder / "kettle_lib.py").exists()
    del sys.modules["kettle_lib"]


def test_a_module_outside_the_project_is_not_copied(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kettle_far.py").write_text("PRICE = 3")
    monkeypatch.syspath_prepend(str(tmp_path))
    session.run(
        "import kettle_far", "@lab.post('/a')\ndef a(n):\n    return kettle_far.PRICE", "a(2)"
    )
    assert not (session.export().folder / "kettle_far.py").exists()
    del sys.modules["kettle_far"]
