"""The proof in a separate environment: the installed packages, and its failures."""

from __future__ import annotations

import hashlib
import os
import venv
from pathlib import Path

import pytest

from conduit_lab.core.errors import ExportError
from tests.export.session import Session


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("has_pip", "problem"),
    [
        pytest.param(False, "No module named pip", id="no pip"),
        pytest.param(
            True, "ERROR: Could not find a version", id="no index", marks=pytest.mark.long
        ),
    ],
)
def test_requirements_that_pip_cannot_install_leave_the_old_export(
    session: Session, monkeypatch: pytest.MonkeyPatch, has_pip: bool, problem: str
) -> None:
    session.run("@lab.post('/a')\ndef a(n: int):\n    return n + 1", "a(1)")
    folder = session.export().folder
    before = hashes(folder)
    create = venv.create
    monkeypatch.setattr(venv, "create", lambda place, **_: create(place, with_pip=has_pip))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(ExportError) as caught:
        session.export(proof="venv")
    first, *lines = str(caught.value).splitlines()
    assert first == "pip could not install the export's requirements in a new environment:"
    assert any(problem in line for line in lines)
    assert lines[-1].startswith("Check the index that pip uses")
    assert hashes(folder) == before
    assert [path.name for path in folder.parent.iterdir() if "out" in path.name] == ["out"]


@pytest.mark.long
def test_the_proof_runs_with_the_requirements_alone(session: Session) -> None:
    session.run(
        """
        sign = lab.load_model("models/sign.npz")

        @lab.post("/where")
        def where(x: float):
            import sys
            return {"label": sign.predict([x, x]).label, "own": "conduit-lab-" in sys.prefix}
        """,
        "where(1.0)",
    )
    session.lab.varies("/where")  # so that its own environment is no difference
    export = session.export(proof="venv")
    assert [outcome.verdict for outcome in export.outcomes] == ["same shape"]
    assert export.outcomes[0].got == {"label": "up", "own": True}
    assert (export.folder / "proof.svg").is_file()
