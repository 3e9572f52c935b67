"""Facts of ONNX graphs: read once per content, and taken from a record without onnx."""

from __future__ import annotations

import builtins
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from conduit_lab.core.errors import MissingExtra, ModelLoadError
from conduit_lab.core.spec import TensorSpec
from conduit_lab.runtime.checks import graph_reader
from conduit_lab.runtime.checks.classes import class_labels
from conduit_lab.runtime.checks.content import identity
from conduit_lab.runtime.checks.graph import check_graph
from conduit_lab.runtime.checks.graph_reader import RECORD, record_text, use_record
from conduit_lab.runtime.decoding import decoder_io
from conduit_lab.runtime.decoding.switches import Switches
from conduit_lab.runtime.rows.dataflow import read_dataflow
from conduit_lab.runtime.rows.flow import MIXED
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.text_graph import read_text_graph

OPSETS = (("", 17), ("ai.onnx.ml", 3))
ROWS = (("x", 0),)
READERS: dict[str, Callable[[Path], Any]] = {
    "the file": check_graph,
    "class labels": class_labels,
    "the text": read_text_graph,
    "rows": lambda path: read_dataflow(path, ROWS),
    "the decoder": lambda path: decoder_io._graph_facts(path, 64, None),
}


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test its own cache of facts."""
    monkeypatch.setattr(graph_reader, "_known", {})
    monkeypatch.setattr(graph_reader, "_recorded", {})
    yield


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file with facts of every kind: external data, labels, a table, a loop-free body."""
    path = tmp_path / "models" / "model.onnx"
    path.parent.mkdir()
    table = numpy_helper.from_array(np.ones((5, 2), np.float32), "table")
    table.ClearField("raw_data")
    table.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "table.bin"), ("offset", "0"), ("length", "40")):
        table.external_data.add(key=key, value=value)
    (path.parent / "table.bin").write_bytes(np.ones((5, 2), np.float32).tobytes())
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["found"]),
            helper.make_node("Relu", ["x"], ["y"]),
            helper.make_node(
                "ZipMap", ["y"], ["z"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"]
            ),
        ],
        "all",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"]),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2]),
        ],
        [
            helper.make_tensor_value_info("found", TensorProto.FLOAT, ["batch", "tokens", 2]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2]),
        ],
        [table],
    )
    whole = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid(*each) for each in OPSETS]
    )
    path.write_bytes(whole.SerializeToString())
    return path


def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every import of onnx fail, and forget the facts read so far."""
    imported = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "onnx":
            raise ImportError(f"No module named {name!r}")
        return imported(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    graph_reader._known.clear()


@pytest.mark.parametrize("kind", READERS)
def test_a_recorded_fact_is_the_read_one_without_onnx(
    kind: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = READERS[kind](model)
    (model.parent / RECORD).write_text(record_text([model]), "utf-8")
    use_record(model.parent)
    without_onnx(monkeypatch)
    again = READERS[kind](model)
    assert again == read
    assert repr(again) == repr(read)  # with the types inside


def test_facts_of_every_kind_have_content(model: Path) -> None:
    checked, labels, text, rows, _ = (read(model) for read in READERS.values())
    assert checked.opset == 17
    assert [part.location for part in checked.parts] == ["table.bin"]
    assert labels == ("no", "yes")
    assert text.vocabulary == 5
    assert text.outputs["found"] == (3, 2)
    assert rows.axes["y"] == 0


def test_a_decoders_switches_come_back_with_their_types() -> None:
    facts = decoder_io._GraphFacts(frozenset({"b", "a"}), False, Switches((4096, 8192), True))
    text = json.dumps(facts, default=graph_reader._as_json)
    assert graph_reader._from_json(decoder_io._GraphFacts, json.loads(text)) == facts


@pytest.mark.parametrize("kind", READERS)
def test_a_file_that_is_not_recorded_names_onnx(
    kind: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_onnx(monkeypatch)
    with pytest.raises(MissingExtra, match=r"graphs\.json, needs onnx.*: pip install onnx$"):
        READERS[kind](model)


def test_a_record_is_of_the_content(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_graph(model)
    root = model.parent
    (root / RECORD).write_text(record_text([model]), "utf-8")
    use_record(root)
    without_onnx(monkeypatch)
    assert check_graph(Path(shutil.copy(model, root / "renamed.onnx"))).opset == 17
    model.write_bytes(model.read_bytes() + b"\x12\x01x")  # another producer
    with pytest.raises(MissingExtra, match="needs onnx"):
        check_graph(model)


def test_facts_with_other_arguments_are_others(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_dataflow(model, ROWS)
    (model.parent / RECORD).write_text(record_text([model]), "utf-8")
    use_record(model.parent)
    without_onnx(monkeypatch)
    with pytest.raises(MissingExtra, match="needs onnx"):
        read_dataflow(model, (("x", 1),))


def test_rows_that_nothing_shows_to_be_apart_are_not_batched(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = TensorSpec("x", "float32", ("batch", 2)), TensorSpec("y", "float32", ("batch", 2))
    without_onnx(monkeypatch)
    source = model, identity(model)
    assert Layout.of_specs(named[:1], named[1:], source).mixed() == MIXED


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"graphs": 3}', '{"conduit_lab": "0.0.1", "graphs": {"aa": {}}}', "\ud800x"],
)
def test_another_file_of_that_name_is_ignored(text: str, tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text(text, "utf-8", errors="surrogatepass")
    use_record(tmp_path)
    assert not graph_reader._recorded


def test_a_damaged_fact_is_named(model: Path) -> None:
    check_graph(model)
    whole = json.loads(record_text([model]))
    whole["graphs"][next(iter(whole["graphs"]))]["file"] = {"opset": 17}
    (model.parent / RECORD).write_text(json.dumps(whole), "utf-8")
    use_record(model.parent)
    graph_reader._known.clear()
    with pytest.raises(ModelLoadError, match=r"graphs\.json is damaged at 'file' of .*model\.onnx"):
        check_graph(model)


def test_a_graph_is_parsed_once_per_content(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_labels(model)
    monkeypatch.setattr(onnx, "ModelProto", None)
    assert class_labels(Path(shutil.copy(model, model.with_name("copy.onnx")))) == ("no", "yes")


def test_facts_of_a_bounded_number_of_contents_are_kept(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_reader, "_MAX_CONTENTS", 2)
    for number in range(4):
        model.write_bytes(model.read_bytes() + b"\x12\x01" + bytes([65 + number]))
        class_labels(model)
    assert len(graph_reader._known) == 2
