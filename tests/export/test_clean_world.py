"""The clean world of a replay: no file, variable and package of the session is there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.clean_world import FOLDER_NAME, clean_world, explained
from conduit_lab.export.environment_keys import environment_file, environment_keys, keys_in
from conduit_lab.export.replay import Outcome, replay
from conduit_lab.export.requirements import requirements
from conduit_lab.serving.recorded import Example

APP = """
import json
import os
import tempfile
from pathlib import Path

from conduit_lab import App

HERE = Path(__file__).parent
app = App("shop", root=HERE)
(Path.home() / "made-here").write_text("a fresh home")

@app.post("/open")
def opened(path: str):
    with open(path) as file:
        return file.read()

@app.post("/write")
def written(path: str):
    return Path(path).write_text("x")

@app.post("/list")
def listed(path: str):
    return sorted(os.listdir(path))

@app.post("/rows")
def rows(path: str):
    import sqlite3
    return sqlite3.connect(path).execute("select 1").fetchall()

@app.post("/import")
def imported(name: str):
    return __import__(name).__name__

@app.post("/try")
def tried(name: str):
    try:
        return __import__(name).__name__
    except ImportError:
        return "none"

@app.post("/version")
def version(name: str):
    from importlib.metadata import version
    return version(name)

@app.post("/key")
def key(name: str):
    return os.environ[name]

@app.get("/names")
def names():
    return sorted(os.environ)

@app.get("/here")
def here():
    return [Path.cwd().name, Path.cwd() == HERE, HERE.name]

@app.get("/process")
def process():
    import gc
    from conduit_lab.runtime.sessions import session
    is_frozen = gc.get_freeze_count() > 0
    return [session.threads_spin, session.default_threads, gc.isenabled(), is_frozen]

@app.post("/own")
def own(text: str):
    place = HERE / "notes.txt"
    place.write_text(text)
    with tempfile.TemporaryFile("w+") as file:
        return [place.read_text(), json.dumps(text)]

@app.post("/deep")
def deep(n: int):
    return inner(n)

def inner(n):
    raise LookupError(f"no {n}")
"""


def call(path: str, payload: object, answer: object) -> Example:
    method = "GET" if path in ("/names", "/here", "/process") else "POST"
    return Example(method, path, "value", payload, answer)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "app.py").write_text(APP, "utf-8")
    (folder / "rates.csv").write_text("1", "utf-8")
    (folder / "requirements.txt").write_text(requirements("w.whl", (), ()), "utf-8")
    (folder / ".env.example").write_text(environment_file(["SHOP_KEY"]), "utf-8")
    return folder


def asked(folder: Path, *examples: Example) -> dict[str, Outcome]:
    lines = "".join(f"{each.to_json()}\n" for each in examples)
    (folder / "examples.jsonl").write_text(lines, "utf-8")
    return {json.dumps([o.example.path, *o.example.payload.values()]): o for o in replay(folder)}


def test_a_replay_has_only_the_files_variables_and_packages_of_the_export(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "of the session")
    monkeypatch.setenv("SHOP_OTHER", "not exported")
    outside = tmp_path / "rates.csv"
    outside.write_text("7", "utf-8")
    found = asked(
        folder,
        call("/open", {"path": str(outside)}, "7"),
        call("/open", {"path": "rates.csv"}, "1"),
        call("/open", {"path": "/etc/hosts"}, Path("/etc/hosts").read_text()),
        call("/write", {"path": str(tmp_path / "log.txt")}, 1),
        call("/list", {"path": str(tmp_path)}, ["rates.csv", "shop"]),
        call("/rows", {"path": str(outside)}, [[1]]),
        call("/import", {"name": "hypothesis"}, "hypothesis"),
        call("/import", {"name": "numpy"}, "numpy"),
        call("/try", {"name": "pandas"}, "pandas"),
        call("/version", {"name": "pytest"}, pytest.__version__),
        call("/key", {"name": "SHOP_KEY"}, "of the session"),
        call("/key", {"name": "SHOP_OTHER"}, "not exported"),
        call("/here", {}, [FOLDER_NAME, True, FOLDER_NAME]),
        call("/own", {"text": "é"}, ["é", '"\\u00e9"']),
        call("/deep", {"n": 3}, None),
        call("/names", {}, []),
    )
    same = {name for name, outcome in found.items() if outcome.problem is None}
    assert same == {
        '["/open", "rates.csv"]', '["/open", "/etc/hosts"]', '["/import", "numpy"]',
        '["/key", "SHOP_KEY"]', '["/here"]', '["/own", "\\u00e9"]',
    }  # fmt: skip

    def of(*key: str) -> Outcome:
        return found[json.dumps([*key])]

    for path in ("/open", "/rows"):
        assert (
            f"It opened {outside}, which is not in the export" in of(path, str(outside)).reasons[0]
        )
    assert "It would write" in of("/write", str(tmp_path / "log.txt")).reasons[0]
    assert not (tmp_path / "log.txt").exists()
    assert "It opened" in of("/list", str(tmp_path)).reasons[0]
    missing = of("/import", "hypothesis")
    assert "It imports hypothesis, which is installed here" in missing.reasons[0]
    assert "ModuleNotFoundError: No module named 'hypothesis'" in missing.log
    assert of("/try", "pandas").got == "none"
    assert "PackageNotFoundError" in of("/version", "pytest").log
    assert "KeyError: 'SHOP_OTHER'" in of("/key", "SHOP_OTHER").log
    log = found['["/deep", 3]'].log
    assert log.endswith("LookupError: no 3")
    assert 'File "app.py", line' in log
    assert "in deep" in log and "in inner" in log and "site-packages" not in log
    names = set(of("/names").got)
    assert {"HOME", "PATH", "LANG", "TMPDIR", "SHOP_KEY"} <= names
    assert not names & {"SHOP_OTHER", "PYTEST_CURRENT_TEST", "USER"}
    assert not (folder / "notes.txt").exists()  # the copy was asked
    assert not (Path.home() / "made-here").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rates.csv", "shop"]


def test_an_app_that_needs_a_file_of_the_project_to_start_names_it(
    folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "settings.json"
    outside.write_text("{}", "utf-8")
    (folder / "app.py").write_text(f"open({str(outside)!r})", "utf-8")
    with (
        pytest.raises(ExportError, match=r"(?s)did not start:.*It opened .*settings\.json, which"),
        clean_world(folder, hidden=[tmp_path]),
    ):
        pass


def test_keys_of_the_environment_are_read_from_code(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os\nfrom os import environ, getenv\n"
        "def a(): return os.environ['ONE'] + os.environ.get('TWO', '') + getenv('THREE')\n"
        "def b(name): return 'FOUR' in environ and os.environ[name] and config.get('NONE')\n"
    )
    (tmp_path / "broken.py").write_text("def (")
    keys = environment_keys(tmp_path)
    assert keys == ["FOUR", "ONE", "THREE", "TWO"]
    (tmp_path / ".env").write_text(environment_file(keys))
    assert keys_in(tmp_path / ".env") == keys
    assert keys_in(tmp_path / "none") == []


def test_a_reason_is_said_once_and_only_of_a_package_that_is_missed() -> None:
    package = {"kind": "package", "name": "polars"}
    file = {"kind": "file", "path": "/a", "writes": ""}
    reports = [package, file, package, file, {"kind": "failure", "text": ""}]
    assert len(explained(reports, "No module named 'polars'")) == 2
    assert len(explained(reports, "")) == 1


def test_a_replay_leaves_half_of_the_cores_to_the_session(folder: Path) -> None:
    half = max(1, (os.cpu_count() or 1) // 2)
    [outcome] = asked(folder, call("/process", {}, [False, half, True, True])).values()
    assert outcome.problem is None
