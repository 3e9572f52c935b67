"""Each hostile notebook in this process: its export is equal, or refused for the true reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.notebooks.collection import KINDS, NOTEBOOKS
from tests.export.notebooks.in_process import run_in_process
from tests.export.notebooks.known_wrong import KNOWN_WRONG
from tests.export.notebooks.notebook import Answer, Notebook
from tests.export.notebooks.verdict import Observed, leaked, verdict

_EQUAL = Notebook("n", "", asks=('POST /ask {"x": 1}',))
_REFUSED = Notebook("n", "", asks=('POST /ask {"x": 1}',), refused="/ask → clip")


@pytest.mark.parametrize(
    "notebook",
    [
        pytest.param(
            each,
            id=each.name,
            marks=pytest.mark.xfail(reason=KNOWN_WRONG[each.name], strict=True)
            if each.name in KNOWN_WRONG
            else (),
        )
        for each in NOTEBOOKS.values()
        if not each.in_kernel
    ],
)
def test_an_export_is_equal_or_refused_for_the_true_reason(
    notebook: Notebook, tmp_path: Path
) -> None:
    found = run_in_process(notebook, tmp_path)
    assert found.is_right, f"{found.word}: {found.detail}"


def test_every_notebook_has_a_name_of_its_own() -> None:
    names = [each.name for notebooks in KINDS.values() for each in notebooks]
    assert len(names) == len(set(names))
    assert len(names) >= 120
    assert KNOWN_WRONG.keys() <= set(names)


@pytest.mark.parametrize(
    ("notebook", "seen", "word"),
    [
        (_EQUAL, Observed(here=[Answer(200, "1")], there=[Answer(200, "1")]), "equal"),
        (_EQUAL, Observed(here=[Answer(200, "1")], there=[Answer(200, "1.0")]), "silently wrong"),
        (_EQUAL, Observed(here=[Answer(200, "1")], there=[Answer(500, "")]), "silently broken"),
        (_EQUAL, Observed(broken="NameError"), "silently broken"),
        (_EQUAL, Observed("x has no form", "ExportError"), "wrongly refused"),
        (_EQUAL, Observed("maximum recursion depth", "RecursionError"), "crash"),
        (_EQUAL, Observed(leaked=["key in app.py"]), "leak"),
        (_REFUSED, Observed("stale: /ask → clip", "ExportError"), "refused"),
        (_REFUSED, Observed("no: /ask", "ExportError"), "refused for another reason"),
        (_REFUSED, Observed(here=[Answer(200, "1")], there=[Answer(200, "1")]), "not refused"),
    ],
)
def test_the_verdict_follows_from_what_was_seen(
    notebook: Notebook, seen: Observed, word: str
) -> None:
    assert verdict(notebook, seen).word == word


def test_a_secret_is_found_in_files_their_names_and_the_error(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.bin").write_bytes(b"\x00key-1\xff")
    (tmp_path / "key-2.txt").touch()
    found = leaked(tmp_path, "the key-3 leaks", ["key-1", "key-2", "key-3", "key-4"])
    assert sorted(found) == ["key-1 in deep/a.bin", "key-2 in key-2.txt", "key-3 in the error"]
