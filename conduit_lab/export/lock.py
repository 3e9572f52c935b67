"""Lock: add package hashes to an exported folder's requirements."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from conduit_lab.core.errors import ExportError
from conduit_lab.core.files import write_atomic

_PIN = re.compile(r"([A-Za-z0-9._-]+)==")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
_OPTION = re.compile(r"(\s*\\?\s+--hash=\S+)+\s*$")
_MAX_SHOWN_CHARACTERS = 1500


def lock_folder(folder: Path) -> str:
    """Add SHA-256 hashes to each line of the folder's `requirements.txt`; return a summary.

    Packages come from the index that uv or pip is configured to use. uv adds the hashes of all
    files of a version; pip adds those for this platform only, so packages needed only on other
    platforms get none. Raises `ExportError` with the tool's own message, leaving the file
    unchanged.
    """
    file = folder / "requirements.txt"
    if not file.is_file():
        raise ExportError(f"no requirements.txt in {folder}: lock a folder that an export wrote")
    lines = [_OPTION.sub("", line) for line in _logical(file.read_text("utf-8"))]
    pins = [line for line in lines if _PIN.match(line)]
    by_uv = shutil.which("uv") is not None
    known = _by_uv(pins) if by_uv else _by_pip(pins)
    # pip reports the packages that it would install, without those whose marker is false here
    others = [] if by_uv else [pin for pin in pins if ";" in pin and _name(pin) not in known]
    text = "".join(
        f"{line}{'' if line in others else _hashes(folder, line, known)}\n" for line in lines
    )
    write_atomic(file, text)
    _update_manifest(folder / "manifest.json", text)
    what = "every platform" if by_uv else "this platform only; install uv for all platforms"
    names = ", ".join(map(_name, others))
    left_out = f"; no hashes for {names} (other platforms only)" if others else ""
    count = len(pins) - len(others)
    return f"{file}: {count} packages with their hashes for {what}{left_out}"


def _update_manifest(file: Path, text: str) -> None:
    """Update the digest of the requirements in the folder's manifest."""
    if file.is_file():
        manifest = json.loads(file.read_text("utf-8"))
        manifest["sha256"]["requirements.txt"] = hashlib.sha256(text.encode()).hexdigest()
        write_atomic(file, json.dumps(manifest, indent=2) + "\n")


def _logical(text: str) -> list[str]:
    return text.replace("\\\n", " ").splitlines()


def _hashes(folder: Path, line: str, known: Mapping[str, list[str]]) -> str:
    if line.startswith("./"):
        return f" --hash=sha256:{hashlib.sha256((folder / line).read_bytes()).hexdigest()}"
    if _PIN.match(line) is None:
        return ""
    hashes = known.get(_name(line), [])
    if not hashes:
        raise ExportError(f"the index has no hash of {line.partition(';')[0]}: lock with another")
    return "".join(f" \\\n    --hash={each}" for each in hashes)


def _name(pin: str) -> str:
    return _canonical(pin.partition("==")[0])


def _by_uv(pins: list[str]) -> dict[str, list[str]]:
    options = ("--generate-hashes", "--no-deps", "--universal", "--no-header", "--no-annotate")
    with tempfile.TemporaryDirectory() as place:
        given = Path(place, "requirements.in")
        given.write_text("\n".join(pins), "utf-8")
        text = _output(["uv", "pip", "compile", "--quiet", *options, str(given)])
    pins = [line for line in _logical(text) if _PIN.match(line)]
    return {_name(pin): _HASH.findall(pin) for pin in pins}


def _by_pip(pins: list[str]) -> dict[str, list[str]]:
    options = ("--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--report", "-")
    with tempfile.TemporaryDirectory() as place:
        given = Path(place, "requirements.in")
        given.write_text("\n".join(pins), "utf-8")
        report = _output([sys.executable, "-m", "pip", "install", *options, "-r", str(given)])
    known = {}
    for each in json.loads(report)["install"]:
        hashes = each["download_info"]["archive_info"].get("hashes", {})
        name = _canonical(each["metadata"]["name"])
        known[name] = [f"sha256:{hashes['sha256']}"] if "sha256" in hashes else []
    return known


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip()[-_MAX_SHOWN_CHARACTERS:]
        raise ExportError(f"the hashes of the requirements cannot be read:\n{words}")
    return done.stdout


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
