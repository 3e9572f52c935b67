"""Models in an export: their files and the calls that load them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.errors import ExportError
from tests.export.conftest import weights
from tests.export.session import Session, loaded, same
from tests.models.text import embedders
from tests.runtime import graphs

PREDICT = "@lab.post('/a')\ndef a(x: list):\n    return {expression}"


def predicted(session: Session, *cells: str, expression: str = "sign.predict(x)") -> str:
    """Run the cells, ask for `expression` with x = [1, 1], and return the export's source."""
    session.run(*cells, PREDICT.format(expression=expression), "a([1, 1])")
    return same(session)


@pytest.mark.parametrize(
    "options",
    [
        "",
        ', name="the sign"',
        ', device="cpu"',
        ", fallback=True",
        ", fallback=False",
        ", timeout=2.5",
        ", labels=['no', 'yes']",
        ", device=\"cpu\", fallback=True, timeout=2.5, labels=['no', 'yes'], name=\"x\"",
    ],
)
def test_options_that_are_no_defaults_are_written(session: Session, options: str) -> None:
    text = f'sign = lab.load_model("models/sign.npz"{options})'
    assert f"\n{text}\n" in predicted(session, text)


def test_defaults_are_left_out(session: Session) -> None:
    given = "device='auto', name='sign', timeout=None, labels=None"
    source = predicted(session, f"sign = lab.load_model('models/sign.npz', {given})")
    assert 'sign = lab.load_model("models/sign.npz")\n' in source


def test_a_model_keeps_its_place_and_its_bytes(session: Session) -> None:
    predicted(session, "sign = lab.load_model('models/sign.npz')")
    here, there = session.root / "models/sign.npz", session.root / "out/models/sign.npz"
    assert here.read_bytes() == there.read_bytes()


def test_two_names_of_one_model_stay_one(session: Session) -> None:
    cells = "sign = lab.load_model('models/sign.npz')\nagain = sign"
    assert predicted(session, cells, expression="again is sign").count("load_model(") == 1


def test_two_loads_of_one_file_stay_two_models(session: Session) -> None:
    source = predicted(
        session,
        "one = lab.load_model('models/sign.npz')",
        "two = lab.load_model('models/sign.npz', labels=['no', 'yes'], name='two')",
        expression="[one.predict(x), two.predict(x), one is two]",
    )
    assert source.count("load_model(") == 2
    assert [p.name for p in (session.root / "out/models").iterdir()] == ["sign.npz"]


def test_a_model_that_is_a_function_is_exported_with_it(session: Session) -> None:
    source = predicted(
        session,
        "def sign_of(x):\n    return [0.1, 0.9] if sum(x) > 0 else [0.8, 0.2]",
        "sign = lab.load_model(sign_of, labels=['no', 'yes'])",
    )
    assert "sign = lab.load_model(sign_of, labels=['no', 'yes'])" in source


def test_a_folder_is_copied_with_its_variant(session: Session) -> None:
    embedders.folder(session.root / "models/words")
    graph = session.root / "models/words/model.onnx"
    (graph.parent / "model_small.onnx").write_bytes(graph.read_bytes())
    (graph.parent / ".cache").mkdir()
    (graph.parent / ".cache/lock").write_text("held")
    (graph.parent / "__pycache__").mkdir()
    (graph.parent / "__pycache__/x.pyc").write_text("compiled")
    source = predicted(
        session,
        "words = lab.load_model('models/words', variant='small')",
        expression="words.encode('kettle')",
    )
    assert 'words = lab.load_model("models/words", variant="small")' in source
    copied = {path.name for path in (session.root / "out/models/words").rglob("*")}
    here = {path.name for path in graph.parent.rglob("*")}
    assert here - copied == {".cache", "lock", "__pycache__", "x.pyc"}


def test_external_data_comes_along_whatever_it_is_called(session: Session, tmp_path: Path) -> None:
    for place, value in (("x", 1), ("y", 2)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "weights.bin").write_bytes(np.full((3, 2), value, np.float32).tobytes())
        graphs.with_external_data(tmp_path / place / f"{place}.onnx", "weights.bin")
    session.names |= {"X": tmp_path / "x/x.onnx", "Y": tmp_path / "y/y.onnx"}
    session.run(
        "x = lab.load_model(X); y = lab.load_model(Y)",
        "@lab.post('/a')\ndef a(v: list):\n    return [x.predict(v), y.predict(v)]",
        "a([1, 1, 1])",
    )
    same(session)
    assert session.lab.examples[-1].answer == [[3, 3], [6, 6]]


def test_importing_the_exported_app_opens_nothing(session: Session) -> None:
    session.run(
        "store = lab.vector_store('notes', dimension=2)\nstore.add('a', [1, 0])",
        "sign = lab.load_model('models/sign.npz')",
        "@lab.post('/a')\ndef a(x: list):\n    return [len(store), sign.predict(x)]",
        "a([1, 1])",
    )
    folder = session.export().folder
    with loaded(folder) as names:
        assert "not opened" in repr(names["sign"])
        assert "not opened" in repr(names["store"])


def test_a_model_loaded_inside_a_call_is_copied(session: Session) -> None:
    session.run("from conduit_lab import load_model")
    predicted(session, expression="load_model('models/sign.npz').predict(x)")
    assert (session.root / "out/models/sign.npz").is_file()


def test_models_from_outside_the_root_never_share_a_file(session: Session, tmp_path: Path) -> None:
    for place, labels in (("x", ["up", "down"]), ("y", ["yes", "no"])):
        (tmp_path / place).mkdir()
        weights(tmp_path / place / "sign.npz", labels)
    session.names |= {"X": tmp_path / "x/sign.npz"}
    session.run(
        "first = lab.load_model(X)\ny = lab.load_model('../y/sign.npz')",
        "z = lab.load_model('models/sign.npz')",
    )
    source = predicted(session, expression="[first.predict(x), y.predict(x), z.predict(x)]")
    assert source.count("sign.npz") == 3
    outside = {path for path in session.root.parent.rglob("*") if path.is_file()}
    assert {path.parts[len(session.root.parent.parts)] for path in outside} == {"project", "x", "y"}


def test_a_model_outside_the_root_is_refused_where_the_source_names_it(
    session: Session, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.npz"
    outside.write_bytes((session.root / "models/sign.npz").read_bytes())
    session.run(f'@lab.ml_endpoint("/m", model="{outside}")\ndef m(x):\n    return x', "m([1, 2])")
    with pytest.raises(ExportError) as caught:
        session.export()
    assert str(caught.value) == (
        f"{outside} is outside the root {session.root} (needed by POST /m → m): "
        "copy it into the project, or load it to a variable with load_model"
    )


def test_a_file_that_is_gone_is_named(session: Session) -> None:
    session.run(
        "sign = lab.load_model('models/sign.npz')",
        PREDICT.format(expression="sign.predict(x)"),
        "a([1, 1])",
    )
    path = session.root / "models/sign.npz"
    path.unlink()
    with pytest.raises(ExportError) as caught:
        session.export()
    assert str(caught.value) == (f"{path} is missing (needed by POST /a → a → sign): put it back")
