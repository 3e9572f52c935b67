"""The code of docs/composition.md runs and gives the values on the page."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit_lab.core import paths
from conduit_lab.models.text.embedder import Embedder

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "composition.md"

Names = dict[str, Any]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, minilm: Embedder) -> Iterator[Names]:
    """The names that the page's code defines, run in a folder with the demo models."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(minilm.path, folder / "data" / "models" / "minilm")
    for name in ("topic.onnx", "mood.npz", "m1.npz", "m2.npz", "m3.npz"):
        shutil.copy(ROOT / "data" / "models" / name, folder / "data" / "models")
    names: Names = {}
    with pytest.MonkeyPatch.context() as patch, paths.use_root(folder):
        patch.chdir(folder)
        blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.M)
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
        yield names


def test_a_tree_has_the_specs_of_its_stages(page: Names) -> None:
    shown = re.sub(r"[\d.]+ (µs|ms|s)", "", repr(page["both"]))
    expected = re.sub(r"[\d.]+ (µs|ms|s)", "", PAGE.read_text("utf-8").split("```")[3])
    assert [line.split() for line in shown.splitlines()] == [
        line.split() for line in expected.strip().splitlines()
    ]


def test_an_ensemble_has_its_members(page: Names) -> None:
    answer = page["answer"]
    assert (answer.label, answer.agreement, answer.left_out) == ("products", 1.0, {})
    assert list(answer.members) == ["m1", "m2", "m3"]


def test_a_rerun_changes_the_topic_alone(page: Names) -> None:
    kept = [span.name for span in page["again"] if span.attributes.get("kept")]
    assert kept == ["minilm", "mood"]


def test_equal_calls_are_cached_once(page: Names) -> None:
    assert (page["cached"].hits, page["cached"].misses) == (0, 1)


def test_the_page_names_the_edges(page: Names) -> None:
    edges = re.search(r"trace\.edges  # (\[.*\])", PAGE.read_text("utf-8"))
    assert edges is not None
    assert edges[1] == "[input → minilm, minilm → topic, minilm → mood]"
    first = page["analyze"].history[0]
    assert str(first.edges) == edges[1]
