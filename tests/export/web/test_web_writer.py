"""A page is written whole or not at all, and an error names the next step."""

from __future__ import annotations

import hashlib
import html
import json
from pathlib import Path
from typing import Any, cast

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.manifest import file_digests
from conduit_lab.export.web import browser, ort_web
from conduit_lab.export.web.web_export import WebExport
from conduit_lab.export.web.web_writer import export_web
from tests.export.conftest import weights
from tests.export.session import Session

NAME = "<desk> & co"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the package whose files are small, and known by their hashes."""
    folder = tmp_path / "onnxruntime-web" / "dist"
    folder.mkdir(parents=True)
    files = {}
    for name, (packed, _) in ort_web._FILES.items():
        (folder / packed).write_bytes(packed.encode())
        files[name] = packed, hashlib.sha256(packed.encode()).hexdigest()
    monkeypatch.setattr(ort_web, "_FILES", files)
    return folder.parent


def export(session: Session, runtime: Path, **options: Any) -> WebExport:
    given = {"examples": session.lab.examples, "runtime": runtime, "proof": None, **options}
    return export_web(session.lab, "site", **given)


@pytest.fixture
def desk(tmp_path: Path) -> Session:
    session = Session(tmp_path / "project", NAME)
    (session.root / "models").mkdir(parents=True)
    weights(session.root / "models" / "sign.npz", ["up", "down"])
    return session.run(
        """
        sign = lab.load_model("models/sign.npz")
        @lab.ml_pipeline("/a")
        def a(data):
            return sign(data["x"])
        @lab.ml_pipeline("/b")
        def b(data):
            return [data["x"], data["x"] if data else 1]
        a({"x": [1, 2]})
        b({"x": 1})
        """
    )


def test_the_same_session_gives_the_same_files(desk: Session, runtime: Path) -> None:
    made = export(desk, runtime, endpoints=["/a"])
    first = file_digests(made.folder)
    assert list(first) == [
        "README.md", "app.json", "examples.jsonl", "index.html", "manifest.json",
        "models/sign.onnx", "ort/onnxruntime.js", "ort/onnxruntime.wasm", "page.css", "page.js",
        "site.js",
    ]  # fmt: skip
    assert file_digests(export(desk, runtime, endpoints=["/a"]).folder) == first
    assert made.proof == "Not proved: no recorded call was replayed."
    assert html.escape(NAME) in (made.folder / "index.html").read_text("utf-8")
    assert "python -m http.server" in repr(made)


def test_the_page_names_no_host_and_runs_no_inline_code(desk: Session, runtime: Path) -> None:
    folder = export(desk, runtime, endpoints=["/a"]).folder
    index = (folder / "index.html").read_text("utf-8")
    assert "default-src 'none'" in index
    assert "unsafe-inline" not in index
    assert index.count("<script") == 1
    for name in ("index.html", "page.js", "site.js", "page.css"):
        assert "://" not in (folder / name).read_text("utf-8")


def test_what_cannot_go_is_named_and_the_old_page_stays(desk: Session, runtime: Path) -> None:
    before = file_digests(export(desk, runtime, endpoints=["/a"]).folder)
    with pytest.raises(ExportError, match="POST /b cannot run in a browser: it branches on"):
        export(desk, runtime)
    assert file_digests(desk.root / "site") == before


def test_a_model_whose_file_has_changed_is_refused(desk: Session, runtime: Path) -> None:
    weights(desk.root / "models" / "sign.npz", ["left", "right"])
    with pytest.raises(ExportError, match=r"whose file has changed: run sign\.reload\(\)"):
        export(desk, runtime, endpoints=["/a"])


def test_a_secret_in_a_recorded_call_is_refused(desk: Session, runtime: Path) -> None:
    desk.run("@lab.post('/c')\ndef c(text: str):\n    return text", f"c('ghp_{'a1B2' * 9}')")
    with pytest.raises(ExportError, match="looks like a secret"):
        export(desk, runtime, endpoints=["/c"])
    assert not (desk.root / "site").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proof": "venv"}, "proof= expected None"),
        ({"endpoints": "/a"}, "expected a list"),
        ({"examples": []}, "no recorded call of POST /a"),
    ],
)
def test_options_are_checked(
    desk: Session, runtime: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export(desk, runtime, **{"endpoints": ["/a"], **options})


def test_an_unknown_target_is_an_error(desk: Session) -> None:
    with pytest.raises(ExportError, match='target= expected "app" or "web", got \'wbe\''):
        desk.lab.export("site", target=cast(Any, "wbe"))


def test_without_chromium_the_error_names_the_next_step(
    desk: Session, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "NAMES", ())
    with pytest.raises(ExportError, match=r'target="web", proof=None'):
        export(desk, runtime, endpoints=["/a"], proof="process")
    assert not (desk.root / "site").exists()


def test_a_folder_with_something_else_is_kept(desk: Session, runtime: Path) -> None:
    (desk.root / "site").mkdir()
    (desk.root / "site" / "thesis.txt").write_text("x")
    with pytest.raises(ExportError, match="got one with other files"):
        export(desk, runtime, endpoints=["/a"])


def test_the_manifest_says_what_was_exported(desk: Session, runtime: Path) -> None:
    folder = export(desk, runtime, endpoints=["/a"]).folder
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["target"] == "web"
    assert manifest["endpoints"] == ["POST /a"]
    assert manifest["replayed"] == 0
