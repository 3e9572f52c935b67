"""The page computes and writes values as Python and NumPy do: compared in Node."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np

from conduit_lab.core.equality import first_difference
from conduit_lab.export.web.tracer import TracedModels, trace
from conduit_lab.flow.averages import average, maximum, minimum, weighted
from conduit_lab.flow.votes import majority_vote
from conduit_lab.models.prediction import Predictions
from conduit_lab.serving import codec
from tests.export.session import Session
from tests.export.web.node import run_in_node, run_programs


def same(expected: Any, got: str) -> str | None:
    """Return the first difference of two JSON texts, with types: 1 is not 1.0."""
    return first_difference(
        json.loads(codec.dumps(expected)), json.loads(got), relative=0, absolute=0
    )


def test_a_json_text_is_written_as_it_was_read() -> None:
    values = [
        {"b": 1, "10": [1.0, -0.0, 0.1, 1e-7, 1e21, 1.5e300, 5e-324], "2": None, "a": {}},
        [12345678901234567890123, -7, True, False, 'é"\\ \u2028</script>', []],
    ]
    texts = [json.dumps(value) for value in values]
    code = (
        "console.log(JSON.stringify(JSON.parse(given).map((text) => writeJson(parseJson(text)))))"
    )
    got = run_in_node(code, texts)
    for text, again in zip(texts, got, strict=True):
        assert repr(json.loads(again)) == repr(json.loads(text))  # the order of keys too


def test_arrays_are_written_with_the_digits_of_their_dtype() -> None:
    seeded = np.random.default_rng(7)
    exponents = 10.0 ** seeded.integers(-30, 30, 3000)
    numbers = seeded.normal(size=3000) * exponents
    arrays: list[Any] = [
        numbers.astype(np.float32),
        numbers,
        np.array([[0.1, 1.0], [np.nan, np.inf], [3.4028235e38, 1e-45]], np.float32),
        np.array([2**53 + 1, -5], np.int64),
        np.array([True, False]),
        np.float32(0.1),
    ]
    given = []
    for array in map(np.asarray, arrays):
        data = [str(v) if array.dtype.kind == "i" else v for v in array.ravel().tolist()]
        data = [None if isinstance(v, float) and not np.isfinite(v) else v for v in data]
        given.append({"dtype": str(array.dtype), "shape": array.shape, "data": data})
    code = "console.log(JSON.stringify(JSON.parse(given).map((each) => writeJson(tensorOf(each)))))"
    for array, text in zip(arrays, run_in_node(code, given), strict=True):
        assert same(array, text) is None


BODIES: list[Any] = [
    {"x": [1, 2.5, -3], "n": 7, "f": 2.675, "k": "up"},
    {"x": [0.1, 0.2, 1e-9], "n": -3, "f": 0.125, "k": "down", "more": [None, 1.0]},
    {"x": [5, 6, 7], "n": 2**70, "f": -1.5, "k": ""},
    {"x": [3, 3, 1], "n": 0, "f": 1e22, "k": "a"},
]

EXPRESSIONS = [
    "data",
    "[data['k'], data.get('more'), data.get('z', 1.0), data['x'][-1]]",
    "[data['n'] + 1, data['n'] * 2 - 1, 3 - data['n'], -data['n'], abs(data['n'])]",
    "[data['f'] / 4, 1.5 * data['f'], data['n'] + 0.5, float(data['n']), int(data['f'])]",
    "[round(data['f'], 2), round(data['f']), round(data['f'], 1), round(data['n'], 2)]",
    "np.array(data['x'])",
    "np.array(data['x'], dtype=np.float32)",
    "[np.array(data['x'], dtype=np.float32) * 2 + 1, np.asarray(data['x'], dtype=float) / 3]",
    "[np.array([data['f'], 1.0]), np.array(data['x'], np.float32)[1], np.array(data['x'])[0]]",
    "[np.argmax(np.array(data['x'])), int(np.array(data['x']).argmax())]",
    "np.array(data['x'], np.float32).tolist()",
    "round(np.array(data['x'], np.float32)[1], 2)",
    "np.array([0.5, 2], np.float32) * data['f'] if True else 0",
    "average([np.array(data['x'], np.float32), np.array([1, 2, 3], np.float32)])",
    "[average([data['f'], 1, 2.5]), maximum([data['f'], 3]), minimum([1, data['f']])]",
    "weighted([3, 1])([np.array(data['x'], np.float64), np.array([1.0, 2, 3])])",
    "majority_vote([np.array(data['x'], np.float32), np.array([0, 1, 1], np.float32)])",
    "np.array([True, data['n'] * 0])",
    "np.sqrt(np.abs(np.array(data['x'])))",
]


def test_operations_give_what_python_and_numpy_give(session: Session) -> None:
    session.run(
        "import numpy as np\n"
        "from conduit_lab import average, majority_vote, maximum, minimum, weighted"
    )
    calls, expected = [], []
    for place, code in enumerate(EXPRESSIONS):
        session.run(f"@lab.ml_pipeline('/a{place}')\ndef a{place}(data):\n    return {code}")
        program = trace(session.lab.endpoints[-1], TracedModels()).to_json()
        for body in BODIES:
            try:
                answer = session.names[f"a{place}"](body)
            except OverflowError:
                continue  # an int that no array holds
            calls.append({"program": program, "body": json.dumps(body)})
            expected.append((code, body, answer))
    for (code, body, answer), got in zip(expected, run_programs(calls), strict=True):
        assert isinstance(got, str), (code, body, got)
        assert same(answer, got) is None, (code, body, got)
    assert len(calls) > 60


def test_votes_and_means_of_predictions_are_those_of_the_package() -> None:
    """Small scores make ties; members know other labels than each other."""
    seeded = np.random.default_rng(11)
    combines: dict[str, Any] = {
        "majority_vote": majority_vote,
        "average": average,
        "maximum": maximum,
        "minimum": minimum,
        "weighted": weighted([2, 1, 1]),
    }
    given, expected = [], []
    for _ in range(120):
        members = []
        for _ in range(3):
            labels = seeded.permutation(["a", "b", "c", "d"])[: seeded.integers(2, 5)].tolist()
            rows = seeded.integers(0, 4, (2, len(labels))).astype(np.float32) / 4
            members.append(Predictions(rows, labels))
        plain = [{"labels": each.labels, "rows": each.probabilities.tolist()} for each in members]
        for name, combine in combines.items():
            given.append({"name": name, "weights": [2, 1, 1], "members": plain})
            expected.append([combine([each[0] for each in members]), combine(members)])
    code = """
    console.log(JSON.stringify(JSON.parse(given).map(({ name, weights, members }) => {
      const floats = (rows) => rows.map((row) => Float32Array.from(row));
      const made = members.map(({ labels, rows }) => new Predictions(floats(rows), labels));
      const used = name === "weighted" ? weights : null;
      const first = made.map((each) => each.row(0));
      return writeJson([combine(name, first, used), combine(name, made, used)]);
    })))
    """
    for each, answer, text in zip(given, expected, run_in_node(code, given), strict=True):
        assert same(answer, text) is None, each


def test_rounding_is_that_of_python() -> None:
    seeded = random.Random(3)
    numbers = [seeded.uniform(-50, 50) for _ in range(300)]
    numbers += [n / 8 for n in range(-80, 80)] + [0.0, 1e-12, 123456789.125, 1e15 + 0.5]
    given = [(number, digits) for number in numbers for digits in (0, 1, 2, 3, 6)]
    code = "console.log(JSON.stringify(JSON.parse(given).map(([n, d]) => rounded(n, d))))"
    for (number, digits), got in zip(given, run_in_node(code, given), strict=True):
        assert got == round(number, digits), (number, digits)


def test_a_wrong_body_is_the_callers_mistake(session: Session) -> None:
    session.run(
        "from typing import Annotated, Literal\nfrom pydantic import Field\n"
        "Small = Annotated[int, Field(ge=1, le=5)]\n"
        "@lab.post('/t')\ndef t(n: Small, kind: Literal['a', 'b'] = 'a', rows: list[float] = []):\n"
        "    return [n, kind, rows]"
    )
    program = trace(session.lab.endpoints[-1], TracedModels()).to_json()
    bodies = [
        {"n": 3, "rows": [1, 2.5]},
        {"n": 3.0, "kind": "b"},
        {"n": 9},
        {"n": "3"},
        {"n": 1, "kind": "c"},
        {"n": 1, "rows": ["x"]},
        {"n": 1, "more": 2},
        {},
        [1],
    ]
    got = run_programs([{"program": program, "body": json.dumps(body)} for body in bodies])
    assert got[:2] == ['[3,"a",[1.0,2.5]]', '[3,"b",[]]']
    assert [each[0].split(":")[0].split(",")[0] for each in got[2:]] == [
        "n", "n", "kind", "rows", "more", "n", "the body expects an object with n",
    ]  # fmt: skip
