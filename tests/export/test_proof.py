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

import pytest

from conduit_lab.core.errors import ExportError, UnknownName
from conduit_lab.core.progress import Progress
from conduit_lab.export import writer
from conduit_lab.export.deployment.deployment_files import FILES
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
        "models", "proof.svg", "requirements.txt", "state.json", "test_replay.py",
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
        ExportError,
        match=r"GET /dice does not answer the same twice: it draws from an unseeded generator "
        r"\(random\.random\) \(answer is 0\.\d+, not 0\.\d+\)(?s:.*)lab\.varies\(\"/dice\"\)",
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


COUNTER = """
import random
seen = {"a": 0, "b": 0}

@lab.post("/count")
def count(name: str):
    seen[name] += 1
    return seen[name]

@lab.post("/third")
def third(x: float):
    return x / 3

@lab.get("/pick")
def pick():
    return {"n": random.random(), "of": ["a", "b"]}
"""


def test_calls_that_change_the_state_are_compared_in_their_order(session: Session) -> None:
    session.run(COUNTER, "count('a'); count('b'); third(1); pick()", "lab.varies('/pick')")
    export = session.export(replay=True)
    assert {o.endpoint: (o.how, o.times, o.problem) for o in export.outcomes} == {
        "POST /count": ("exact", 2, None),
        "POST /third": ("exact", 2, None),
        "GET /pick": ("shape", 2, None),
    }
    first, *others = [text for text in export.warnings if "answers differently now" in text]
    assert len(others) == 1
    assert first.startswith("POST /count answers differently now than when it was called (answer")
    lines = (export.folder / "examples.jsonl").read_text("utf-8").splitlines()
    varies = {json.loads(line)["path"]: json.loads(line).get("varies") for line in lines}
    assert varies == {"/count": None, "/third": None, "/pick": True}
    assert json.loads(lines[0])["answer"] == 2  # the next one of that state
    session.run(COUNTER)
    assert session.lab.endpoints["/pick"].varies  # its cell ran again
    with pytest.raises(UnknownName, match=r"no endpoint '/pik'.*pick"):
        session.lab.varies("/pik")
    assert len(session.lab.endpoints["/third"].history) == 1  # the user's own call


def test_a_session_that_fails_now_is_no_fault_of_the_export(session: Session) -> None:
    session.run("K = {'a': 1}\n@lab.post('/k')\ndef k(x): return K[x]", "k('a')", "K.clear()")
    with pytest.raises(ExportError, match=r"POST /k succeeded when it was recorded, but fails in"):
        session.export(replay=True)


def test_a_wrong_answer_shows_both_sides_and_the_traceback(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session.root / "rates.csv").write_text("7")
    session.run(
        "from pathlib import Path",
        f"PLACE = {str(session.root / 'rates.csv')!r}",
        "@lab.post('/rate')\ndef rate(n: int):\n    return n * int(Path(PLACE).read_text())",
        "rate(2)",
    )
    session.export()
    with pytest.raises(ExportError) as refused:
        session.export(replay=True)
    text = str(refused.value)
    assert text.startswith("the exported app answers POST /rate differently: status 500")
    assert '\n  request          {"n": 2}\n  this session     14\n' in text
    assert f"It opened {session.root / 'rates.csv'}, which is not in the export" in text
    assert "\nIn the exported app:\n  Traceback" in text
    assert "in rate" in text
    assert text.endswith(
        "FileNotFoundError: [Errno 2] not in the export: "
        f"'{session.root / 'rates.csv'}'\nNothing was written"
    )


@pytest.mark.parametrize("proof", ["Process", True, "docker"])
def test_a_proof_that_there_is_not_is_refused(session: Session, proof: Any) -> None:
    with pytest.raises(ExportError, match='proof= expected "process", "venv" or None'):
        session.lab.export("out", proof=proof)
