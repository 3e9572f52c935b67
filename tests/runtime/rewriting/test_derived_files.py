"""Derived files are complete or absent, and record their sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from conduit_lab.core.errors import ModelLoadError, OptimizeError
from conduit_lab.runtime.rewriting import derived_files
from tests.runtime import graphs
from tests.runtime.checks.test_external import hub, linear

WEIGHT = np.eye(3, dtype=np.float32)


def write(path: Path, source: Path, metadata: dict[str, str] | None = None) -> None:
    derived_files.write_derived(graphs.load(source), path, [source], "test", metadata or {})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return graphs.linear(tmp_path / "source.onnx", WEIGHT)


def test_draft_moves_to_its_target_at_the_end(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "made.onnx"
    with derived_files.draft(target) as path:
        write(path, source)
        assert not target.exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["made.onnx", "source.onnx"]


@pytest.mark.parametrize("removed", [True, False])
def test_draft_that_is_removed_or_fails_keeps_the_earlier_file(
    tmp_path: Path, source: Path, removed: bool
) -> None:
    target = tmp_path / "made.onnx"
    with derived_files.draft(target) as path:
        write(path, source)
    kept = target.read_bytes()
    if removed:
        with derived_files.draft(target) as path:
            path.write_bytes(b"worse")
            path.unlink()
    else:
        with pytest.raises(KeyError), derived_files.draft(target) as path:
            path.write_bytes(b"worse")
            raise KeyError
    assert target.read_bytes() == kept
    assert sorted(file.name for file in tmp_path.iterdir()) == ["made.onnx", "source.onnx"]


def test_origin_has_the_sources_and_other_files_have_none(tmp_path: Path, source: Path) -> None:
    with derived_files.draft(tmp_path / "made.onnx") as path:
        write(path, source)
    made = derived_files.origin(tmp_path / "made.onnx")
    assert made is not None
    assert (made["kind"], made["sources"]) == ("test", derived_files.digests([source]))
    assert derived_files.origin(source) is None
    assert derived_files.origin(tmp_path / "absent.onnx") is None


def test_metadata_is_kept_and_read_without_the_origin(tmp_path: Path, source: Path) -> None:
    with derived_files.draft(tmp_path / "made.onnx") as path:
        write(path, source, {"labels": '["ä"]'})
    assert derived_files.metadata(graphs.load(tmp_path / "made.onnx")) == {"labels": '["ä"]'}


@pytest.mark.parametrize("note", ["", "7", "[]", "{", "null", "{}"])
def test_malformed_record_of_origin_is_none(tmp_path: Path, note: str) -> None:
    assert (
        derived_files.origin(
            graphs.linear(tmp_path / "a.onnx", WEIGHT, {derived_files.ORIGIN_KEY: note})
        )
        is None
    )


def test_graph_that_is_no_valid_onnx_is_refused(tmp_path: Path, source: Path) -> None:
    model = graphs.load(source)
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ModelLoadError), derived_files.draft(tmp_path / "made.onnx") as path:
        derived_files.write_derived(model, path, [source], "test", {})
    assert [file.name for file in tmp_path.iterdir()] == ["source.onnx"]


def test_missing_target_folder_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(OptimizeError, match="cannot be written"),
        derived_files.draft(tmp_path / "none" / "made.onnx"),
    ):
        pass


@pytest.mark.parametrize("numbers", [{}, {"length": 24}, {"offset": 0, "length": 24}])
def test_load_reads_external_data_through_the_links_of_hugging_face(
    tmp_path: Path, numbers: dict[str, int]
) -> None:
    path = hub(tmp_path)
    linear(path.resolve(), "model.onnx_data", **numbers)
    (tensor,) = derived_files.load_protobuf(path).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), np.arange(6).reshape(3, 2))
    assert not tensor.external_data
    assert derived_files.load_protobuf(path, weights=False).graph.initializer[0].external_data


def test_errors_of_a_converter_are_named_and_own_errors_pass_unchanged() -> None:
    with (
        pytest.raises(OptimizeError, match=r"^no draft: broken$"),
        derived_files.as_optimize_error("no draft"),
    ):
        raise ValueError("broken")
    with (
        pytest.raises(OptimizeError, match=r"^own$"),
        derived_files.as_optimize_error("no draft"),
    ):
        raise OptimizeError("own")
