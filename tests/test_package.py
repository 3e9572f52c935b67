"""The package's public names and its command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import conduit_lab
from conduit_lab import cli

HEAVY = (
    "onnxruntime",
    "onnx",
    "IPython",
    "ipywidgets",
    "starlette",
    "pandas",
    "tokenizers",
    "uvicorn",
)


def fresh(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_importing_it_loads_nothing_heavy() -> None:
    code = f"import sys, conduit_lab; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert fresh(code).strip() == "[]"


def test_streams_and_stores_load_nothing_of_models_or_serving() -> None:
    code = (
        "import sys; from conduit_lab import Stream, VectorStore; "
        "list(Stream([1])); VectorStore(2).add('a', [1, 0])"
    )
    loaded = f"[name for name in {(*HEAVY, 'pydantic')!r} if name in sys.modules]"
    assert fresh(f"{code}; print({loaded})").strip() == "[]"


def test_a_served_app_never_imports_the_notebook() -> None:
    loaded = "[name for name in sys.modules if 'notebook' in name or name == 'IPython']"
    assert (
        fresh(f"import sys; from conduit_lab import App; App('a'); print({loaded})").strip() == "[]"
    )


def test_every_public_name_resolves() -> None:
    for name in conduit_lab.__all__:
        assert getattr(conduit_lab, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'kettle'"):
        conduit_lab.kettle  # noqa: B018


def test_dir_lists_public_names_alone() -> None:
    listed = dir(conduit_lab)
    assert [name for name in listed if not name.startswith("__")] == conduit_lab.__all__
    assert {"__version__", "__doc__", "__path__"} <= set(listed)


def test_devices_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["devices"]) == 0
    assert "CPUExecutionProvider" in capsys.readouterr().out


def test_an_error_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "examples.jsonl").touch()
    (tmp_path / "app.py").write_text("raise SystemExit('no kettle')")
    assert cli.main(["check", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("conduit-lab: the exported app did not start")
    assert "no kettle" in err
