"""The code of docs/generation.md runs as written, on a small model with random weights."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from conduit_lab import SamplingOptions
from conduit_lab.core import paths

PAGE = Path(__file__).parents[2] / "docs" / "generation.md"
WRITER = Path(__file__).parents[1] / "models" / "generation" / "decoders" / "llama"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(WRITER, folder / "models" / "writer")
    names: dict[str, Any] = {"print": lambda *_, **__: None}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    with paths.use_root(folder):
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
        yield names
        names["writer"].unload()


def test_stream_equals_generate(page: dict[str, Any]) -> None:
    assert page["stream"].result() == page["answer"]
    assert page["answer"].finish_reason in ("length", "stop")


def test_branches_leave_at_their_position(page: dict[str, Any]) -> None:
    draft = page["draft"]
    assert draft.branches == [page["other"], page["typed"]]
    for branch in draft.branches:
        assert branch.result().tokens[:3] == draft.tokens[:3]
    assert page["typed"].text.startswith("".join(draft.tokens[:3]) + " never")


def test_choices_and_patterns_are_kept(page: dict[str, Any]) -> None:
    writer = page["writer"]
    assert writer.generate("Is the kettle broken?", choices=["yes", "no"]) in ("yes", "no")
    pattern = r"20\d\d-[01]\d-[0-3]\d"
    assert re.fullmatch(pattern, writer.generate("A date:", regex=pattern))


def test_table_has_every_sampling_option() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {field.name for field in fields(SamplingOptions)}
