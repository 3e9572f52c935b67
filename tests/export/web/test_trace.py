"""An endpoint becomes the steps that a browser runs."""

from __future__ import annotations

from typing import Any

import pytest

from conduit_lab.export.web.tracer import TracedModels, trace
from tests.export.conftest import weights
from tests.export.session import Session

HEAD = """
    import numpy as np
    from conduit_lab import Parallel, Sequential, average, majority_vote, weighted
    sign = lab.load_model("models/sign.npz")
"""

ARITHMETIC = ["array", "multiply", "divide", "subtract"]


def program(session: Session, *cells: str) -> dict[str, Any]:
    """Run cells, and return the program of the last endpoint."""
    session.run(HEAD, *cells)
    return trace(session.lab.endpoints[-1], TracedModels()).to_json()


def operations(session: Session, body: str) -> list[str]:
    source = f"@lab.ml_pipeline('/a')\ndef a(data):\n    return {body}\n"
    return [step["do"] for step in program(session, source)["steps"]]


def test_a_pipeline_is_items_models_and_an_answer(session: Session) -> None:
    made = program(
        session,
        """
        @lab.ml_pipeline("/a")
        def a(data):
            mood = sign.predict(data["rows"][0])
            return {"mood": mood.label, "score": mood["score"], "n": 1, "all": [mood, 1.5, None]}
        """,
    )
    assert made["parameters"] == [{"name": "data", "place": "whole", "schema": {}}]
    assert made["steps"] == [
        {"do": "item", "of": {"argument": "data"}, "key": {"value": "rows"}},
        {"do": "item", "of": {"step": 0}, "key": {"int": "0"}},
        {"do": "model", "of": {"step": 1}, "models": ["sign"]},
        {"do": "attribute", "of": {"step": 2}, "name": "label"},
        {"do": "item", "of": {"step": 2}, "key": {"value": "score"}},
    ]
    assert made["answer"] == {
        "object": [
            ["mood", {"step": 3}],
            ["score", {"step": 4}],
            ["n", {"int": "1"}],
            ["all", {"list": [{"step": 2}, {"float": 1.5}, {"value": None}]}],
        ]
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("sign(data)", ["model"]),
        ("sign.batch([data['a'], data['b']])", ["item", "item", "model", "model"]),
        ("[sign.predict(data[k]) for k in ('a', 'b')]", ["item", "model", "item", "model"]),
        ("Sequential(sign, lambda p: p.probabilities)(data)", ["model", "attribute"]),
        ("Parallel({'a': sign, 'b': lambda x: x})(data)", ["model"]),
        ("round(float(sign(data).score), 3)", ["model", "attribute", "float", "round"]),
        ("int(np.argmax(np.asarray(data, dtype=float)))", ["array", "argmax", "int"]),
        ("(1 - np.array(data) * 2 / 3).tolist()", [*ARITHMETIC, "tolist"]),
        ("np.array([1.0, 2.0]) + np.exp(np.array(data))", ["array", "exp", "add"]),
        ("data.get('k', 3)", ["get"]),
        ("lab.load_model('models/sign.npz')(data)", ["model"]),
        ("majority_vote([sign(data), sign(data)])", ["model", "model", "combine"]),
        ("weighted([2, 1])([sign(data), sign(data)])", ["model", "model", "combine"]),
        ("isinstance(1.0, float) and isinstance(1, int) and data", []),
    ],
)
def test_each_use_is_a_step(session: Session, body: str, expected: list[str]) -> None:
    assert operations(session, body) == expected


def test_an_endpoint_of_a_model_falls_back_to_its_other(session: Session) -> None:
    weights(session.root / "models" / "other.npz", ["up", "down"])
    weights(session.root / "models" / "third.npz", ["x", "y"])
    made = program(
        session,
        """
        @lab.ml_endpoint("/predict", model="models/other.npz", fallback="models/third.npz")
        def prepare(data):
            return data["x"]
        """,
    )
    # two files of one content and the same labels are one model
    assert made["steps"][-1] == {"do": "model", "of": {"step": 0}, "models": ["other", "third"]}


def test_an_ensemble_combines_its_members(session: Session) -> None:
    made = program(
        session,
        """
        @lab.ml_ensemble("/vote", models=["models/sign.npz", sign])
        def vote(predictions):
            return majority_vote(predictions)
        """,
    )
    assert [step["do"] for step in made["steps"]] == ["model", "model", "combine"]
    assert made["steps"][-1]["name"] == "majority_vote"
    assert made["answer"] == {"step": 2}


def test_helpers_endpoints_and_dataclasses_are_followed(session: Session) -> None:
    made = program(
        session,
        """
        from dataclasses import dataclass
        @dataclass
        class Answer:
            score: float
            shares: list
        def rounded(value, digits=2):
            return round(float(value), digits)
        @lab.ml_pipeline("/a")
        def a(data):
            return rounded(sign(data).score)
        @lab.ml_pipeline("/b")
        def b(data):
            return Answer(a(data["x"]), [1, 2])
        """,
    )
    done = [step["do"] for step in made["steps"]]
    assert done == ["item", "model", "attribute", "float", "round"]
    assert made["answer"]["object"] == [
        ["score", {"step": 4}],
        ["shares", {"list": [{"int": "1"}, {"int": "2"}]}],
    ]


def test_typed_parameters_keep_their_schema_and_default(session: Session) -> None:
    made = program(
        session,
        """
        @lab.get("/near/{shelf:str}")
        def near(shelf: str, top: int = 3, exact: bool = False):
            return [shelf, top, exact]
        """,
    )
    assert made["path"] == "/near/{shelf}"
    assert [each["place"] for each in made["parameters"]] == ["path", "query", "query"]
    assert [each.get("default") for each in made["parameters"]] == [
        None,
        {"int": "3"},
        {"value": False},
    ]
    assert made["answer"]["list"][1] == {"argument": "top"}


def test_models_of_one_name_are_told_apart(session: Session) -> None:
    (session.root / "old").mkdir()
    weights(session.root / "old" / "sign.npz", ["plus", "minus"])
    models = TracedModels()
    session.run(
        HEAD,
        "old = lab.load_model('old/sign.npz')",
        "@lab.ml_pipeline('/a')\ndef a(data):\n    return [sign(data), old(data), sign(data)]",
    )
    made = trace(session.lab.endpoints[-1], models).to_json()
    assert [step["models"] for step in made["steps"]] == [["sign"], ["sign-2"], ["sign"]]
    assert models.models["sign-2"].labels == ["plus", "minus"]


def test_a_trace_runs_no_model_and_keeps_no_trace(session: Session) -> None:
    session.run(HEAD, "@lab.ml_pipeline('/a')\ndef a(data):\n    return sign(data)")
    before = str(session.names["sign"].shared.statistics())
    trace(session.lab.endpoints[-1], TracedModels())
    assert str(session.names["sign"].shared.statistics()) == before
    assert session.names["a"].trace is None
    assert session.lab.examples == []
