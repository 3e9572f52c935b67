"""onnxruntime-web is fetched from npm once and verified by hash, or taken from a given folder."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import shutil
import sys
import tarfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.web import ort_web

FILES = {"onnxruntime.js": "ort.wasm.bundle.min.mjs", "onnxruntime.wasm": "ort.wasm"}

Npm = Callable[[str], None]


def packed() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name in FILES.values():
            content = name.encode()
            info = tarfile.TarInfo(f"package/dist/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Npm:
    """Put a program `npm` with this body alone on the PATH; it counts its calls in `calls`."""
    archive = tmp_path / "archive.tgz"
    archive.write_bytes(packed())
    digest = b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    hashes = {n: (p, hashlib.sha256(p.encode()).hexdigest()) for n, p in FILES.items()}
    monkeypatch.setattr(ort_web, "_FILES", hashes)
    monkeypatch.setattr(ort_web, "_INTEGRITY", f"sha512-{digest}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

    def install(body: str) -> None:
        program = programs / "npm"
        code = f"import pathlib, shutil, sys\nARCHIVE = {str(archive)!r}\n"
        code += f"with open({str(tmp_path / 'calls')!r}, 'a') as calls: calls.write('x')\n"
        program.write_text(f"#!{sys.executable}\n{code}{body}\n")
        program.chmod(0o755)

    return install


def test_npm_is_asked_once(npm: Npm, tmp_path: Path) -> None:
    npm("assert sys.argv[1] == 'pack'\nshutil.copy(ARCHIVE, 'onnxruntime-web.tgz')")
    for place in ("one", "two"):
        ort_web.copy_runtime(tmp_path / place)
        assert (tmp_path / place / "onnxruntime.wasm").read_bytes() == b"ort.wasm"
    assert (tmp_path / "calls").read_text() == "x"
    cached = next((tmp_path / "cache").rglob("ort.wasm"))
    cached.write_bytes(b"damaged")
    ort_web.copy_runtime(tmp_path / "three")
    assert (tmp_path / "three" / "onnxruntime.wasm").read_bytes() == b"ort.wasm"
    assert (tmp_path / "calls").read_text() == "xx"


def test_another_content_is_refused(npm: Npm, tmp_path: Path) -> None:
    npm("pathlib.Path('x.tgz').write_bytes(b'other')")
    with pytest.raises(ExportError, match=r"expected sha512-.*, got sha512-"):
        ort_web.copy_runtime(tmp_path / "ort")
    assert not list((tmp_path / "cache").rglob("*"))


def test_a_failure_of_npm_is_said_with_the_next_step(npm: Npm, tmp_path: Path) -> None:
    npm("sys.exit('npm error code E404\\nnpm error 404 Not Found')")
    with pytest.raises(ExportError, match=r"code E404\. Once online, .*runtime="):
        ort_web.copy_runtime(tmp_path / "ort")


def test_without_npm_the_error_names_it(
    npm: Npm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ExportError, match=r"npm was not found: install Node\.js"):
        ort_web.copy_runtime(tmp_path / "ort")


def test_a_given_folder_needs_no_npm(npm: Npm, tmp_path: Path) -> None:
    npm("sys.exit(1)")
    dist = tmp_path / "node_modules" / "onnxruntime-web" / "dist"
    dist.mkdir(parents=True)
    for name in FILES.values():
        (dist / name).write_bytes(name.encode())
    for given in (dist, dist.parent):
        ort_web.copy_runtime(tmp_path / "ort", given)
    (dist / "ort.wasm").write_bytes(b"of another version")
    with pytest.raises(ExportError, match=r"is not that of onnxruntime-web 1\.30\.0"):
        ort_web.copy_runtime(tmp_path / "ort", dist)
    assert not (tmp_path / "calls").exists()
