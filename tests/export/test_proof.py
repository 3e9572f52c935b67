"""The proof: the folder is started in a fresh process and must answer as the session did."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.core.progress import Progress
from conduit_lab.export import writer
from conduit_lab.export.deployment.deployment import FILES
from conduit_lab.export.replay import replay
from conduit_lab.export.wheel import write_wheel
from tests.export.session import Session

SHOP = """
import random
from conduit_lab import VectorStore
model = lab.load_model("models/sign.npz")
shelf = VectorStore(2)
shelf.add("kettle", [1, 0])

@lab.post("/add")
def add(id: str, vector: list[float]):
    shelf.add(id, vector)
    return {"count": len(shelf)}

@lab.post("/search")
def search(vector: list[float]):
    return shelf.search(vector, top_k=2)

@lab.ml_pipeline("/sign")
def sign(value):
    return model.predict(value)

@lab.ml_stream("/count")
def count(n: int):
    for i in range(n):
        yield {"chunk": str(i), "complete": False}
"""


def recorded(folder: Path, path: str) -> dict[str, Any]:
    """Return the first recorded call of an endpoint."""
    lines = (folder / "examples.jsonl").read_text("utf-8").splitlines()
    return next(example for example in map(json.loads, lines) if example["path"] == path)


def test_the_export_answers_the_same_and_its_stores_stay_as_they_are(session: Session) -> None:
    session.run(SHOP, "search([1, 0])", "add('iron', [0, 1])", "sign([1, 2])", "count(3).wait()")
    export = session.export(replay=True)
    done = [(o.example.path, o.problem) for o in export.outcomes]
    assert done == [
        ("/search", None),
        ("/sign", None),
        ("/count", None),
        ("/add", None),
    ]  # calls that write come last
    assert [hit["id"] for hit in recorded(export.folder, "/search")["answer"]] == [
        "kettle",
        "iron",
    ]  # asked again, since the store had changed

    index = export.folder / "indexes" / "shelf.sqlite"
    before = index.read_bytes()
    again = replay(export.folder)
    assert [o.problem for o in again] == [None] * 4
    assert index.read_bytes() == before
    assert sorted(p.name for p in export.folder.iterdir()) == sorted([
        *FILES, "README.md", "app.py", "examples.jsonl", "indexes", "lib", "manifest.json",
        "models", "requirements.txt", "test_replay.py",
    ])  # fmt: skip


def test_streams_of_images_and_bytes_answer_the_same(session: Session) -> None:
    session.run(
        """
        import numpy as np

        @lab.ml_stream("/draw")
        def draw(side: int):
            for shade in range(3):
                yield {"step": shade, "image": np.full((side, side, 3), shade, np.uint8)}

        @lab.ml_stream("/play")
        def play():
            yield b"OggS and more"
        """,
        "draw(4).wait()",
        "play().wait()",
    )
    export = session.export(replay=True)
    assert [(o.example.path, o.problem) for o in export.outcomes] == [
        ("/draw", None),
        ("/play", None),
    ]
    images, sounds = (
        json.loads(line)["answer"]
        for line in (export.folder / "examples.jsonl").read_text().splitlines()
    )
    assert [(image["step"], image["image"]["type"]) for image in images] == [
        (n, "image/png") for n in range(3)
    ]
    assert sounds == [{"type": "audio/ogg", "base64": "T2dnUyBhbmQgbW9yZQ=="}]


def test_another_answer_is_an_error_and_the_older_export_stays(session: Session) -> None:
    session.run("@lab.get('/fixed')\ndef fixed():\n    return 1", "fixed()")
    older = (session.export().folder / "app.py").read_text()
    session.run(
        "import random\n@lab.get('/dice')\ndef dice():\n    return random.random()", "dice()"
    )
    with pytest.raises(
        ExportError, match=r"answers GET /dice differently: answer is 0\.\d+, not 0\.\d+"
    ):
        session.export(replay=True)
    assert (session.root / "out" / "app.py").read_text() == older


def test_an_app_that_does_not_start_says_why(session: Session) -> None:
    session.run(
        "import os\nX = os.environ.get('NO_SUCH', 'a')\n@lab.get('/x')\ndef x():\n    return X",
        "x()",
    )
    folder = session.export().folder
    (folder / "app.py").write_text("raise RuntimeError('no power')")
    with pytest.raises(ExportError, match=r"(?s)did not start:.*no power"):
        replay(folder)


def test_the_manifest_holds_the_hash_of_every_file(session: Session) -> None:
    session.run(SHOP, "search([1, 0])", "add('iron', [0, 1])", "sign([1, 2])", "count(3).wait()")
    folder = session.export().folder
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    del files["manifest.json"]
    assert manifest["sha256"] == {
        name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in files.items()
    }
    assert manifest["endpoints"] == ["POST /add", "POST /search", "POST /sign", "POST /count"]


def test_the_wheel_is_whole_and_imports_by_itself(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "lib")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        record = archive.read(next(n for n in names if n.endswith("RECORD"))).decode()
    assert {line.split(",")[0] for line in record.splitlines()} == set(names)
    assert "conduit_lab/notebook/views/stream/view.js" in names
    code = "import conduit_lab, sys; conduit_lab.App; print(conduit_lab.__file__)"
    environ = {**os.environ, "PYTHONPATH": str(wheel)}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environ, cwd=tmp_path, capture_output=True, text=True
    )
    assert shown.stdout.startswith(str(wheel)), shown.stderr
    assert write_wheel(tmp_path / "again").read_bytes() == wheel.read_bytes()


def test_an_array_of_objects_is_refused(session: Session) -> None:
    session.run(
        "import numpy as np\nX = np.array([{}])\n@lab.get('/x')\ndef x():\n    return len(X)", "x()"
    )
    assert isinstance(session.names["X"], np.ndarray)
    with pytest.raises(ExportError, match=r"X has no file form without pickle \(GET /x → x → X\)"):
        session.export()


def test_a_future_import_of_the_session_comes_first(session: Session) -> None:
    session.run(
        "from __future__ import annotations\n"
        "@lab.post('/x')\ndef x(n: int | None = None):\n    return n",
        "x(1)",
    )
    export = session.export(replay=True)
    assert [o.problem for o in export.outcomes] == [None]
    lines = (export.folder / "app.py").read_text().splitlines()
    assert lines[2] == "from __future__ import annotations"


def test_a_stale_answer_of_an_async_handler_is_made_again(session: Session) -> None:
    session.run(
        SHOP.replace("def search(", "async def search("),
        "import asyncio\nasyncio.run(search([1, 0]))",
    )
    session.run("add('iron', [0, 1])", "sign([1, 2])", "count(3).wait()")
    first = recorded(session.export().folder, "/search")
    assert [hit["id"] for hit in first["answer"]] == ["kettle", "iron"]


def test_the_progress_names_its_steps(session: Session, jobs: list[Progress]) -> None:
    session.run(SHOP, "search([1, 0])", "add('iron', [0, 1])", "sign([1, 2])", "count(3).wait()")
    folder = session.export(replay=False).folder
    job = next(job for job in jobs if job.name == f"export {folder.name}")
    assert (job.done, job.total, job.phase) == (2, 3, "hashing files")


def test_a_state_that_is_cut_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(tmp_path).run('@lab.post("/a")\ndef a(x): return x', "a(1)")
    monkeypatch.setattr(writer, "MAX_LINES", 1)
    assert (
        "more than 1 objects; only these were compared" in session.export(replay=True).warnings[0]
    )
