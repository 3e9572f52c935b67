"""An export in int8: the proof keeps the models whose answers stay close, and names each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.agreement import difference, largest_difference
from conduit_lab.export.replay import replay
from conduit_lab.export.requirements import pinned_version
from conduit_lab.models.load import load_model
from conduit_lab.models.measure.subject import subject
from conduit_lab.runtime.checks.graph_reader import RECORD
from conduit_lab.runtime.rewriting import child, quantize
from tests.export.session import Session
from tests.models.text import embedders
from tests.runtime import graphs

MODELS = Path(__file__).parents[2] / "data" / "models"
WIDE = 512
LABELS = {"labels": '["left", "right"]'}


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert in this process: a child process takes half a second."""
    monkeypatch.setattr(child, "try_opening", lambda *_: None)
    monkeypatch.setattr(
        child,
        "convert_in_child",
        lambda s, t, kind, _, scales, __: quantize.convert(s, t, kind, scales),
    )


def is_required(package: str, folder: Path) -> bool:
    return pinned_version((folder / "requirements.txt").read_text("utf-8"), [package]) is not None


def networks(folder: Path) -> None:
    """Write two networks with labels: `even.onnx`, and one that 8 bits do not hold.

    The large weight of `odd.onnx` sets the scale of its labels, where the others become 0.
    """
    rng = np.random.default_rng(0)
    weight = rng.uniform(1, 2, (WIDE, 2)).astype(np.float32) * np.array([0.001, 0.002], np.float32)
    graphs.linear(folder / "even.onnx", weight, LABELS)
    weight[0] = 1000.0, 1000.0
    graphs.linear(folder / "odd.onnx", weight, LABELS)


CELLS = f"""
even = lab.load_model("models/even.onnx")
odd = lab.load_model("models/odd.onnx")
sign = lab.load_model("models/sign.npz")

@lab.post("/even")
def ask_even(x: float):
    return even.predict([x] * {WIDE})

@lab.post("/both")
def ask_both(x: float):
    sample = [0.0] + [x] * {WIDE - 1}
    return {{"even": even.predict(sample).label, "odd": odd.predict(sample).label}}

@lab.post("/sign")
def ask_sign(x: float):
    return sign.predict([x, x]).label
"""


@pytest.mark.usefixtures("in_process")
def test_a_model_whose_int8_answers_differ_keeps_float32(session: Session) -> None:
    networks(session.root / "models")
    session.run(CELLS, "ask_even(1.0)", "ask_both(1.0)", "ask_sign(1.0)")
    files = {path: path.read_bytes() for path in (session.root / "models").iterdir()}
    export = session.export(optimize="int8")
    even, odd, sign = export.quantized
    assert str(even).startswith("even: int8, ")
    assert even.size[1] < even.size[0]
    assert str(odd).startswith("odd: float32, since POST /both answers differently in int8: answer")
    assert str(sign) == (
        "sign: float32, it has nothing to optimize: NumPy computes it in float32; "
        "write the network as .onnx"
    )
    made = export.folder / "models"
    assert (made / "odd.onnx").read_bytes() == files[session.root / "models/odd.onnx"]
    assert (made / "even.onnx").stat().st_size == even.size[1]
    assert {path: path.read_bytes() for path in files} == files  # the session's own

    assert [outcome.how for outcome in export.outcomes] == ["int8", "int8", "tolerance"]
    assert "the same answer to 1 of 3 calls, a close one in int8 to 2" in export.proof
    page = export._repr_mimebundle_()["text/html"]
    picture = (export.folder / "proof.svg").read_text("utf-8")
    manifest = json.loads((export.folder / "manifest.json").read_text("utf-8"))
    assert [each["precision"] for each in manifest["optimized"]] == ["int8", "float32", "float32"]
    assert str(session.root) not in json.dumps(manifest)
    for text in (page, picture):
        assert "even: int8, " in text
        assert "odd: float32, since POST /both" in text
    assert "1 of 3 calls answered the same in a fresh process, 2 close in int8" in picture

    assert not is_required("onnx", export.folder)
    assert [each.problem for each in replay(export.folder)] == [None] * 3
    shutil.copy(made / "odd.onnx", made / "even.onnx")
    with pytest.raises(ExportError, match=r"Model even, content \w+ in the session, Model even"):
        replay(export.folder)


@pytest.mark.usefixtures("in_process")
def test_the_searches_of_a_store_are_those_of_its_embedder_in_int8(session: Session) -> None:
    table = np.random.default_rng(0).standard_normal((6, 256)).astype(np.float32)
    embedders.folder(session.root / "models" / "words", table=table)
    session.run(
        """
        words = lab.load_model("models/words")
        notes = lab.vector_store("notes", embedder=words)
        for text in ("kettle", "pan", "lid"):
            notes.add(text, content=text)

        @lab.post("/search")
        def search(text: str):
            return notes.search(text, top_k=2)
        """,
        "search('kettle')",
    )
    export = session.export(optimize="int8")
    (words,) = export.quantized
    assert words.kind == "int8"
    assert 0 < (words.difference or 0) < 0.05
    graphs = json.loads((export.folder / RECORD).read_text("utf-8"))["graphs"]
    (facts,) = graphs.values()  # of the only graph, which is in int8
    assert {name.partition(" ")[0] for name in facts} == {"file", "rows", "text"}
    assert not is_required("onnx", export.folder)
    assert [each.problem for each in replay(export.folder)] == [None]


@pytest.mark.usefixtures("in_process")
def test_a_broken_model_whose_fallback_answers_is_named(session: Session) -> None:
    (session.root / "models" / "broken.onnx").write_bytes(b"no graph")
    session.run(
        """
        @lab.ml_endpoint("/ask", model="models/broken.onnx", fallback="models/sign.npz")
        def ask(x):
            return [x, x]
        """,
        "ask(1.0)",
    )
    models = {str(model).partition(",")[0] for model in session.export(optimize="int8").quantized}
    assert models == {"sign: float32", "broken: float32"}


def test_a_proof_must_judge(session: Session) -> None:
    for given, proof, problem in (
        ("int4", "process", "optimize= expected \"int8\" or None, got 'int4'"),
        ("int8", None, "optimize='int8' needs a proof"),
    ):
        with pytest.raises(ExportError, match=problem):
            session.lab.export("out", proof=proof, optimize=given)  # type: ignore[arg-type]


@pytest.mark.long
def test_minilm_answers_close_enough_in_int8(session: Session) -> None:
    shutil.copytree(MODELS / "minilm", session.root / "models" / "minilm")
    shutil.copy(MODELS / "topic.onnx", session.root / "models")
    session.run(
        """
        embedder = lab.load_model("models/minilm")
        topic = lab.load_model("models/topic.onnx")

        @lab.post("/embed")
        def embed(text: str):
            return embedder.encode(text)

        @lab.post("/topic")
        def ask(text: str):
            return topic.predict(embedder.encode(text))
        """,
        "embed('The kettle is dead.')",
        "ask('How do I log in?')",  # scores far from 1 differ by more or less than 0.05, by CPU
        "ask('When does my parcel come?')",
    )
    export = session.export(optimize="int8")
    assert [str(each).partition(",")[0] for each in export.quantized] == [
        "minilm: int8",
        "topic: int8",
    ]
    assert not is_required("onnx", export.folder)
    minilm = export.quantized[0]
    assert minilm.size[1] < minilm.size[0] / 3
    made = load_model(export.folder / "models" / "minilm")
    mine = load_model(session.root / "models" / "minilm")
    cosine = float(made.encode("A lid.") @ mine.encode("A lid."))
    assert 0.95 < cosine < 0.9999
    assert subject(made).path.parent == export.folder / "models" / "minilm"


def vector(*first: float) -> list[float]:
    return [*first, *[0.1] * 40]


@pytest.mark.parametrize(
    ("expected", "got", "problem"),
    [
        ({"label": "a", "score": 0.9}, {"label": "a", "score": 0.86}, None),
        ({"label": "a", "score": 0.9}, {"label": "b", "score": 0.9}, 'answer.label is "b"'),
        ({"score": 0.9}, {"score": 0.8}, "answer.score is 0.8, not 0.9"),
        ([{"id": "a"}, {"id": "b"}], [{"id": "b"}, {"id": "a"}], 'answer[0].id is "b"'),
        (3, 4, "answer is 4, not 3"),
        (True, 1, "answer is 1, not true"),
        (200.0, 208.0, None),
        (200.0, 212.0, "answer is 212.0, not 200.0"),
        ([0.5, 0.5], [0.52, 0.48], None),
        ([0.5, 0.5], [0.6, 0.4], "answer[0] is 0.6, not 0.5"),
        (vector(0.1), vector(0.17), None),  # 0.11 of its length
        (vector(0.1), vector(0.4), "answer differs as a vector by 0.47 of its length"),
        ({"e": vector(0.1)}, {"e": vector()}, "answer.e is 40, not 41"),
        (vector(0.1), vector(float("nan")), "answer differs as a vector by nan"),
        ([vector(), vector(3.0)], [vector(), vector(1.0)], "answer[1] differs as a vector"),
    ],
)
def test_int8_compares_choices_exactly_and_numbers_within_a_tolerance(
    expected: object, got: object, problem: str | None
) -> None:
    found = difference(expected, got, "int8")
    assert found is None if problem is None else found is not None and found.startswith(problem)


def test_the_largest_difference_is_that_of_two_numbers_in_one_place() -> None:
    before = {"a": [0.5, 0.25], "b": 1.0, "n": 3}
    assert largest_difference(before, {"a": [0.5, 0.75], "b": 0.9, "n": 9}) == 0.5
    assert largest_difference({"n": 1, "text": "a"}, {"n": 2, "text": "a"}) is None
