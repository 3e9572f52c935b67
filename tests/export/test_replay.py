"""The replay of a folder, and the view of an export."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab import Export, Lab
from conduit_lab.cli import main
from conduit_lab.core.errors import ExportError
from conduit_lab.export.replay import Outcome, replay, replay_at
from conduit_lab.serving.recorded import Example
from tests.export.session import Session

APP = """
import random
from pathlib import Path
from conduit_lab import App

app = App("shop", root=Path(__file__).parent)
order, ticks = [], []

@app.post("/double")
def double(n: int):
    order.append("double")
    return n * 2

@app.post("/add")
def add(name: str):
    order.append("add")
    (app.root / "indexes" / name).write_text("x")
    return len(order)

@app.get("/order")
def asked():
    return order[0]

@app.get("/tick")
def tick():
    ticks.append(1)
    return len(ticks)

@app.get("/noise")
def noise():
    return {"now": random.random()}

@app.post("/text")
def text(n: int):
    return {"text": str(random.random())}

@app.post("/fail")
def fail(n: int):
    raise RuntimeError("out of order")

@app.ml_stream("/count")
def count(n: int):
    for i in range(n):
        yield {"i": i, "text": "a\\u2028b"}
"""


def example(path: str, payload: object, answer: object, **more: object) -> Example:
    method = "GET" if path in ("/order", "/tick", "/noise") else "POST"
    shape = "stream" if path == "/count" else "value"
    return Example(method, path, shape, payload, answer, **more)  # type: ignore[arg-type]


def test_a_replay_compares_every_call_and_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP, "utf-8")
    (tmp_path / "indexes").mkdir()
    chunks = [{"i": i, "text": "a\u2028b"} for i in range(2)]
    examples = [
        example("/tick", {}, 1),
        example("/noise", {}, {"now": 0.875}),
        example("/text", {"n": 1}, {"text": "0.875"}, sampled=True),
        example("/add", {"name": "b"}, 99, writes=True),
        example("/double", {"n": 2}, 4),
        example("/order", {}, "double"),
        example("/double", {"n": 3}, 7),
        example("/fail", {"n": 3}, 7),
        example("/fail", {"n": 4}, 7, writes=True),
        example("/count", {"n": 2}, chunks),
        example("/count", {"n": 3}, chunks),
        example("/add", {"name": "far"}, 1, writes=True, shared=True),
    ]
    lines = "".join(f"{each.to_json()}\n" for each in examples)
    (tmp_path / "examples.jsonl").write_text(lines, "utf-8")
    outcomes = replay(tmp_path)
    ticked, noised, sampled = [outcome.verdict for outcome in outcomes[:3]]
    assert ticked == "same, but not the second time: answer is 2, not 1"
    assert noised.startswith("does not answer the same twice: answer.now is 0.")
    assert sampled == "same shape"
    assert [outcome.problem is None for outcome in outcomes[:3]] == [True, False, True]
    assert {outcome.times for outcome in outcomes if outcome.example.writes} == {1}
    outcomes = outcomes[3:]
    assert [outcome.endpoint for outcome in outcomes] == [
        "POST /double", "GET /order", "POST /double", "POST /fail", "POST /count", "POST /count",
        "POST /add", "POST /fail",
    ]  # fmt: skip
    verdicts = [outcome.verdict for outcome in outcomes]
    assert verdicts[:3] == ["same", "same", "answer is 6, not 7"]
    assert verdicts[3].startswith("status 500: ")
    assert verdicts[4:7] == ["same", "answer has 3 items, not 2", "answered"]
    assert verdicts[7].startswith("status 500: ")
    assert all(outcome.seconds > 0 for outcome in outcomes)
    assert list((tmp_path / "indexes").iterdir()) == []


def outcome(path: str, problem: str | None = None, **more: object) -> Outcome:
    return Outcome(example(path, {}, 1, **more), problem, 0.0123)


def test_the_result_shows_each_call_and_the_warnings(tmp_path: Path) -> None:
    outcomes = [outcome("/double"), outcome("/add", writes=True)]
    result = Export(tmp_path / "out", outcomes, ["none.npz is missing"])
    place = tmp_path / "out"
    assert repr(result).splitlines() == [
        f"Export '{place}' · 2 endpoints",
        "A fresh process gives the same answer to 1 of 2 calls, and answers 1 that writes.",
        "call          in a fresh process     time  request  answer here",
        "POST /double  ✓ same              12.3 ms  {}       1",
        "POST /add     ✓ answered          12.3 ms  {}       1",
        "△ none.npz is missing",
        "to serve it, on any machine:",
        f"    conduit-lab serve {place}",
    ]
    bundle = result._repr_mimebundle_()
    assert bundle["text/plain"] == repr(result)
    assert "POST /double" in bundle["text/html"]
    assert "none.npz is missing" in bundle["text/html"]


@pytest.mark.parametrize(
    ("calls", "proof"),
    [
        (0, "Not proved: no recorded call was replayed."),
        (1, "A fresh process gives the same answer to 1 of 1 call."),
        (2, "A fresh process gives the same answer to 2 of 2 calls."),
    ],
)
def test_the_result_counts_its_calls(tmp_path: Path, calls: int, proof: str) -> None:
    shown = Export(tmp_path, [outcome("/double")] * calls, [])
    assert repr(shown).splitlines()[1] == shown.proof == proof


def test_a_running_app_is_asked_at_its_url(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab("shop", root=tmp_path)
    added: list[int] = []
    doubled: list[int] = []

    @lab.post("/double")
    def double(n: int) -> int:
        doubled.append(n)
        return n * 2

    @lab.post("/add")
    def add(n: int) -> int:
        added.append(n)
        return len(added)

    examples = [
        example("/add", {"n": 1}, 7, writes=True),
        example("/double", {"n": 2}, 4),
        example("/double", {"n": 3}, 7),
    ]
    lines = "".join(f"{each.to_json()}\n" for each in examples)
    (tmp_path / "examples.jsonl").write_text(lines, "utf-8")
    server = lab.serve(port=0)
    try:
        assert main(["check", str(tmp_path), "--url", server.url]) == 1
        assert not added
        assert sorted(doubled) == [2, 2, 3, 3]
        shown = capsys.readouterr().out
        assert "answer is 6, not 7" in shown and "/add" not in shown
        outcomes = replay_at(server.url, examples[:2], writes=True)
    finally:
        server.stop()
    assert [outcome.verdict for outcome in outcomes] == ["same", "answered"]
    assert added == [1]
    with pytest.raises(ExportError, match="expected a URL such as https"):
        replay_at("desk.example.com", examples)


def test_a_folder_that_is_no_export_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, problem in ((tmp_path, "has no examples.jsonl"), (tmp_path / "x", "is not a fold")):
        for options in ([], ["--url", "http://127.0.0.1:9"]):
            assert main(["check", str(folder), *options]) == 1
            assert f"conduit-lab: {folder} {problem}" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["{", "[1]", '{"path": "/a"}', '{"method": "GET", "x": 1}'])
def test_an_invalid_example_is_refused_with_its_line(line: str, tmp_path: Path) -> None:
    good = example("/double", {"n": 2}, 4).to_json()
    (tmp_path / "examples.jsonl").write_text(f"{good}\n{line}\n", "utf-8")
    with pytest.raises(ExportError, match=r"jsonl, line 2: expected a recorded call, got '[\[{]"):
        replay(tmp_path)


def test_a_changed_folder_is_told_by_its_files(session: Session) -> None:
    session.run(
        "RATE = 2",
        "@lab.post('/price')\ndef price(n: int):\n    return n * RATE",
        "price(3)",
    )
    folder = session.export(replay=True).folder
    app = folder / "app.py"
    app.write_text(app.read_text("utf-8").replace("RATE = 2", "RATE = 3"), "utf-8")
    with pytest.raises(ExportError) as caught:
        replay(folder)
    assert str(caught.value) == (
        "out is not the exported session. POST /price → price → RATE: int 2 in the session, "
        "int 3 in this folder. Changed since the export: app.py. Put back what the export wrote, "
        f"or keep the change: Lab.open({str(folder)!r}).export(…)"
    )
