"""Wheel: build a wheel of this package from the imported files, without network (PEP 427)."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from importlib.util import cache_from_source
from pathlib import Path

_TAG = "py3-none-any"
_DATE = (1980, 1, 1, 0, 0, 0)  # fixed, for reproducible wheels
_PACKAGE = Path(__file__).parents[1]

_Stamp = tuple[str, int, int]  # the path, size and mtime of a file

# The last wheel, by the version and the files: of several exports of one session
_made: dict[tuple[str, Sequence[_Stamp]], bytes] = {}


def write_wheel(folder: Path) -> Path:
    """Write `conduit_lab-<version>-py3-none-any.whl` into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    version = metadata.version("conduit-lab")
    wheel = folder / f"conduit_lab-{version}-{_TAG}.whl"
    stamps = tuple(_stamps())
    content = _made.get((version, stamps)) or _content(version, stamps)
    _made.clear()
    _made[version, stamps] = content
    wheel.write_bytes(content)
    return wheel


def unpack_wheel(wheel: Path, folder: Path) -> None:
    """Unpack a wheel of this package, adding the compiled modules that this process has.

    The package of a wheel that this process made, from files as they still are, is a link to them.
    An app that starts from the wheel itself compiles them, which takes a second.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        if _is_as_made(wheel):
            with suppress(OSError):  # Windows has links for some users only
                (folder / _PACKAGE.name).symlink_to(_PACKAGE, target_is_directory=True)
                names = [name for name in names if not name.startswith(f"{_PACKAGE.name}/")]
        archive.extractall(folder, names)
    _copy_compiled([folder / name for name in names if name.endswith(".py")], folder)


def _is_as_made(wheel: Path) -> bool:
    """Return whether the wheel is the one that this process made, of files as they are now."""
    made = _made.get((metadata.version("conduit-lab"), tuple(_stamps())))
    return made is not None and wheel.read_bytes() == made


def _copy_compiled(paths: Iterable[Path], folder: Path) -> None:
    """Copy the compiled modules of this process for those in `folder` that equal its own."""
    for path in paths:
        source = _PACKAGE.parent / path.relative_to(folder)
        compiled = Path(cache_from_source(str(source)))
        if not (source.is_file() and compiled.is_file()):
            continue
        if source.read_bytes() == path.read_bytes():
            stat = source.stat()
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # recorded in the compiled file
            (path.parent / "__pycache__").mkdir(exist_ok=True)
            shutil.copyfile(compiled, path.parent / "__pycache__" / compiled.name)


def _stamps() -> Iterator[_Stamp]:
    """Yield the stamp of each file of this package, in order."""
    for place, folders, names in os.walk(_PACKAGE):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            path = Path(place, name)
            stat = path.stat()
            yield path.relative_to(_PACKAGE).as_posix(), stat.st_size, stat.st_mtime_ns


def _content(version: str, stamps: Sequence[_Stamp]) -> bytes:
    """Build the wheel of the files with these stamps, and return its bytes."""
    distribution = metadata.distribution("conduit-lab")
    info = f"conduit_lab-{version}.dist-info"
    files = {f"conduit_lab/{place}": (_PACKAGE / place).read_bytes() for place, *_ in stamps}
    files[f"{info}/METADATA"] = (distribution.read_text("METADATA") or "").encode()
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: conduit_lab\nRoot-Is-Purelib: true\nTag: {_TAG}\n".encode()
    )
    files[f"{info}/entry_points.txt"] = (distribution.read_text("entry_points.txt") or "").encode()
    record = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    record.append(f"{info}/RECORD,,")
    files[f"{info}/RECORD"] = ("\n".join(record) + "\n").encode()

    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name, _DATE)
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    return wheel.getvalue()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
