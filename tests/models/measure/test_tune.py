"""tune: prefers onnxruntime's own choice, measures alternately, and leaves nothing behind."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import InputError, ModelInputError, ModelLoadError
from conduit_lab.core.progress import Progress
from conduit_lab.core.spec import Array
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.measure import tuning_search as search
from conduit_lab.models.measure.difference import Difference
from conduit_lab.models.measure.tune import tune
from conduit_lab.models.measure.tuning_report import Tuning
from conduit_lab.models.model import Model
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.runtime.measuring.tuning import Tuned, read_tuning
from conduit_lab.runtime.sessions.session import Options, Session
from tests.runtime import graphs

SECONDS = 0.2
WEIGHT = np.arange(6.0).reshape(3, 2)
LEVELS = ["graph level extended", "graph level basic", "graph level disable"]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(graphs.linear(tmp_path / "m.onnx", WEIGHT))


@pytest.fixture
def one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to have only a CPU, with four cores."""
    monkeypatch.setattr(search, "_other_devices", lambda _: [])
    monkeypatch.setattr(search, "_cores", lambda: 4)


Measure = Callable[[dict[str, float]], None]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, one_cpu: None) -> Measure:
    """Fake the seconds per call of a setting, by its threads and graph level (1 by default)."""

    def use(seconds: dict[str, float]) -> None:
        def measure(calls: Sequence[Any], *_: Any, **__: Any) -> list[list[Array]]:
            tried = [inspect.getclosurevars(call).nonlocals["session"].options for call in calls]
            return [[np.full(3, seconds.get(words(options), 1.0))] * 3 for options in tried]

        monkeypatch.setattr(search, "measure", measure)

    return use


def words(options: Options) -> str:
    return f"{options.threads} {options.graph_level}"


def sessions(model: Model) -> list[Session]:
    """Return the sessions of a model that are in memory; other tests' may go at any moment."""
    gc.collect()
    return [
        thing for thing in gc.get_objects() if type(thing) is Session and thing.path == model.path
    ]


# The choice


def test_every_dimension_is_tried(model: Model, measured: Measure) -> None:
    measured({})
    tuning = tune(model, [1, 2, 3])
    assert [trial.setting for trial in tuning.trials] == ["threads 1", "threads 2", *LEVELS]
    assert (tuning.best, tuning.speed) == (Tuned(batch_size=1024), 1.0)


def test_a_clearly_faster_setting_is_kept_and_built_on(model: Model, measured: Measure) -> None:
    measured({"1 all": 0.8, "1 basic": 0.5})
    tuning = tune(model, [1, 2, 3])
    assert [trial.setting for trial in tuning.trials if trial.kept] == [
        "threads 1",
        "graph level basic",
        "all of it, once more",
    ]
    assert (tuning.best.threads, tuning.best.graph_level, tuning.speed) == (1, "basic", 2.0)


def test_five_percent_are_noise(model: Model, measured: Measure) -> None:
    measured({"1 all": 0.96, "0 basic": 0.99})
    assert tune(model, [1, 2, 3]).best == Tuned(batch_size=1024)


def test_a_setting_that_is_faster_in_most_rounds_only_is_not_kept(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_settings", lambda *_: [("threads 1", {"threads": 1})])
    old, new = [[1.0], [1.0], [9.0] * 9], [[0.5], [0.5], [9.0] * 9]
    turns = [[np.array(round_) for round_ in rounds] for rounds in (old, new)]
    monkeypatch.setattr(search, "measure", lambda calls, *_, **__: turns[: len(calls)])
    trial = tune(model, [1, 2, 3]).trials[0]
    assert (trial.before, trial.after, trial.speed, trial.kept) == (9, 9, 1, False)


def test_a_setting_that_is_faster_over_all_only_says_so(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_settings", lambda *_: [("threads 1", {"threads": 1})])
    old, new = [[1.0] * 9, [1.0], [1.0]], [[0.5] * 9, [1.0], [1.0]]
    turns = [[np.array(round_) for round_ in rounds] for rounds in (old, new)]
    monkeypatch.setattr(search, "measure", lambda calls, *_, **__: turns[: len(calls)])
    trial = tune(model, [1, 2, 3]).trials[0]
    assert (trial.speed, trial.kept, trial.note) == (2, False, "not round by round")


def test_a_setting_with_an_unknown_difference_is_not_kept(
    model: Model, measured: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured({"1 all": 0.1})
    unknown = Difference(1, relative=np.nan, largest=0)
    monkeypatch.setattr(search, "compare_outputs", lambda *_: unknown)
    assert tune(model, [1, 2, 3]).best.threads == 0


def test_a_speedup_that_does_not_repeat_is_not_kept(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_settings", lambda *_: [("threads 1", {"threads": 1})])
    speeds = iter([0.5, 1.0])

    def measure(calls: Sequence[Any], *_: Any, **__: Any) -> list[list[Array]]:
        return (
            [[np.ones(3)], [np.full(3, next(speeds))]]
            if len(calls) == 2
            else [[np.ones(3)] for _ in calls]
        )

    monkeypatch.setattr(search, "measure", measure)
    tuning = tune(model, [1, 2, 3])
    assert [(trial.setting, trial.kept, trial.note) for trial in tuning.trials] == [
        ("threads 1", False, "not confirmed"),
        ("all of it, once more", False, ""),
    ]
    assert (tuning.best.threads, tuning.speed) == (0, 1.0)
    assert repr(tuning).splitlines()[2].endswith("2.00 ×  not confirmed")


def test_threads_are_tried_on_a_cpu_only(
    model: Model, measured: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured({})

    def on_gpu(self: Any, options: Options) -> Session:
        session = Session(self.path, options)
        session.device = "cuda"
        return session

    monkeypatch.setattr(search.TuningSearch, "_open", on_gpu)
    assert [trial.setting for trial in tune(model, [1, 2, 3]).trials] == LEVELS


def test_a_device_that_is_not_here_is_not_kept(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        search, "_settings", lambda *_: [("device cuda", {"device": "nowhere", "fallback": False})]
    )
    tuning = tune(model, [1, 2, 3], seconds=SECONDS)
    assert tuning.trials[0].note.startswith("failed: device 'nowhere' is unknown")
    assert (tuning.best.device, tuning.best.runs_on) == ("auto", "cpu")


def test_other_answers_are_not_kept(
    model: Model, measured: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured({"1 all": 0.1})
    other = graphs.linear(model.path.with_name("other.onnx"), WEIGHT + 1)
    open_ = search.TuningSearch._open
    monkeypatch.setattr(
        search.TuningSearch,
        "_open",
        lambda self, options: (
            Session(other, options) if options.threads == 1 else open_(self, options)
        ),
    )
    tuning = tune(model, [1, 2, 3])
    assert tuning.trials[0].note.startswith("other answers")
    assert tuning.best.threads == 0


def test_a_setting_that_fails_says_why(
    model: Model, measured: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured({})
    open_ = search.TuningSearch._open

    def fail(self: Any, options: Options) -> Any:
        if options.graph_level == "basic":
            raise ModelLoadError("no such kernel")
        return open_(self, options)

    monkeypatch.setattr(search.TuningSearch, "_open", fail)
    notes = {trial.setting: trial.note for trial in tune(model, [1, 2, 3]).trials}
    assert notes["graph level basic"] == "failed: no such kernel"


def test_without_time_everything_stays_as_it_is(model: Model, one_cpu: None) -> None:
    tuning = tune(model, [1, 2, 3], seconds=0)
    assert {trial.note for trial in tuning.trials} == {"no time left"}
    assert (tuning.best.threads, tuning.best.graph_level) == (0, "all")


def test_the_smallest_batch_that_does_as_well_is_chosen(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_settings", lambda *_: [])
    seconds = [
        1,
        1,
        1,
        1,
        1.98,
        4,
        8,
        16,
        32,
        64,
        128,
    ]  # 8 times the rate of one row from 8 rows on
    monkeypatch.setattr(search, "measure", lambda *_: [[np.full(3, float(s))] for s in seconds])
    assert tune(model, [1, 2, 3]).best.batch_size == 8


# Models


def test_a_real_search(model: Model) -> None:
    tuning = tune(model, [[1, 2, 3], [4, 5, 6]], seconds=SECONDS)
    assert tuning.rows == 2
    assert tuning.best.runs_on == "cpu"
    assert [timing.rows for timing in tuning.batches][:3] == [1, 2, 4]
    assert tuning.best.batch_size in [timing.rows for timing in tuning.batches]


def test_weights_have_only_a_batch_size(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", W=WEIGHT)
    tuning = tune(tmp_path / "m.npz", [1, 2, 3], seconds=SECONDS)
    assert not tuning.trials
    assert tuning.best.runs_on == "numpy"
    assert tuning.best.batch_size is not None


def test_a_fixed_batch_is_its_batch_size(tmp_path: Path, measured: Measure) -> None:
    measured({})
    model = Model(graphs.linear(tmp_path / "m.onnx", WEIGHT, batch=2))
    tuning = tune(model, np.ones((4, 3), np.float32))
    assert (tuning.rows, tuning.best.batch_size, tuning.batches) == (4, 2, ())


def test_a_classifier_of_several_targets_is_tuned(tmp_path: Path, one_cpu: None) -> None:
    tuning = tune(graphs.targets(tmp_path / "m.onnx"), np.eye(2, dtype=np.float32), seconds=SECONDS)
    assert not any("other answers" in trial.note for trial in tuning.trials)
    assert tuning.batches


def test_a_state_is_repeated_along_its_own_axis(tmp_path: Path, one_cpu: None) -> None:
    nodes = [graphs.node("Add", ["state", "x"], ["next"])]
    ends = (
        [graphs.value("x", ["n", 4]), graphs.value("state", [2, "n", 4])],
        [graphs.value("next", [2, "n", 4])],
    )
    path = graphs.save(tmp_path / "m.onnx", nodes, *ends)
    sample = {"x": np.ones((2, 4), np.float32), "state": np.ones((2, 2, 4), np.float32)}
    tuning = tune(path, sample, seconds=SECONDS)
    assert tuning.rows == 2
    assert [timing.rows for timing in tuning.batches][:3] == [1, 2, 4]


def test_without_a_sample_inputs_are_made_up_or_asked_for(tmp_path: Path, one_cpu: None) -> None:
    assert tune(graphs.linear(tmp_path / "m.onnx", WEIGHT), seconds=SECONDS).rows == 32
    np.savez(tmp_path / "m.npz", W=np.eye(2, dtype=np.float32))
    assert tune(tmp_path / "m.npz", seconds=SECONDS).rows == 1
    ends = (
        [graphs.value("x", ["n", 2]), graphs.value("k", [], "int64")],
        [graphs.value("y", ["n", 2])],
    )
    nodes = [graphs.node("Cast", ["k"], ["f"], to=1), graphs.node("Mul", ["x", "f"], ["y"])]
    path = graphs.save(tmp_path / "two.onnx", nodes, *ends)
    with pytest.raises(
        ModelInputError,
        match=r'pass sample= .* sample=\{"x": np\.zeros\(\(1, 2\), np\.float32\), "k"',
    ):
        tune(path, seconds=SECONDS)
    with pytest.raises(
        ModelInputError, match=r'has 2 inputs: pass a dict with x, k, such as \{"x": np\.zeros'
    ):
        tune(path, [[1.0, 2.0]], seconds=SECONDS)


def test_inputs_without_a_batch_axis_have_no_batch_size(tmp_path: Path, measured: Measure) -> None:
    measured({})
    ends = [
        graphs.value("x", ["batch", 2]),
        graphs.value("factor", []),
        graphs.value("output", ["batch", 2]),
    ]
    path = graphs.save(
        tmp_path / "m.onnx", [graphs.node("Mul", ["x", "factor"], ["output"])], ends[:2], ends[2:]
    )
    tuning = tune(path, {"x": [[1, 2]], "factor": np.float32(3)})
    assert (tuning.rows, tuning.best.batch_size) == (1, None)


def test_a_batch_that_fails_is_left_out(tmp_path: Path, measured: Measure) -> None:
    measured({})
    ends = [graphs.value("x", ["batch", 2]), graphs.value("output", ["batch", 2])]
    shape = graphs.constant("shape", np.array([1, 2]))
    path = graphs.save(
        tmp_path / "m.onnx",
        [graphs.node("Reshape", ["x", "shape"], ["output"])],
        ends[:1],
        ends[1:],
        [shape],
    )
    tuning = tune(path, [1, 2])
    assert [timing.rows for timing in tuning.batches] == [1]


def test_an_embedder_is_tuned_with_its_texts(
    minilm: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_settings", lambda *_: [("threads 1", {"threads": 1})])
    tuning = tune(minilm, ["a kettle", "a toaster that burns"], seconds=SECONDS)
    assert (tuning.rows, tuning.best.batch_size) == (2, None)
    assert tuning.path.name == "model.onnx"
    assert tuning.trials[0].speed is not None or tuning.trials[0].note == "no time left"


def test_the_model_and_its_sessions_are_left_alone(model: Model) -> None:
    tune(model, [1, 2, 3], seconds=SECONDS)
    assert model.held is None
    assert not sessions(model)
    model.open()
    shared, options, calls = model.shared, model.options, model.shared.calls
    tune(model, [1, 2, 3], seconds=SECONDS)
    assert (model.shared, model.options, model.shared.calls) == (shared, options, calls)
    assert len(sessions(model)) == 1


def test_an_error_leaves_the_model_closed(model: Model) -> None:
    with pytest.raises(ModelInputError):
        tune(model, [1, 2])
    assert model.held is None


def test_an_empty_sample_is_refused(model: Model, minilm: Embedder) -> None:
    with pytest.raises(InputError, match="sample for 'm' is empty"):
        tune(model, np.zeros((0, 3), np.float32))
    with pytest.raises(InputError, match="is empty"):
        tune(minilm, [])


def test_a_function_cannot_be_tuned() -> None:
    with pytest.raises(TypeError, match="got CallableModel"):
        tune(CallableModel(len), [1])  # type: ignore[arg-type]


# Saving and views


def test_a_saved_choice_is_read_again(model: Model, measured: Measure) -> None:
    measured({"1 all": 0.5})
    tuning = tune(model, [1, 2, 3])
    assert tuning.save() == model.path.with_name("m.onnx.tuning.json")
    assert read_tuning(model.path) == tuning.best == Tuned(threads=1, batch_size=1024)


def test_a_tuning_shows_its_trials(model: Model, measured: Measure) -> None:
    measured({"1 all": 0.5})
    tuning = tune(model, [1, 2, 3])
    lines = repr(tuning).splitlines()
    assert lines[1].split() == ["setting", "before", "after", "speed"]
    assert lines[2].split() == ["threads", "1", "1.00", "s", "500", "ms", "2.00", "×", "kept"]
    assert lines[-1] == (
        "best: cpu, 1 thread, graph level all, batches of 1024; "
        "2.00 times as fast as onnxruntime's own choice on 1 sample"
    )
    bundle = tuning._repr_mimebundle_()
    assert bundle["text/plain"] == repr(tuning)
    assert bundle["text/html"].count("<table") == 2


def test_a_choice_like_onnxruntimes_own_says_so() -> None:
    tuning = Tuning("m", Path("/m.onnx"), 2, Tuned(), 1.0, (), ())
    assert repr(tuning).endswith(
        "no setting is clearly faster than onnxruntime's own choice on 2 samples"
    )


def test_the_progress_names_the_setting(
    model: Model, measured: Measure, jobs: list[Progress]
) -> None:
    measured({})
    tune(model, [1, 2, 3], seconds=SECONDS)
    job = next(job for job in jobs if job.name == "tune m")
    assert (job.unit, job.total) == ("s", SECONDS)
    assert job.phase in (*LEVELS, "batch sizes")
