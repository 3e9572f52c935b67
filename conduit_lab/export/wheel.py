"""Wheel: this package as a wheel, made from the imported files without network (PEP 427)."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from importlib import metadata
from pathlib import Path

_TAG = "py3-none-any"
_DATE = (1980, 1, 1, 0, 0, 0)  # fixed: the same package gives the same wheel


def write_wheel(folder: Path) -> Path:
    """Write `conduit_lab-<version>-py3-none-any.whl` into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    distribution = metadata.distribution("conduit-lab")
    info = f"conduit_lab-{distribution.version}.dist-info"
    package = Path(__file__).parents[1]
    files = {
        f"conduit_lab/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    files[f"{info}/METADATA"] = (distribution.read_text("METADATA") or "").encode()
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: conduit_lab\nRoot-Is-Purelib: true\nTag: {_TAG}\n".encode()
    )
    files[f"{info}/entry_points.txt"] = (distribution.read_text("entry_points.txt") or "").encode()
    record = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    record.append(f"{info}/RECORD,,")
    files[f"{info}/RECORD"] = ("\n".join(record) + "\n").encode()

    wheel = folder / f"conduit_lab-{distribution.version}-{_TAG}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name, _DATE)
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    return wheel


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
