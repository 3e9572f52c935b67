"""Models side by side: the public call is measured, and reported as measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import InputError
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.measure import compare
from conduit_lab.models.measure.compare import compare_models
from conduit_lab.models.measure.comparison import Compared, Comparison
from conduit_lab.models.measure.difference import Difference
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Predictions
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.runtime.measuring.timing import Timing
from tests.runtime import graphs

SECONDS = 0.01


@pytest.fixture
def linear(tmp_path: Path) -> Model:
    return Model(graphs.linear(tmp_path / "linear.onnx", [[1, 2], [3, 4], [5, 6]]))


def test_answers_are_compared_with_the_first_models(tmp_path: Path, linear: Model) -> None:
    other = Model(graphs.linear(tmp_path / "other.onnx", [[1, 2], [3, 4], [5, 6.5]]))
    first, second = compare_models([linear, other], [1, 2, 3], seconds=SECONDS)
    assert (first.label, first.speed, first.difference) == ("linear", 1.0, None)
    assert first.size == linear.shared.size
    assert second.path == other.path
    assert second.difference is not None
    assert second.difference.largest == pytest.approx(1.5)


def test_labels_are_compared(tmp_path: Path) -> None:
    paths = []
    for name, weight in {"a": np.eye(2), "b": np.eye(2)[::-1]}.items():
        paths.append(tmp_path / f"{name}.npz")
        np.savez(
            paths[-1], W=weight, activation=np.array("softmax"), labels=np.array(["no", "yes"])
        )
    _, same, swapped = compare_models(
        [paths[0], paths[0], paths[1]], [[3, 0], [1, 1]], seconds=SECONDS
    )
    assert same.difference is not None
    assert same.difference.same_label == 1.0
    assert swapped.difference is not None
    assert swapped.difference.same_label == 0.5
    assert swapped.device == "numpy"


def test_vectors_are_compared_by_their_cosine(minilm: Embedder) -> None:
    _, again = compare_models([minilm, minilm], ["a kettle", "a toaster"], seconds=SECONDS)
    assert again.difference is not None
    assert again.difference.cosine == pytest.approx((1, 1))


def test_answers_of_other_kinds_are_not_compared(tmp_path: Path, linear: Model) -> None:
    wide = Model(graphs.linear(tmp_path / "wide.onnx", np.ones((3, 4))))
    table = compare_models(
        [linear, wide, lambda _: "text", lambda _: {}], [1, 2, 3], seconds=SECONDS
    )
    assert [row.difference for row in table[1:]] == [None] * 3
    assert repr(table).count("other outputs") == 3


def test_every_model_has_a_label_of_its_own(tmp_path: Path, linear: Model) -> None:
    (tmp_path / "new").mkdir()
    file = tmp_path / "m.npz"
    np.savez(file, W=[[1, 2], [3, 4], [5, 6]])
    models: list[Any] = [
        linear,
        graphs.linear(tmp_path / "new" / "linear.onnx", np.ones((3, 2))),
        Model(file, name="linear"),
    ]
    labels = [row.label for row in compare_models([*models, str, str], [1, 2, 3], seconds=SECONDS)]
    assert labels[2:] == ["linear, numpy", "str, 1", "str, 2"]
    assert labels[0].startswith("linear, cpu, ")
    assert labels[1].endswith("new/linear.onnx")


def test_predictions_of_functions_are_compared() -> None:
    def half(_: Any) -> Any:
        return np.array([0.5, 0.5])

    models = [CallableModel(half, labels=["a", "b"]), CallableModel(half, labels=["a", "b"])]
    _, second = compare_models(models, None, seconds=SECONDS)
    assert second.difference is not None
    assert (second.difference.largest, second.difference.same_label) == (0, 1)


def test_predictions_of_other_labels_are_not_compared() -> None:
    models = [
        CallableModel(lambda _: np.array([0.5, 0.5]), labels=list(labels))
        for labels in ("ab", "ba")
    ]
    assert compare_models(models, None, seconds=SECONDS)[1].difference is None


def test_all_of_a_batch_are_compared() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0]])
    models = [
        lambda _: Predictions(rows, ["a", "b"]),
        lambda _: Predictions(rows[::-1], ["a", "b"]),
    ]
    difference = compare_models(models, None, seconds=SECONDS)[1].difference
    assert difference is not None
    assert (difference.samples, difference.largest) == (2, 1)


@pytest.mark.parametrize(
    ("rounds", "speed", "title"),
    [
        ([[0.5], [0.5], [9.0] * 9], 1.0, "b is as fast as a"),
        ([[0.5] * 9, [1.1], [1.1]], 2.0, "b is not clearly faster or slower than a"),
        ([[0.5], [0.5], [0.5]], 2.0, "b is 2.00 times as fast as a"),
        ([[2.0], [2.0], [2.0]], 0.5, "a is 2.00 times as fast as b"),
    ],
)
def test_the_speed_is_that_of_the_medians_that_are_shown(
    monkeypatch: pytest.MonkeyPatch, rounds: list[list[float]], speed: float, title: str
) -> None:
    first = [[9.0 if other == [9.0] * 9 else 1.0] * len(other) for other in rounds]
    turns = [[np.array(each) for each in model] for model in (first, rounds)]
    monkeypatch.setattr(compare, "measure", lambda *_, **__: turns)
    models = [CallableModel(abs, name="a"), CallableModel(abs, name="b")]
    table = compare_models(models, 1)
    assert (table[1].speed, table.title) == (speed, title)
    assert table[1].speed == table[0].timing.p50 / table[1].timing.p50


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(InputError, match="at least one model"):
        compare_models([], [1])


def apart(
    largest: float, relative: float = 0.1, same: float | None = None, cosine: Any = None
) -> Difference:
    return Difference(
        samples=1, relative=relative, worst=1.0, largest=largest, same_label=same, cosine=cosine
    )


def row(label: str, speed: float = 1.0, difference: Difference | None = None) -> Compared:
    path = Path("/models") / f"{label}.onnx"
    timing = Timing(1, 100, 1e-5 / speed, 2e-5, 3e-5)
    return Compared(label, path, 2048, "cpu", timing, speed, clear(speed), difference)


def clear(speed: float) -> bool:
    return max(speed, 1 / speed) > 1.05


@pytest.mark.parametrize(
    ("speeds", "title"),
    [
        ([], "fp32 takes 10.0 µs"),
        ([2.434, 1.0], "m0 is 2.43 times as fast as fp32"),
        ([0.5, 0.8], "fp32 is 1.25 times as fast as m1"),
        ([1.03, 0.97], "m0 is as fast as fp32"),
    ],
)
def test_the_title_is_the_sentence_that_the_figures_support(
    speeds: list[float], title: str
) -> None:
    table = Comparison([row("fp32"), *(row(f"m{i}", speed) for i, speed in enumerate(speeds))])
    assert table.title == title
    assert table.chart.title == title


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (apart(0.0031), "differs by 0.0031"),
        (apart(0.0031, same=1.0), "differs by 0.0031"),
        (apart(0.0031, same=0.96), "differs by 0.0031, same label 96%"),
        (apart(0.01, cosine=(0.98765, 0.999)), "cosine 0.9877"),
        (apart(0.0, relative=0.0), "equal"),
        (apart(0.0, relative=0.25), "25% differ"),
        (None, "other outputs"),
    ],
)
def test_a_difference_is_said_in_words(difference: Difference | None, words: str) -> None:
    table = Comparison([row("fp32"), row("int8", 2, difference)])
    assert repr(table).endswith(f"2.00 ×  {words}")


def test_a_comparison_shows_table_and_plot() -> None:
    table = Comparison([row("fp32"), row("<int8>", 2.0, apart(0.5))])
    bundle = table._repr_mimebundle_()
    assert bundle["text/plain"] == repr(table)
    assert "&lt;int8&gt;" in bundle["text/html"]
    assert set(bundle) == {"text/plain", "text/html"}  # no front end prefers another form
    assert "median time of a call with 1 sample" in bundle["text/html"]
    json.dumps(table.chart.spec, allow_nan=False)
    assert table.chart.values == [
        {"model": "fp32", "seconds": 1e-5, "text": "10.0 µs"},
        {"model": "<int8>", "seconds": 5e-6, "text": "5.00 µs · 2.00 ×"},
    ]


@pytest.mark.parametrize(
    ("speeds", "strong"),
    [([], []), ([2.4, 1.0], ["m0"]), ([0.5, 0.8], ["fp32"]), ([1.03, 0.97], [])],
)
def test_the_faster_model_of_the_title_stands_out(speeds: list[float], strong: list[str]) -> None:
    table = Comparison([row("fp32"), *(row(f"m{i}", speed) for i, speed in enumerate(speeds))])
    assert [bar.label for bar in table.chart.drawing().bars if bar.strong] == strong


def test_a_comparison_as_a_frame() -> None:
    frame = Comparison([row("fp32"), row("int8", 2.0, apart(0.5, same=0.75))]).to_pandas()
    assert frame["speed"].tolist() == [1.0, 2.0]
    assert frame["size"].tolist() == [2048, 2048]
    assert frame.loc[1, ["largest_difference", "relative_difference", "same_label"]].tolist() == [
        0.5,
        0.1,
        0.75,
    ]
